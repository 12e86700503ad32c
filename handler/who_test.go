package handler

import (
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// status asks a handler for the overview, or for health with a token.
func status(h *Handler, path string, change func(*http.Request)) int {
	r := httptest.NewRequest(http.MethodGet, path, nil)
	if change != nil {
		change(r)
	}
	w := httptest.NewRecorder()
	site(h, "").ServeHTTP(w, r)
	return w.Code
}

func user(name string) func(*http.Request) {
	return func(r *http.Request) { r.Header.Set(userHeader, name) }
}

func header(name, value string) func(*http.Request) {
	return func(r *http.Request) { r.Header.Set(name, value) }
}

func TestWhoIsLetIn(t *testing.T) {
	env := newEnv(t)
	run := "/api/jobs/nosuch/run"
	for name, c := range map[string]struct {
		config string
		change func(*http.Request)
		look   int
		hint   string // in the log
	}{
		"nobody signed in":             {`{"admins": ["anna"]}`, nil, 403, "basic_auth"},
		"an empty name":                {`{"admins": ["anna"]}`, user(" "), 403, "basic_auth"},
		"not on any list":              {`{"admins": ["anna"]}`, user("bob"), 403, `"user":"bob"`},
		"names are case-sensitive":     {`{"admins": ["anna"]}`, user("Anna"), 403, ""},
		"no lists, signed in":          {`{}`, user("bob"), 200, "admin alice"},
		"no lists, not signed in":      {`{}`, nil, 403, "basic_auth"},
		"insecure_no_auth":             {`{"insecure_no_auth": true}`, nil, 200, "insecure_no_auth"},
		"insecure_no_auth, unlisted":   {`{"insecure_no_auth": true, "admins": ["anna"]}`, user("bob"), 403, ""},
		"a header, not asked for":      {`{"admins": ["anna"]}`, header("Remote-User", "anna"), 403, ""},
		"a header":                     {`{"admins": ["anna"], "user": "{http.request.header.Remote-User}"}`, header("Remote-User", "anna"), 200, ""},
		"a header, empty":              {`{"admins": ["anna"], "user": "{http.request.header.Remote-User}"}`, header("Remote-User", ""), 403, ""},
		"a header, basic_auth is out":  {`{"admins": ["anna"], "user": "{http.request.header.Remote-User}"}`, user("anna"), 403, ""},
		"certificate, verified":        {`{"viewers": ["CN=vera"], "user": "{http.request.tls.client.subject}"}`, certificate(true), 200, ""},
		"certificate, not verified":    {`{"viewers": ["CN=vera"], "user": "{http.request.tls.client.subject}"}`, certificate(false), 403, ""},
		"certificate, but no user":     {`{"viewers": ["CN=vera"]}`, certificate(true), 403, ""},
		"a name that is a placeholder": {`{"viewers": ["{env.TEST_VIEWER}"]}`, user("victor"), 200, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("TEST_VIEWER", "victor")
			h, log, err := provision(t, env.Service, c.config)
			if err != nil {
				t.Fatal(err)
			}
			if got := status(h, "/", c.change); got != c.look {
				t.Errorf("overview: status %d, want %d", got, c.look)
			}
			if got := status(h, "/api/jobs", c.change); got != c.look {
				t.Errorf("API: status %d, want %d", got, c.look)
			}
			if !strings.Contains(log(), c.hint) {
				t.Errorf("the log does not say %q: %s", c.hint, log())
			}
			post := func(r *http.Request) {
				r.Method = http.MethodPost
				if c.change != nil {
					c.change(r)
				}
			}
			if want := strings.Contains(c.config, "admins") && c.look == 200; (status(h, run, post) != 403) != want {
				t.Errorf("run: status %d", status(h, run, post))
			}
		})
	}
}

// certificate is a client's certificate of CN=vera, verified by a CA that the server trusts or not.
func certificate(verified bool) func(*http.Request) {
	cert := &x509.Certificate{Subject: pkix.Name{CommonName: "vera"}}
	return func(r *http.Request) {
		r.TLS = &tls.ConnectionState{PeerCertificates: []*x509.Certificate{cert}}
		if verified {
			r.TLS.VerifiedChains = [][]*x509.Certificate{{cert}}
		}
	}
}

func TestHealthToken(t *testing.T) {
	env := newEnv(t)
	env.Backed(t, "shop")
	t.Setenv("TEST_TOKEN", "open sesame")
	h, _, err := provision(t, env.Service, `{"admins": ["anna"], "health_token": "{env.TEST_TOKEN}"}`)
	if err != nil {
		t.Fatal(err)
	}
	bearer := func(s string) func(*http.Request) { return header("Authorization", s) }
	for _, c := range []struct {
		path   string
		change func(*http.Request)
		want   int
	}{
		{"/health", bearer("Bearer open sesame"), 200},
		{"/api/health", bearer("bearer open sesame"), 200},
		{"/health", bearer("Bearer open"), 403},
		{"/health", bearer("Bearer {env.TEST_TOKEN}"), 403},
		{"/health", bearer("Bearer "), 403},
		{"/health", bearer("Basic open sesame"), 403},
		{"/health?token=open+sesame", nil, 403},
		{"/health", nil, 403},
		{"/health", user("anna"), 200},
		{"/", bearer("Bearer open sesame"), 403},
		{"/api/jobs", bearer("Bearer open sesame"), 403},
		{"/api/nosuch", bearer("Bearer open sesame"), 403},
		{"/static/app.css", bearer("Bearer open sesame"), 403},
	} {
		if got := status(h, c.path, c.change); got != c.want {
			t.Errorf("%s: status %d, want %d", c.path, got, c.want)
		}
	}
	bare, _, err := provision(t, env.Service, `{"admins": ["anna"]}`)
	if err != nil {
		t.Fatal(err)
	}
	if got := status(bare, "/health", bearer("Bearer ")); got != 403 {
		t.Errorf("without a token in the configuration, an empty one: status %d", got)
	}
}

func TestConfigurationErrors(t *testing.T) {
	env := newEnv(t)
	for name, c := range map[string]struct {
		config string
		app    bool
		want   string
	}{
		"no app":           {`{}`, false, "add the global option backup"},
		"unset token":      {`{"health_token": "{env.TEST_NOT_SET}"}`, true, "health_token: "},
		"unset name":       {`{"admins": ["{env.TEST_NOT_SET}"]}`, true, "admin: "},
		"empty name":       {`{"viewers": [" "]}`, true, "viewer: the name of a user is empty"},
		"two roles":        {`{"admins": ["anna"], "viewers": ["anna"]}`, true, `user "anna" is both admin and viewer`},
		"relative root":    {`{"restore_root": "srv"}`, true, "must be an absolute path"},
		"everything below": {`{"restore_root": "/srv/.."}`, true, "must be an absolute path"},
	} {
		t.Run(name, func(t *testing.T) {
			s := env.Service
			if !c.app {
				s = nil
			}
			if _, _, err := provision(t, s, c.config); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}

// Both ways of mounting lead to the same pages, and the mount point without its slash leads to the one with it.
func TestBelowAPrefix(t *testing.T) {
	h, _, err := provision(t, newEnv(t).Service, `{"insecure_no_auth": true}`)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(site(h, "/a/backups"))
	defer server.Close()
	if a := get(t, "", server.URL+"/a/backups"); a.status != 308 || a.header.Get("Location") != "./backups/" {
		t.Errorf("without a slash: %d %q", a.status, a.header.Get("Location"))
	}
	a := get(t, "", server.URL+"/a/backups/jobs/shop")
	if a.status != 200 || !strings.Contains(a.body, `href="../static/app.css`) {
		t.Errorf("job: %d\n%s", a.status, a.body)
	}
	for _, absolute := range []string{`href="/`, `action="/`, `src="/`} {
		if strings.Contains(a.body, absolute) {
			t.Errorf("an absolute address: %s", absolute)
		}
	}
}
