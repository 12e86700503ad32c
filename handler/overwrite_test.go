package handler

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-backup/caddy-backup/backup"
	"github.com/caddy-backup/caddy-backup/backup/backuptest"
	"github.com/caddy-backup/caddy-backup/dump"
)

// TestOverwriteFromTheWeb replaces what a source dumps, which names no place, and takes its name to confirm.
func TestOverwriteFromTheWeb(t *testing.T) {
	live := filepath.Join(t.TempDir(), "media")
	files := &dump.Files{Folder: live}
	err := errors.Join(os.Mkdir(live, 0o755), os.WriteFile(filepath.Join(live, "a.jpg"), []byte("one"), 0o644))
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(files.Provision(caddy.Context{}), files.Validate()); err != nil {
		t.Fatal(err)
	}
	env := backuptest.New(t, func(c *backup.Config) {
		c.Jobs[0].Sources = []backup.NamedSource{{Name: "media", Kind: "files", Source: files}}
	})
	env.Backed(t, "shop")
	if err := os.WriteFile(filepath.Join(live, "a.jpg"), []byte("two"), 0o644); err != nil {
		t.Fatal(err)
	}
	server := mustSite(t, env.Service, "")
	restore := func(user, body string) answer {
		return as(t, user, "POST", server.URL+"/api/snapshots/latest/restore?job=shop", body)
	}
	confirmed := `{"path": "media", "overwrite": true, "confirm": "` + live + `"}`
	for _, user := range []string{"vera", "otto"} { // a viewer and an operator
		if a := restore(user, confirmed); a.status != 403 {
			t.Errorf("%s: %d %s", user, a.status, a.body)
		}
	}
	for _, body := range []string{`{"path": "media", "overwrite": true}`, `{"path": "media", "overwrite": true, "confirm": "media"}`} {
		if a := restore("anna", body); a.status != 400 || !strings.Contains(a.body, live) {
			t.Errorf("%d %s", a.status, a.body)
		}
	}
	if got, _ := os.ReadFile(filepath.Join(live, "a.jpg")); string(got) != "two" {
		t.Fatalf("%q", got)
	}
	a := restore("anna", confirmed)
	if a.status != 202 {
		t.Fatalf("%d %s", a.status, a.body)
	}
	var run backup.Run
	if err := json.Unmarshal([]byte(a.body), &run); err != nil {
		t.Fatal(err)
	}
	if run = env.Wait(t, run.ID); run.State != backup.StateOK || run.Safety == "" || run.Undo == "" || run.By != "anna" {
		t.Errorf("%+v", run)
	}
	if got, _ := os.ReadFile(filepath.Join(live, "a.jpg")); string(got) != "one" {
		t.Errorf("%q", got)
	}
}

// TestDrillOnPages shows what a drill found out, and when the last good one was.
func TestDrillOnPages(t *testing.T) {
	env := newEnv(t)
	env.Backed(t, "shop")
	run, err := env.Drill(t.Context(), "alice", backup.DrillRequest{Job: "shop"})
	if err != nil {
		t.Fatal(err)
	}
	env.Wait(t, run.ID)
	server := mustSite(t, env.Service, "")
	for path, want := range map[string]string{"/runs/" + run.ID: "What came back", "/jobs/shop": "Last drilled"} {
		if a := as(t, "vera", "GET", server.URL+path, ""); a.status != 200 || !strings.Contains(a.body, want) {
			t.Errorf("%s: %d, without %q", path, a.status, want)
		}
	}
}

func TestDrillThroughTheClient(t *testing.T) {
	clients(t, func(t *testing.T, env *backuptest.Env, c *Client) {
		s := env.Backed(t, "shop")
		run, err := c.Drill(t.Context(), backup.DrillRequest{Job: "shop"})
		if err != nil {
			t.Fatal(err)
		}
		run = wait(t, c, run.ID)
		if run.State != backup.StateOK || run.Kind != backup.KindDrill || run.Snapshot != s.ID || len(run.Drill) == 0 {
			t.Fatalf("%+v", run)
		}
		job, err := c.Job(t.Context(), "shop")
		if err != nil || !job.Drill.LastGood.Equal(run.Ended) {
			t.Errorf("%+v, %v", job.Drill, err)
		}
		if _, err := c.Drill(t.Context(), backup.DrillRequest{Job: "nothing"}); !errors.Is(err, backup.ErrNotFound) {
			t.Error(err)
		}
	})
}
