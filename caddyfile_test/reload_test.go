package integration

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-backup/caddy-backup/backup"
	"github.com/caddy-backup/caddy-backup/handler"
)

// inProcess is the admin endpoint of the Caddy in this process.
const inProcess = "http://localhost:2999"

// admin is the API on that endpoint.
var admin = &handler.Client{Base: inProcess + "/backup/", HTTP: once}

// once is a client that asks again when the connection broke, or the admin endpoint answered that was there before: each
// reload starts it anew and resets the connections that wait for the old one.
var once = &http.Client{Transport: again{&http.Transport{DisableKeepAlives: true}}}

type again struct{ http.RoundTripper }

func (t again) RoundTrip(r *http.Request) (resp *http.Response, err error) {
	deadline := time.Now().Add(patience)
	for tries := 1; ; tries++ {
		if resp, err = t.RoundTripper.RoundTrip(r); err == nil && !outgoing(resp) || r.Body != nil && r.GetBody == nil {
			break
		}
		if err == nil && tries >= 20 || r.Context().Err() != nil || time.Now().After(deadline) {
			break
		}
		if r.GetBody != nil {
			r = r.Clone(r.Context())
			r.Body, _ = r.GetBody()
		}
		time.Sleep(10 * time.Millisecond)
	}
	return resp, err
}

// outgoing reports whether the answer is that of a Caddy whose configuration has no backup app, or had one. The body is
// there to be read again.
func outgoing(resp *http.Response) bool {
	if resp.StatusCode != http.StatusServiceUnavailable {
		return false
	}
	body, err := io.ReadAll(resp.Body)
	resp.Body.Close()
	resp.Body = io.NopCloser(bytes.NewReader(body))
	return err == nil && bytes.Contains(body, []byte("the backup app is not running"))
}

// world is a folder with all that one test's configurations name.
type world struct {
	*testing.T
	dir string
}

func newWorld(t *testing.T) *world {
	w := &world{T: t, dir: t.TempDir()}
	w.write("secret", canary+"\n")
	// The Caddy in this process stays for the next test; nothing of this one may.
	t.Cleanup(func() { w.mustLoad("{\n\tadmin localhost:2999\n}\n") })
	return w
}

func (w *world) write(name, content string) {
	w.Helper()
	if err := os.WriteFile(filepath.Join(w.dir, name), []byte(content), 0o600); err != nil {
		w.Fatal(err)
	}
}

// config is a Caddyfile with a job that goes on until the file "release" is there, a job that is quick, what extra adds
// to the app, and sites.
func (w *world) config(extra, sites string) string {
	return fmt.Sprintf(`{
	admin localhost:2999
	persist_config off
	skip_install_trust
	auto_https off
	grace_period 1ns
	storage file_system %[1]s/store
	backup {
		repository {
			storage %[1]s/repository
			password {file.%[1]s/secret}
		}
		job slow {
			source out command sh -c "echo begin; while [ ! -e %[1]s/release ]; do sleep 0.02; done; echo end"
		}
		job quick {
			source out command echo data
		}
		%[2]s
	}
}
%[3]s
`, w.dir, extra, sites)
}

// load gives Caddy a configuration, also when nothing changed, as the reload of systemd's unit does.
func (w *world) load(caddyfile string) error {
	w.Helper()
	config, err := adapt(caddyfile)
	if err != nil {
		return err
	}
	return caddy.Load([]byte(config), true)
}

func (w *world) mustLoad(caddyfile string) {
	w.Helper()
	if err := w.load(caddyfile); err != nil {
		w.Fatal(err)
	}
}

// begin loads the configuration for the first time in this test, starting Caddy when there is none yet.
func (w *world) begin(caddyfile string) {
	w.Helper()
	w.mustLoad(caddyfile)
	if _, err := admin.InitRepository(w.Context(), ""); err != nil {
		w.Fatal(err)
	}
}

// startSlow starts the job "slow" and waits until it dumps.
func (w *world) startSlow() backup.Run {
	w.Helper()
	run, err := admin.Backup(w.Context(), "slow")
	if err != nil {
		w.Fatal(err)
	}
	return await(w.T, admin, run.ID, func(r backup.Run) bool { return r.State == backup.StateRunning && r.Progress.Bytes > 0 })
}

func (w *world) release() { w.write("release", "") }

// finish waits for the end of a run.
func finish(t *testing.T, c *handler.Client, id string) backup.Run {
	t.Helper()
	return await(t, c, id, func(r backup.Run) bool { return r.State.Done() })
}

// await waits until a run is as wanted.
func await(t *testing.T, c *handler.Client, id string, wanted func(backup.Run) bool) backup.Run {
	t.Helper()
	ctx, stop := context.WithTimeout(t.Context(), patience)
	defer stop()
	for {
		run, err := c.Run(ctx, id)
		if err != nil {
			t.Fatal(err)
		}
		if wanted(run) {
			return run
		}
		if run.State.Done() {
			t.Fatalf("run %s ended as %s: %s", id, run.State, run.Error)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func (w *world) wantOneGreen(run backup.Run) {
	w.Helper()
	run = finish(w.T, admin, run.ID)
	if run.State != backup.StateOK {
		w.Fatalf("the run ended as %s: %s", run.State, run.Error)
	}
	runs, err := admin.Runs(w.Context(), backup.RunFilter{Job: "slow"})
	if err != nil || len(runs) != 1 {
		w.Errorf("%d runs, %v", len(runs), err)
	}
	list, err := admin.Snapshots(w.Context(), backup.SnapshotQuery{Job: "slow"})
	if err != nil || list.Total != 1 {
		w.Errorf("%d snapshots, %v", list.Total, err)
	}
}

// TestReloadDuringRun: a run goes on through many reloads, once.
func TestReloadDuringRun(t *testing.T) {
	w := newWorld(t)
	w.begin(w.config("", ""))
	run := w.startSlow()
	for i := range 100 {
		w.mustLoad(w.config([]string{"", "timezone Europe/Paris"}[i%2], ""))
		if _, err := admin.Backup(t.Context(), "slow"); !errors.Is(err, backup.ErrConflict) {
			t.Fatalf("after reload %d a second run of the job was not refused: %v", i, err)
		}
	}
	w.release()
	w.wantOneGreen(run)
}

// TestReloadFails: whatever is wrong with a new configuration, the old one keeps serving, its runs go on.
func TestReloadFails(t *testing.T) {
	w := newWorld(t)
	w.begin(w.config("", ""))
	run := w.startSlow()

	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	for _, c := range []struct{ name, config, want string }{
		{"another app does not start", w.config("host other", "http://"+taken.Addr().String()+" {\n\tbind 127.0.0.1\n\trespond hello\n}"),
			"address already in use"},
		{"a password is not set", w.config("repository spare {\n\tpassword {env.BACKUP_TEST_UNSET}\n}", ""),
			"repository spare: password: evaluated placeholder {env.BACKUP_TEST_UNSET} is empty"},
		{"a job has nowhere to go", w.config("job lost {\n\tsource out command echo data\n\tto nowhere\n}", ""),
			"job lost: there is no repository nowhere"},
		{"a word is unknown", w.config("frequency daily", ""), "unrecognized subdirective 'frequency'"},
	} {
		for range 3 {
			if err := w.load(c.config); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%s: got %v, want: %s", c.name, err, c.want)
			}
		}
		jobs, err := admin.Jobs(t.Context())
		if err != nil || len(jobs) != 2 || jobs[0].Running == nil || jobs[0].Running.ID != run.ID {
			t.Fatalf("%s: the old configuration does not serve: %+v, %v", c.name, jobs, err)
		}
	}
	w.release()
	w.wantOneGreen(run)
}

// TestBackupTakenOut: without the option the runs end, and the API says so in JSON; with it again they are known.
func TestBackupTakenOut(t *testing.T) {
	w := newWorld(t)
	w.begin(w.config("", ""))
	run := w.startSlow()
	w.mustLoad("{\n\tadmin localhost:2999\n\tpersist_config off\n}\n")
	resp, err := once.Get(inProcess + "/backup/jobs")
	if err != nil {
		t.Fatal(err)
	}
	if body := read(t, resp); resp.StatusCode != http.StatusServiceUnavailable || !strings.Contains(body, `"error"`) {
		t.Errorf("got %s: %s", resp.Status, body)
	}
	w.mustLoad(w.config("", ""))
	if run = finish(t, admin, run.ID); run.State != backup.StateInterrupted {
		t.Errorf("the run ended as %s", run.State)
	}
	quick, err := admin.Backup(t.Context(), "quick")
	if err != nil {
		t.Fatal(err)
	}
	if quick = finish(t, admin, quick.ID); quick.State != backup.StateOK {
		t.Errorf("the next run ended as %s: %s", quick.State, quick.Error)
	}
}

// TestAdminAnswersJSON: also for what is not there, and for wrong methods.
func TestAdminAnswersJSON(t *testing.T) {
	w := newWorld(t)
	w.begin(w.config("", ""))
	for _, c := range []struct {
		method, path string
		status       int
	}{
		{"GET", "/backup/jobs", 200},
		{"GET", "/backup/", 404},
		{"GET", "/backup/nothing/here", 404},
		{"GET", "/backup/jobs/unknown", 404},
		{"DELETE", "/backup/jobs", 405},
		{"GET", "/backup/jobs/quick/run", 405},
		{"GET", "/backup/snapshots/ffffffff", 404},
		{"GET", "/backup/health", 503}, // no backup yet
	} {
		req, err := http.NewRequest(c.method, inProcess+c.path, nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := once.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		body := read(t, resp)
		if resp.StatusCode != c.status || resp.Header.Get("Content-Type") != "application/json" || !strings.HasPrefix(body, "{") {
			t.Errorf("%s %s: got %s, %s: %s", c.method, c.path, resp.Status, resp.Header.Get("Content-Type"), body)
		}
	}
}

// TestConfigShowsNoSecret: placeholders stay as they are in what Caddy tells of its configuration.
func TestConfigShowsNoSecret(t *testing.T) {
	w := newWorld(t)
	w.begin(w.config("", ""))
	for _, path := range []string{"/config/", "/backup/jobs", "/backup/repositories", "/backup/runs"} {
		resp, err := once.Get(inProcess + path)
		if err != nil {
			t.Fatal(err)
		}
		if body := read(t, resp); strings.Contains(body, canary) {
			t.Errorf("%s shows the password: %s", path, body)
		}
	}
}
