package handler

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/caddy-backup/caddy-backup/backup"
	"github.com/caddy-backup/caddy-backup/backup/backuptest"
	"github.com/caddy-backup/caddy-backup/repo"
	"github.com/caddy-backup/caddy-backup/storage"
)

// clients runs a test with a client over TCP and with one in the same process.
func clients(t *testing.T, test func(t *testing.T, env *backuptest.Env, c *Client)) {
	for _, over := range []string{"tcp", "in process"} {
		t.Run(over, func(t *testing.T) {
			env := newEnv(t, withEvilJob)
			api := adminAPI(env.Service)
			if over == "in process" {
				test(t, env, &Client{Base: "http://standalone/", HTTP: &http.Client{Transport: InProcess(api)}})
				return
			}
			server := httptest.NewServer(http.StripPrefix("/backup", api))
			defer server.Close()
			test(t, env, &Client{Base: server.URL + "/backup/", HTTP: server.Client()})
		})
	}
}

// adminAPI is the API as the admin endpoint mounts it.
func adminAPI(s *backup.Service) *API {
	return &API{Service: func() *backup.Service { return s }, Unlimited: true,
		Caller: func(*http.Request) Caller { return Caller{Name: "command line", Role: Root} }}
}

// wait follows a run to its end through the client.
func wait(t *testing.T, c *Client, id string) backup.Run {
	t.Helper()
	var last backup.Run
	for run, err := range c.Watch(t.Context(), id) {
		if err != nil {
			t.Fatal(err)
		}
		last = run
	}
	if !last.State.Done() {
		t.Fatalf("the last that was seen of the run is %q", last.State)
	}
	return last
}

func TestClientMirrorsTheService(t *testing.T) {
	clients(t, func(t *testing.T, env *backuptest.Env, c *Client) {
		ctx := t.Context()
		run, err := c.Backup(ctx, "shop")
		if err != nil || run.Kind != backup.KindBackup || run.By != "command line" {
			t.Fatalf("run %+v, %v", run, err)
		}
		run = wait(t, c, run.ID)
		if run.State != backup.StateOK || len(run.Log) == 0 {
			t.Fatalf("run %+v", run)
		}
		evilRun, err := c.Backup(ctx, evilJob)
		if err != nil {
			t.Fatal(err)
		}
		evilRun = wait(t, c, evilRun.ID)

		jobs, err := c.Jobs(ctx)
		wantJobs, _ := env.Jobs(ctx)
		same(t, "jobs", jobs, each(wantJobs, presentJob), err)
		job, err := c.Job(ctx, evilJob)
		same(t, "job", job, presentJob(wantJobs[1]), err)
		runs, err := c.Runs(ctx, backup.RunFilter{Job: "shop", Kind: backup.KindBackup, Limit: 5})
		wantRuns, _ := env.Runs(ctx, backup.RunFilter{Job: "shop"})
		same(t, "runs", runs, each(wantRuns, presentRun), err)
		list, err := c.Snapshots(ctx, backup.SnapshotQuery{})
		wantList, _ := env.Snapshots(ctx, backup.SnapshotQuery{})
		same(t, "snapshots", list.Snapshots, each(wantList.Snapshots, presentSnapshot), err)
		list, err = c.Snapshots(ctx, backup.SnapshotQuery{Repository: "default", Offset: 1, Limit: 1})
		same(t, "a page of snapshots", list.Snapshots, each(wantList.Snapshots[1:], presentSnapshot), err)
		list, err = c.Snapshots(ctx, backup.SnapshotQuery{Job: evilJob})
		same(t, "snapshots of a job", list.Total, 1, err)
		snap, err := c.Snapshot(ctx, "", "latest", "shop")
		wantSnap, _ := env.Snapshot(ctx, "", run.Snapshot, "")
		same(t, "snapshot", snap, presentSnapshot(wantSnap), err)
		for _, path := range []string{"", "/", "/shop", "media/a", "/shop/media/a"} {
			entries, err := c.List(ctx, "", run.Snapshot, path)
			want, _ := env.List(ctx, "", run.Snapshot, path)
			same(t, "list of "+path, entries, want, err)
		}
		for _, path := range []string{"db.sql", "/shop/db.sql", "media/a/" + evilFile, "/shop/manifest.json"} {
			same(t, "file "+path, readAll(t, c, run.Snapshot, path), string(env.Read(t, run.Snapshot, path)), nil)
		}
		repositories, err := c.Repositories(ctx)
		wantRepositories, _ := env.Repositories(ctx)
		same(t, "repositories", repositories, wantRepositories, err)
		health, err := c.Health(ctx)
		same(t, "health", health, backup.Health{OK: true, Reasons: []string{}}, err)
		if evilRun.State != backup.StateOK {
			t.Errorf("run of the evil job: %+v", evilRun)
		}
	})
}

func same(t *testing.T, what string, got, want any, err error) {
	t.Helper()
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%s: got %+v, %v\nwant %+v", what, got, err, want)
	}
}

func readAll(t *testing.T, c *Client, snapshot, path string) string {
	t.Helper()
	r, size, err := c.Open(t.Context(), "", snapshot, path)
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	defer r.Close()
	data, err := io.ReadAll(r)
	if err != nil || int64(len(data)) != size {
		t.Fatalf("%s: %d bytes of %d, %v", path, len(data), size, err)
	}
	return string(data)
}

func TestClientStartsAndCancels(t *testing.T) {
	clients(t, func(t *testing.T, env *backuptest.Env, c *Client) {
		ctx := t.Context()
		entered, release := env.DB.Hold("held")
		defer release()
		run, err := c.Backup(ctx, "shop")
		if err != nil {
			t.Fatal(err)
		}
		<-entered
		other, err := c.Backup(ctx, "shop")
		if !errors.Is(err, backup.ErrConflict) || other.ID != run.ID {
			t.Errorf("a second backup: run %q instead of %q, %v", other.ID, run.ID, err)
		}
		if err := c.Cancel(ctx, run.ID); err != nil {
			t.Fatal(err)
		}
		if run = wait(t, c, run.ID); run.State != backup.StateCancelled {
			t.Errorf("the run is %s", run.State)
		}
		if err := c.Cancel(ctx, run.ID); !errors.Is(err, backup.ErrConflict) {
			t.Errorf("cancelling what has ended: %v", err)
		}
		release()
		env.DB.Set("data")
		env.Backed(t, "shop")

		check, err := c.Check(ctx, backup.CheckRequest{ReadData: true})
		if err != nil || wait(t, c, check.ID).State != backup.StateOK {
			t.Errorf("check: %+v, %v", check, err)
		}
		target := filepath.Join(t.TempDir(), "restored")
		restore, err := c.Restore(ctx, backup.RestoreRequest{Snapshot: "latest", Job: "shop", Path: "db.sql", Target: target})
		if err != nil || wait(t, c, restore.ID).State != backup.StateOK {
			t.Errorf("restore: %+v, %v", restore, err)
		}
		if data, err := os.ReadFile(filepath.Join(target, "db.sql")); string(data) != "data" {
			t.Errorf("restored %q, %v", data, err)
		}
		restore, err = c.Restore(ctx, backup.RestoreRequest{Snapshot: "latest", Job: "shop", Path: "db.sql", Place: "new"})
		if err != nil || wait(t, c, restore.ID).State != backup.StateOK {
			t.Errorf("restore through the source: %+v, %v", restore, err)
		}
		if data, _ := env.DB.Restored("new"); string(data) != "data" {
			t.Errorf("restored %q", data)
		}
	})
}

func TestClientKnowsErrors(t *testing.T) {
	clients(t, func(t *testing.T, env *backuptest.Env, c *Client) {
		ctx := t.Context()
		snap := env.Backed(t, "shop")
		for what, tried := range map[string]struct {
			err, want error
		}{
			"job":             {second(c.Job(ctx, "no such")), backup.ErrNotFound},
			"run":             {second(c.Run(ctx, "nosuch")), backup.ErrNotFound},
			"backup":          {second(c.Backup(ctx, "no/such")), backup.ErrNotFound},
			"cancel":          {c.Cancel(ctx, "nosuch"), backup.ErrNotFound},
			"kind of runs":    {second(c.Runs(ctx, backup.RunFilter{Kind: "dance"})), backup.ErrInvalid},
			"snapshot":        {second(c.Snapshot(ctx, "", "ffffffffffffffff", "")), repo.ErrNotFound},
			"prefix":          {second(c.Snapshot(ctx, "", "", "")), backup.ErrNotFound},
			"repository":      {second(c.Snapshots(ctx, backup.SnapshotQuery{Repository: "nosuch"})), backup.ErrNotFound},
			"path":            {second(c.List(ctx, "", snap.ID, "no/such")), repo.ErrNotFound},
			"dots":            {second(c.List(ctx, "", snap.ID, "/shop/../shop")), repo.ErrNotFound},
			"folder of file":  {second(c.List(ctx, "", snap.ID, "db.sql")), repo.ErrNotFolder},
			"folder":          {open(c, t, snap.ID, "/shop"), repo.ErrIsFolder},
			"file":            {open(c, t, snap.ID, "/shop/nosuch"), repo.ErrNotFound},
			"init":            {second(c.InitRepository(ctx, "")), repo.ErrExists},
			"of which job":    {second(c.List(ctx, "", "latest", "/shop")), backup.ErrInvalid},
			"restore":         {second(c.Restore(ctx, backup.RestoreRequest{Snapshot: "latest"})), backup.ErrInvalid},
			"check elsewhere": {second(c.Check(ctx, backup.CheckRequest{Repository: "nosuch"})), backup.ErrNotFound},
		} {
			if !errors.Is(tried.err, tried.want) {
				t.Errorf("%s: got %v, want %v", what, tried.err, tried.want)
			}
			if e, ok := errors.AsType[*Error](tried.err); !ok || e.Code == "" || e.Message == "" {
				t.Errorf("%s: %#v", what, tried.err)
			}
		}
	})
}

func second[T any](_ T, err error) error { return err }

func open(c *Client, t *testing.T, id, path string) error {
	r, _, err := c.Open(t.Context(), "", id, path)
	if err == nil {
		r.Close()
	}
	return err
}

// Every row of the table of errors leads to its status and code, and on the client's side back to the same sentinel.
func TestErrorsThereAndBack(t *testing.T) {
	codes := make(map[string]bool)
	for _, f := range faults {
		if codes[f.code] {
			t.Errorf("two rows for %s", f.code)
		}
		codes[f.code] = true
		for _, sentinel := range f.is {
			w := httptest.NewRecorder()
			c := &call{w: w, r: httptest.NewRequest("GET", "/", nil)}
			new(API).fail(c, fmt.Errorf("repository default at /srv: %w: do this", sentinel))
			resp := w.Result()
			resp.Request = c.r
			err := answered(resp)
			if !errors.Is(err, sentinel) || resp.StatusCode != f.status || !strings.Contains(err.Error(), "/srv") {
				t.Errorf("%v became %d %v", sentinel, resp.StatusCode, err)
			}
		}
	}
	e := errorOf(&repo.LockedError{Location: "/srv"})
	if e.Status != http.StatusLocked || e.Code != "locked" {
		t.Errorf("locked: %+v", e)
	}
	if e := errorOf(io.ErrUnexpectedEOF); e.Status != 500 || e.Code != "internal" || errors.Is(e, io.ErrUnexpectedEOF) {
		t.Errorf("anything else: %+v", e)
	}
}

func TestWithoutService(t *testing.T) {
	api := adminAPI(nil)
	api.Service = func() *backup.Service { return nil }
	c := &Client{Base: "http://x/", HTTP: &http.Client{Transport: InProcess(api)}}
	if _, err := c.Jobs(t.Context()); !errors.Is(err, backup.ErrClosed) {
		t.Errorf("jobs: %v", err)
	}
	if _, err := c.Health(t.Context()); !errors.Is(err, backup.ErrClosed) {
		t.Errorf("health: %v", err)
	}
}

func TestRepositoryThatDoesNotExistYet(t *testing.T) {
	env := newEnv(t, func(c *backup.Config) { c.Repositories[0].Storage = new(storage.Memory) })
	c := &Client{Base: "http://x/", HTTP: &http.Client{Transport: InProcess(adminAPI(env.Service))}}
	if _, err := c.Snapshots(t.Context(), backup.SnapshotQuery{}); !errors.Is(err, repo.ErrNoRepository) {
		t.Errorf("snapshots: %v", err)
	}
	made, err := c.InitRepository(t.Context(), "default")
	if err != nil || made.Name != "default" || made.ID == "" {
		t.Errorf("init: %+v, %v", made, err)
	}
	if list, err := c.Snapshots(t.Context(), backup.SnapshotQuery{}); err != nil || list.Total != 0 || list.Snapshots == nil {
		t.Errorf("snapshots: %+v, %v", list, err)
	}
}

// What is not our API answers as it likes.
func TestClientOfSomethingElse(t *testing.T) {
	for body, want := range map[string]string{
		`{"error": "unknown object"}`: "unknown object",
		`<html>`:                      "answered 404 Not Found",
		``:                            "answered 404 Not Found",
	} {
		h := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(404)
			_, _ = io.WriteString(w, body)
		})
		c := &Client{Base: "http://x/", HTTP: &http.Client{Transport: InProcess(h)}}
		_, err := c.Jobs(t.Context())
		if e, ok := errors.AsType[*Error](err); !ok || e.Status != 404 || !strings.Contains(e.Message, want) {
			t.Errorf("%q: %#v", body, err)
		}
	}
	nothing := &Client{Base: "http://127.0.0.1:1/", HTTP: &http.Client{Timeout: time.Second}}
	if _, err := nothing.Jobs(t.Context()); err == nil {
		t.Error("no error where nothing listens")
	}
}
