package handler

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
)

// What the application sees of a request, and what of it counts afterwards.
func TestAccelRequest(t *testing.T) {
	for _, c := range []struct{ sent, seen string }{
		{`Range: bytes=1-2`, `Range: bytes=1-2`},
		{`X-Accel-Redirect: /_protected/x|x-accel-mapping: a=b|X_Accel_Buffering: no|X-Sendfile: /x|X-Sendfile-Type: X|X-Accept: y`, `X-Accept: y`},
		{`If-None-Match: "a", W/"b"|If-Modified-Since: x`, `If-None-Match: "a", W/"b"|If-Modified-Since: x`},
		{`If-None-Match: "cb-1"|If-Modified-Since: x`, ``},
		{`If-None-Match: "a,b", W/"cb-1", "c"|If-Modified-Since: x`, `If-None-Match: "a,b", "c"|If-Modified-Since: x`},
		{`If-None-Match: *`, `If-None-Match: *`},
		{`If-Range: "cb-1"|Range: bytes=1-2`, ``},
		{`If-Range: "a"|Range: bytes=1-2`, `If-Range: "a"|Range: bytes=1-2`},
		{`If-Match: "cb-1"|If-Unmodified-Since: x`, ``},
	} {
		h, want := lines(c.sent), lines(c.seen)
		before := h.Clone()
		held := withhold(h)
		if fmt.Sprint(h) != fmt.Sprint(want) {
			t.Errorf("%s: the application sees %v", c.sent, h)
		}
		for name, values := range held {
			h[name] = values
		}
		for name := range before {
			if isAccel(name) {
				delete(before, name)
			}
		}
		if fmt.Sprint(h) != fmt.Sprint(before) {
			t.Errorf("%s: afterwards it is %v", c.sent, h)
		}
	}
}

// lines makes headers of "Name: value|Name: value".
func lines(s string) http.Header {
	h := http.Header{}
	for line := range strings.SplitSeq(s, "|") {
		if name, value, ok := strings.Cut(line, ": "); ok {
			h[http.CanonicalHeaderKey(name)] = append(h[http.CanonicalHeaderKey(name)], value)
		}
	}
	return h
}
