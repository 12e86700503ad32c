package handler

import (
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// FuzzAccelTarget: whatever an application writes, what comes out names one file below the folder of its prefix, and
// never anything else.
func FuzzAccelTarget(f *testing.F) {
	for _, value := range []string{
		"/f/x", "/b/shop/latest/db.sql?x", "/f/%2e%2e/x", "/f/..%2fx", "/f//x", "/f/\x00", "/f/%00", "/srv/f/../x", "/f/a%20b", "/f/%", "",
		"/b/shop/latest/a/b", "/b/other/latest/x", "/f/\\x", "@x", "/f/ü", "/f/\xff", "/f/C:/x", "/f/%25%32%66",
	} {
		f.Add(value, value)
	}
	a := &Accel{
		Snapshots:     []AccelSnapshots{{Prefix: "/b/", Jobs: []string{"shop"}}},
		Files:         []AccelFiles{{Prefix: "/f/", Root: "/srv/f"}},
		SendfileRoots: []string{"/srv/s"},
	}
	f.Fuzz(func(t *testing.T, redirect, sendfile string) {
		for _, h := range []http.Header{{redirectHeader: {redirect}}, {sendfileHeader: {sendfile}}} {
			got, err := a.target(h)
			if err != nil {
				if got != (target{}) || accelStatus(err) != 404 {
					t.Fatalf("%v: %v with %+v", h, err, got)
				}
				continue
			}
			names := strings.Split(got.path, "/")
			if !filepath.IsLocal(got.path) || slices.Contains(names, "") || slices.Contains(names, ".") || slices.Contains(names, "..") ||
				strings.ContainsAny(got.path, "\x00\\\r\n") {
				t.Fatalf("%v: %+v", h, got)
			}
			plain := got.job == "" && got.snapshot == "" && (got.root == "/srv/f" || got.root == "/srv/s")
			stored := got.job == "shop" && got.root == "" && !strings.Contains(got.snapshot, "/")
			if plain == stored {
				t.Fatalf("%v: %+v", h, got)
			}
		}
	})
}
