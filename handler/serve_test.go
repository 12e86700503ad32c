package handler

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// seekable lends a string the Close of a file.
type seekable struct{ *strings.Reader }

func (seekable) Close() error { return nil }

func testOffer(data string) *offer {
	return &offer{content: &watched{file: seekable{strings.NewReader(data)}}, media: "application/sql", filename: "db.sql",
		etag: etagOf("v1", "")}
}

func serveOffer(t *testing.T, o *offer, method string, upstream http.Header, headers ...string) *httptest.ResponseRecorder {
	t.Helper()
	r := httptest.NewRequest(method, "/", nil)
	for i := 0; i+1 < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	for name, values := range upstream {
		w.Header()[name] = values
	}
	if err := o.serve(w, r, func(err error) { t.Error(err) }); err != nil {
		t.Fatal(err)
	}
	return w
}

func TestOfferKeepsWhatIsSetAlready(t *testing.T) {
	upstream := http.Header{"Content-Type": {"text/csv"}, "Content-Disposition": {"inline"}, "Cache-Control": {"no-store"}, "Etag": {`"theirs"`}}
	w := serveOffer(t, testOffer("a,b\n"), "GET", upstream)
	for name, want := range map[string]string{
		"Content-Type": "text/csv", "Content-Disposition": "inline", "Cache-Control": "no-store", "ETag": `"cb-v1"`,
	} {
		if got := w.Header().Get(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
}

// Answers to POST cannot be resumed or revalidated: what a client says of ranges and caches is not meant for it.
func TestOfferIsWholeForOtherMethods(t *testing.T) {
	for _, headers := range [][]string{
		nil, {"Range", "bytes=0-1"}, {"If-None-Match", `"cb-v1"`}, {"If-Match", `"other"`}, {"Range", "bytes=90-"},
	} {
		if w := serveOffer(t, testOffer("whole"), "POST", nil, headers...); w.Code != 200 || w.Body.String() != "whole" {
			t.Errorf("%q: %d %q", headers, w.Code, w.Body)
		}
	}
	if w := serveOffer(t, testOffer("whole"), "GET", nil, "Range", "bytes=0-1"); w.Code != 206 || w.Body.String() != "wh" {
		t.Errorf("GET: %d %q", w.Code, w.Body)
	}
}
