package handler

import (
	"net/http"
	"slices"
	"strings"
)

// conditions pairs the headers that carry ETags with the one that counts only together with it. They leave together:
// without our If-Range the Range would be unconditional, and a part of something else would be appended to the client's
// file; without our If-None-Match, If-Modified-Since, which it overrules, would count.
var conditions = [...]struct{ tags, with string }{
	{"If-Range", "Range"},
	{"If-None-Match", "If-Modified-Since"},
	{"If-Match", "If-Unmodified-Since"},
}

// withhold takes out of a request what the application must not see: the client's own copies of the headers between an
// application and its server, for good, since some applications believe them (X-Accel-Mapping); and conditions on ETags
// of ours, which the application does not know. The latter are returned, to be put in again afterwards.
func withhold(h http.Header) (held http.Header) {
	for name := range h {
		if isAccel(name) {
			delete(h, name)
		}
	}
	for _, c := range conditions {
		lists := h[c.tags]
		if !slices.ContainsFunc(lists, bearsOurs) {
			continue
		}
		if held == nil {
			held = http.Header{}
		}
		held[c.tags] = lists
		if others := withoutOurs(lists); others != "" {
			h[c.tags] = []string{others}
			continue
		}
		delete(h, c.tags)
		if with, ok := h[c.with]; ok {
			held[c.with] = with
			delete(h, c.with)
		}
	}
	return held
}

func bearsOurs(list string) bool { return strings.Contains(list, `"`+etagPrefix) }

// withoutOurs takes our ETags out of lists. Commas within the ETags of others survive: what is cut at them is joined
// again.
func withoutOurs(lists []string) string {
	tags := strings.Split(strings.Join(lists, ","), ",")
	tags = slices.DeleteFunc(tags, bearsOurs)
	return strings.TrimSpace(strings.Join(tags, ","))
}
