package handler

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-backup/caddy-backup/backup"
	"github.com/caddy-backup/caddy-backup/backup/backuptest"
	"github.com/caddy-backup/caddy-backup/storage"
)

// The names that nobody should choose, and somebody will.
const (
	evil     = `<img src=x onerror="alert(1)">&'`
	evilJob  = `<b>evil&"job'`
	evilFile = evil + `?#%41 ü.txt`
)

// newEnv is a Service with the job "shop": a source "db" and a folder "media" with files of hard names.
func newEnv(t testing.TB, change ...func(*backup.Config)) *backuptest.Env {
	t.Helper()
	folder := backuptest.Folder{"a/" + evilFile: "hard to name", "logo.svg": "<svg onload=alert(1)>"}
	return backuptest.New(t, append([]func(*backup.Config){func(c *backup.Config) {
		c.Jobs[0].Sources = append(c.Jobs[0].Sources, backup.NamedSource{Name: "media", Kind: "files", Source: folder})
	}}, change...)...)
}

// withEvilJob adds a job whose name is markup.
func withEvilJob(c *backup.Config) {
	source := backuptest.NewSource("evil")
	c.Jobs = append(c.Jobs, backup.Job{Name: evilJob, Sources: []backup.NamedSource{{Name: evil[:9], Kind: evil, Source: source}}})
}

// testApp stands for the app "backup", which belongs to a package that this one must not know.
type testApp struct{}

var (
	serviceMu sync.Mutex
	service   *backup.Service // of the app that is made next
)

func (testApp) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "backup", New: func() caddy.Module { return new(testApp) }}
}
func (testApp) Start() error             { return nil }
func (testApp) Stop() error              { return nil }
func (testApp) Service() *backup.Service { serviceMu.Lock(); defer serviceMu.Unlock(); return service }

func init() { caddy.RegisterModule(new(testApp)) }

// JobNames and PrivatePaths are what the handler backup_accel asks the app for.
func (a testApp) JobNames() (names []string) {
	jobs, _ := a.Service().Jobs(context.Background())
	for _, j := range jobs {
		names = append(names, j.Name)
	}
	return names
}
func (testApp) PrivatePaths() []string { return []string{privatePath} }

// privatePath stands for a repository on the disk.
const privatePath = "/srv/repository"

// provision makes the handler backup of a configuration in JSON, and returns what it logs. s is the app's Service;
// without an app when it is nil.
func provision(t testing.TB, s *backup.Service, config string) (h *Handler, log func() string, err error) {
	t.Helper()
	module, log, err := provisionModule(t, s, "http.handlers.backup", config)
	if err != nil {
		return nil, log, err
	}
	h = module.(*Handler)
	t.Cleanup(func() { _ = h.Cleanup() })
	return h, log, nil
}

// provisionModule does the same for any handler.
func provisionModule(t testing.TB, s *backup.Service, id, config string) (module any, log func() string, err error) {
	t.Helper()
	serviceMu.Lock()
	service = s
	serviceMu.Unlock()
	key := rand.Text()
	cfg := &caddy.Config{
		Admin:   &caddy.AdminConfig{Disabled: true},
		Logging: &caddy.Logging{Logs: map[string]*caddy.CustomLog{"default": {BaseLog: caddy.BaseLog{WriterRaw: raw(t, map[string]any{"output": "test", "key": key})}}}},
	}
	if s != nil {
		cfg.AppsRaw = caddy.ModuleMap{"backup": json.RawMessage(`{}`)}
	}
	ctx, err := caddy.ProvisionContext(cfg)
	if err != nil {
		t.Fatal(err)
	}
	module, err = ctx.LoadModuleByID(id, json.RawMessage(config))
	return module, loggedOf(key).String, err
}

func raw(t testing.TB, v any) json.RawMessage {
	t.Helper()
	data, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// userHeader is how requests of tests say who Caddy's authentication found.
const userHeader = "Test-User"

// site serves a handler as Caddy does: below prefix, which handle_path strips, and after authentication.
func site(h *Handler, prefix string) http.Handler {
	inner := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _ = h.ServeHTTP(w, r, nil) })
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		repl := caddy.NewReplacer()
		r = caddyhttp.PrepareRequest(r, repl, w, &caddyhttp.Server{})
		if user := r.Header.Get(userHeader); user != "" {
			repl.Set("http.auth.user.id", user)
		}
		http.StripPrefix(prefix, inner).ServeHTTP(w, r)
	})
}

// mustSite is the handler with three users, on a server.
func mustSite(t testing.TB, s *backup.Service, extra string) *httptest.Server {
	t.Helper()
	h, _, err := provision(t, s, `{"admins": ["anna"], "operators": ["otto"], "viewers": ["vera"]`+extra+`}`)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(site(h, ""))
	t.Cleanup(server.Close)
	return server
}

// answer is what came back.
type answer struct {
	status int
	header http.Header
	body   string
}

// as asks as a user, with headers in pairs. Redirects are not followed.
func as(t testing.TB, user, method, url, body string, headers ...string) answer {
	t.Helper()
	req, err := http.NewRequestWithContext(context.Background(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if user != "" {
		req.Header.Set(userHeader, user)
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i+1 < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer{resp.StatusCode, resp.Header, string(data)}
}

func get(t testing.TB, user, url string, headers ...string) answer {
	t.Helper()
	return as(t, user, http.MethodGet, url, "", headers...)
}

// code is the code of an error answer of the API.
func (a answer) code() string {
	var e Error
	_ = json.Unmarshal([]byte(a.body), &e)
	return e.Code
}

// several backs a job up n times, looking closer than Watch does whether it has ended.
func several(t testing.TB, env *backuptest.Env, job string, n int) {
	t.Helper()
	for range n {
		run, err := env.Backup(t.Context(), "tester", job)
		if err != nil {
			t.Fatal(err)
		}
		for !run.State.Done() {
			time.Sleep(time.Millisecond)
			if run, err = env.Run(t.Context(), run.ID); err != nil {
				t.Fatal(err)
			}
		}
		if run.State != backup.StateOK {
			t.Fatalf("the backup is %s: %s", run.State, run.Error)
		}
	}
}

// located is a storage in memory that says that it is elsewhere.
type located struct {
	at string
	*storage.Memory
}

func (l located) Location() string { return l.at }

func newMemory() *storage.Memory { return new(storage.Memory) }
