package handler

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/caddy-backup/caddy-backup/backup"
)

// Who may do what: every route of both tables stands here with the smallest role that may.
var (
	apiRoles = map[string]Role{
		"GET /jobs":                           Viewer,
		"POST /jobs":                          Root,
		"GET /jobs/{job}":                     Viewer,
		"POST /jobs/{job}/remove":             Root,
		"GET /jobs/{job}/added":               Root,
		"POST /jobs/{job}/run":                Operator,
		"POST /jobs/{job}/import":             Root,
		"POST /jobs/{job}/drill":              Admin,
		"POST /jobs/{job}/restore":            Root,
		"POST /jobs/{job}/upload":             Admin,
		"GET /runs":                           Viewer,
		"GET /runs/{id}":                      Viewer,
		"GET /runs/{id}/events":               Viewer,
		"POST /runs/{id}/cancel":              Operator,
		"GET /snapshots":                      Viewer,
		"GET /snapshots/{id}":                 Viewer,
		"GET /snapshots/{id}/ls":              Viewer,
		"GET /snapshots/{id}/ls/{path...}":    Viewer,
		"GET /snapshots/{id}/files/{path...}": Operator,
		"POST /snapshots/{id}/restore":        Admin,
		"GET /repositories":                   Viewer,
		"GET /notifiers":                      Viewer,
		"POST /repositories/{name}/init":      Admin,
		"POST /repositories/{name}/check":     Admin,
		"GET /health":                         Prober,

		"GET /jobs/{job}/retention":       Viewer,
		"POST /jobs/{job}/forget":         Admin,
		"POST /snapshots/{id}/keep":       Operator,
		"POST /snapshots/{id}/unkeep":     Operator,
		"POST /snapshots/{id}/accept":     Admin,
		"POST /snapshots/{id}/mail":       Admin,
		"POST /snapshots/{id}/link":       Operator,
		"POST /snapshots/delete":          Admin,
		"POST /repositories/{name}/prune": Admin,

		"GET /snapshots/{id}/diff":         Viewer,
		"GET /repositories/{name}/stats":   Viewer,
		"POST /repositories/{name}/repair": Admin,

		"POST /repositories/{name}/kit/confirm":      Admin,
		"GET /kit":                                   Root,
		"POST /doctor":                               Admin,
		"GET /repositories/{name}/locks":             Viewer,
		"POST /repositories/{name}/unlock":           Admin,
		"GET /repositories/{name}/keys":              Root,
		"POST /repositories/{name}/keys":             Root,
		"POST /repositories/{name}/keys/{id}/remove": Root,
		"POST /repositories/{name}/passwd":           Root,
	}
	pageRoles = map[string]Role{
		"GET /{$}":                            Viewer,
		"GET /jobs/{job}":                     Viewer,
		"POST /jobs/{job}/run":                Operator,
		"GET /jobs/{job}/retention":           Viewer,
		"POST /jobs/{job}/forget":             Admin,
		"GET /runs/{id}":                      Viewer,
		"POST /runs/{id}/cancel":              Operator,
		"GET /snapshots/{id}":                 Viewer,
		"GET /snapshots/{id}/ls/{path...}":    Viewer,
		"GET /snapshots/{id}/files/{path...}": Operator,
		"GET /static/{file}":                  Viewer,
		"POST /repositories/{name}/kit":       Admin,
		"POST /snapshots/{id}/keep":           Operator,
		"POST /snapshots/{id}/unkeep":         Operator,
		"POST /snapshots/{id}/accept":         Admin,
		"POST /snapshots/{id}/mail":           Admin,

		"POST /jobs/{job}/drill":       Admin,
		"GET /jobs/{job}/upload":       Admin,
		"POST /jobs/{job}/upload":      Admin,
		"POST /runs/{id}/upload":       Admin,
		"GET /snapshots/{id}/restore":  Admin,
		"POST /snapshots/{id}/restore": Admin,
		"POST /snapshots/{id}/link":    Operator,
		"POST /runs/{id}/look":         Admin,
		"POST /runs/{id}/restore":      Admin,
		"POST /runs/{id}/undo":         Admin,
	}
)

// bodies are what a route needs to get past its own checks of the request.
var bodies = map[string]string{
	"POST /snapshots/{id}/restore":     `{"target": "new"}`,
	"POST /repositories/{name}/repair": `{"what": "index"}`,
}

// people are the callers that every route is tried with.
var people = []struct {
	name string
	role Role
}{{"", Nobody}, {"stranger", Nobody}, {"vera", Viewer}, {"otto", Operator}, {"anna", Admin}}

// concrete fills a pattern with the names of things that do not exist: no route may change anything in this test.
func concrete(pattern string) string {
	return strings.NewReplacer("{job}", "nosuch", "{id}", "nosuch", "{name}", "nosuch", "{path...}", "no/such",
		"{file}", "app.css", "{$}", "").Replace(pattern)
}

func TestEveryRouteForEverybody(t *testing.T) {
	env := newEnv(t)
	server := mustSite(t, env.Service, fmt.Sprintf(`, "allow_upload": 1000, "restore_root": %q`, t.TempDir()))
	readOnly := mustSite(t, env.Service, fmt.Sprintf(`, "read_only": true, "allow_upload": 1000, "restore_root": %q`, t.TempDir()))
	for _, table := range []struct {
		mount  string
		routes []route
		roles  map[string]Role
	}{
		{"/api", new(API).routes(), apiRoles},
		{"", new(pages).routes(), pageRoles},
		{"", []route{{method: "GET", pattern: "/health"}}, map[string]Role{"GET /health": Prober}},
	} {
		unused := make(map[string]bool)
		for key := range table.roles {
			unused[key] = true
		}
		for _, rt := range table.routes {
			key := rt.method + " " + rt.pattern
			delete(unused, key)
			role, known := table.roles[key]
			if !known {
				t.Errorf("route %s%s has no row in this test: who may use it?", table.mount, key)
				continue
			}
			for _, who := range people {
				t.Run(fmt.Sprintf("%s%s/%s", table.mount, key, who.name), func(t *testing.T) {
					path := table.mount + concrete(rt.pattern)
					tryRoute(t, server, readOnly, rt, path, bodies[key], who.name, who.role >= role)
				})
			}
		}
		for key := range unused {
			t.Errorf("row %s%s has no route", table.mount, key)
		}
	}
	nothingHappened(t, env.Service, 3)
}

// tryRoute asks for a route the honest way, from another site, and where nothing may be changed.
func tryRoute(t *testing.T, server, readOnly *httptest.Server, rt route, path, body, user string, allowed bool) {
	t.Helper()
	a := as(t, user, rt.method, server.URL+path, body)
	if forbidden := a.status == http.StatusForbidden; forbidden == allowed {
		t.Errorf("allowed: %v, but status %d: %s", allowed, a.status, a.body)
	}
	for _, headers := range [][]string{
		{"Sec-Fetch-Site", "cross-site"},
		{"Sec-Fetch-Site", "same-site"},
		{"Origin", "https://evil.example"},
		{"Origin", "null"},
	} {
		a := as(t, user, rt.method, server.URL+path, body, headers...)
		if want := allowed && rt.method == http.MethodGet; (a.status != http.StatusForbidden) != want {
			t.Errorf("with %s: status %d", headers, a.status)
		}
	}
	for _, headers := range [][]string{{"Sec-Fetch-Site", "same-origin"}, {"Origin", server.URL}} {
		if a := as(t, user, rt.method, server.URL+path, body, headers...); (a.status != http.StatusForbidden) != allowed {
			t.Errorf("with %s: status %d", headers, a.status)
		}
	}
	a = as(t, user, rt.method, readOnly.URL+path, body)
	if want := allowed && rt.method == http.MethodGet; (a.status != http.StatusForbidden) != want {
		t.Errorf("read-only: status %d", a.status)
	}
}

// nothingHappened fails when more was started than the restores (of a snapshot that does not exist) of those who may.
func nothingHappened(t *testing.T, s *backup.Service, restores int) {
	t.Helper()
	runs, err := s.Runs(t.Context(), backup.RunFilter{})
	if err != nil {
		t.Fatal(err)
	}
	if len(runs) != restores {
		t.Errorf("%d runs were started, want %d", len(runs), restores)
	}
	for _, r := range runs {
		if r.Kind != backup.KindRestore || r.By != "anna" {
			t.Errorf("a %s was started by %s", r.Kind, r.By)
		}
	}
}

func TestEveryRouteOnTheAdminMount(t *testing.T) {
	env := newEnv(t)
	var role Role
	api := &API{Service: func() *backup.Service { return env.Service }, Unlimited: true,
		Caller: func(*http.Request) Caller { return Caller{Name: "anna", Role: role} }}
	server := httptest.NewServer(http.StripPrefix("/backup", api))
	defer server.Close()
	for _, rt := range new(API).routes() {
		key := rt.method + " " + rt.pattern
		for role = range Root + 1 {
			a := as(t, "", rt.method, server.URL+"/backup"+concrete(rt.pattern), bodies[key])
			if allowed := role >= apiRoles[key]; (a.status != http.StatusForbidden) != allowed {
				t.Errorf("%s as %s: status %d: %s", key, role, a.status, a.body)
			}
		}
		a := as(t, "", rt.method, server.URL+"/backup"+concrete(rt.pattern), bodies[key], "Sec-Fetch-Site", "cross-site")
		if rt.method != http.MethodGet && a.code() != "cross_site" {
			t.Errorf("%s from another site: status %d: %s", key, a.status, a.body)
		}
	}
	nothingHappened(t, env.Service, 0)
}

// Everything else is answered by us too: in JSON below api/, as a page elsewhere.
func TestUnknownAddressesAndMethods(t *testing.T) {
	server := mustSite(t, newEnv(t).Service, "")
	for _, c := range []struct {
		method, path string
		status       int
		code, allow  string
	}{
		{"GET", "/api/nosuch", 404, "not_found", ""},
		{"GET", "/api/", 404, "not_found", ""},
		{"GET", "/api/jobs/", 404, "not_found", ""},
		{"GET", "/api//jobs", 404, "not_found", ""},
		{"GET", "/api/../api/jobs", 404, "not_found", ""},
		{"GET", "/api/snapshots/x/files", 404, "not_found", ""},
		{"DELETE", "/api/jobs", 405, "method_not_allowed", "GET, HEAD, POST"},
		{"GET", "/api/jobs/shop/run", 405, "method_not_allowed", "POST"},
		{"PUT", "/api/runs/x/cancel", 405, "method_not_allowed", "POST"},
		{"GET", "/nosuch", 404, "", ""},
		{"GET", "/static/layout.html", 404, "", ""},
		{"GET", "/static/..%2ftemplates%2flayout.html", 404, "", ""},
		{"GET", "/runs/x/cancel", 405, "", "POST"},
	} {
		a := as(t, "anna", c.method, server.URL+c.path, "")
		if a.status != c.status || a.code() != c.code || a.header.Get("Allow") != c.allow {
			t.Errorf("%s %s: got %d %q allow %q", c.method, c.path, a.status, a.code(), a.header.Get("Allow"))
		}
		if kind := a.header.Get("Content-Type"); (c.code != "") != (kind == "application/json") {
			t.Errorf("%s %s: content type %q", c.method, c.path, kind)
		}
		for _, stranger := range []string{"", "stranger"} {
			if a := as(t, stranger, c.method, server.URL+c.path, ""); a.status != 403 {
				t.Errorf("%s %s: a stranger gets %d", c.method, c.path, a.status)
			}
		}
	}
}

func TestHeadersOfPages(t *testing.T) {
	server := mustSite(t, newEnv(t).Service, "")
	for _, path := range []string{"/", "/nosuch", "/static/app.css", "/static/app.js"} {
		for _, user := range []string{"anna", ""} {
			h := get(t, user, server.URL+path).header
			csp := h.Get("Content-Security-Policy")
			if !strings.HasPrefix(csp, "default-src 'none';") || strings.Contains(csp, "unsafe") {
				t.Errorf("%s: policy %q", path, csp)
			}
			if h.Get("X-Content-Type-Options") != "nosniff" || h.Get("Referrer-Policy") != "same-origin" {
				t.Errorf("%s: headers %v", path, h)
			}
		}
	}
	if a := get(t, "anna", server.URL+"/api/jobs"); a.header.Get("Cache-Control") != "no-store" {
		t.Errorf("API: %v", a.header)
	}
}
