package handler

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/caddy-backup/caddy-backup/backup"
)

func TestShapeOfAnswers(t *testing.T) {
	env := newEnv(t, func(c *backup.Config) { c.Zone = time.FixedZone("far", 9*3600) })
	server := mustSite(t, env.Service, "")
	for path, want := range map[string]string{
		"/api/runs":                    `{"total":0,"runs":[]}`,
		"/api/snapshots":               `{"total":0,"page":1,"per_page":20,"snapshots":[]}`,
		"/api/snapshots?page=7":        `{"total":0,"page":7,"per_page":20,"snapshots":[]}`,
		"/api/health":                  `{"ok":false,"reasons":["job shop: no backup yet"]}`,
		"/api/snapshots?page=0":        `"code":"invalid"`,
		"/api/snapshots?page=x":        `"code":"invalid"`,
		"/api/snapshots?page=99999999": `"code":"invalid"`,
		"/api/snapshots?per_page=-1":   `"code":"invalid"`,
		"/api/runs?limit=0":            `"code":"invalid"`,
		"/api/runs?kind=dance":         `"code":"invalid"`,
	} {
		if a := get(t, "vera", server.URL+path); !strings.Contains(a.body, want) {
			t.Errorf("%s: %s", path, a.body)
		}
	}
	env.Backed(t, "shop")
	for _, path := range []string{"/api/jobs", "/api/runs", "/api/snapshots", "/api/snapshots/latest", "/api/snapshots/latest/ls/shop"} {
		a := get(t, "vera", server.URL+path)
		if strings.Contains(a.body, "+09:00") || !strings.Contains(a.body, `Z"`) {
			t.Errorf("%s: times are not UTC: %s", path, a.body)
		}
		if strings.Contains(a.body, "null") {
			t.Errorf("%s: null in the answer: %s", path, a.body)
		}
	}
}

func TestPagesOfSnapshots(t *testing.T) {
	env := newEnv(t)
	server := mustSite(t, env.Service, "")
	for i := range 5 {
		env.DB.Set(fmt.Sprintf("data %d", i))
		several(t, env, "shop", 1)
	}
	seen := make(map[string]bool)
	for page := 1; page <= 3; page++ {
		var list snapshotPage
		a := get(t, "vera", fmt.Sprintf("%s/api/snapshots?job=shop&page=%d&per_page=2", server.URL, page))
		if err := json.Unmarshal([]byte(a.body), &list); err != nil || list.Total != 5 || list.Page != page || list.PerPage != 2 {
			t.Fatalf("page %d: %s %v", page, a.body, err)
		}
		for _, s := range list.Snapshots {
			seen[s.ID] = true
		}
	}
	if len(seen) != 5 {
		t.Errorf("%d snapshots on 3 pages", len(seen))
	}
}

func TestRequestBodies(t *testing.T) {
	server := mustSite(t, newEnv(t).Service, "")
	check := server.URL + "/api/repositories/default/check"
	for _, c := range []struct {
		body, kind string
		status     int
		code       string
	}{
		{`{"read_data": true}`, "application/json", 202, ""},
		{``, "", 202, ""},
		{`{"read_data": true}`, "application/json; charset=utf-8", 202, ""},
		{`{"read_data": true}`, "text/plain", 415, "unsupported_media_type"},
		{`read_data=true`, "application/x-www-form-urlencoded", 415, "unsupported_media_type"},
		{`{"read_data": true}`, "", 415, "unsupported_media_type"},
		{`{"read_date": true}`, "application/json", 400, "invalid"},
		{`{"read_data": 1}`, "application/json", 400, "invalid"},
		{`{} {}`, "application/json", 400, "invalid"},
		{`{`, "application/json", 400, "invalid"},
		{`"` + strings.Repeat("x", maxBody) + `"`, "application/json", 413, "too_large"},
	} {
		a := as(t, "anna", "POST", check, c.body, "Content-Type", c.kind)
		if a.status == 409 && c.status == 202 {
			continue // the check before goes on
		}
		if a.status != c.status || a.code() != c.code {
			t.Errorf("%.30q as %q: %d %s", c.body, c.kind, a.status, a.body)
		}
	}
}

func TestRestoreStaysInItsRoot(t *testing.T) {
	env := newEnv(t)
	env.Backed(t, "shop")
	root := filepath.Join(t.TempDir(), "restores")
	server := mustSite(t, env.Service, fmt.Sprintf(`, "restore_root": %q`, root))
	restore := func(body string) answer {
		return as(t, "anna", "POST", server.URL+"/api/snapshots/latest/restore", body)
	}
	outside := t.TempDir()
	if err := errors.Join(os.Mkdir(root, 0o700), os.Symlink(outside, filepath.Join(root, "link"))); err != nil {
		t.Fatal(err)
	}
	for _, target := range []string{"", ".", "..", "/", "/etc", "../x", "a/b", "a/../../x", root, root + "/a/b", root + "/..", root + "x",
		`a\b`, "a\x00b", "a\nb", ".ssh", "..three", "link"} {
		body, _ := json.Marshal(backup.RestoreRequest{Target: target})
		if a := restore(string(body)); a.status != 403 || a.code() != "forbidden" {
			t.Errorf("target %q: %d %s", target, a.status, a.body)
		}
	}
	if a := restore(`{"path": "db.sql", "place": "elsewhere"}`); a.status != 403 {
		t.Errorf("place: %d %s", a.status, a.body)
	}
	for i, target := range []string{"one", root + "/two", "three..x"} {
		body, _ := json.Marshal(backup.RestoreRequest{Job: "shop", Path: "db.sql", Target: target, Snapshot: "ignored"})
		a := restore(string(body))
		var run backup.Run
		if err := json.Unmarshal([]byte(a.body), &run); err != nil || a.status != 202 {
			t.Fatalf("target %q: %d %s", target, a.status, a.body)
		}
		if run = env.Wait(t, run.ID); run.State != backup.StateOK || run.By != "anna" {
			t.Errorf("target %q: %+v", target, run)
		}
		if _, err := os.Stat(filepath.Join(root, []string{"one", "two", "three..x"}[i], "db.sql")); err != nil {
			t.Error(err)
		}
	}
	nowhere := mustSite(t, env.Service, "")
	if a := as(t, "anna", "POST", nowhere.URL+"/api/snapshots/latest/restore", `{"target": "x"}`); a.status != 403 ||
		!strings.Contains(a.body, "restore_root") {
		t.Errorf("without a root: %d %s", a.status, a.body)
	}
}

func TestGeneratedPasswordIsToldToAdminsOnly(t *testing.T) {
	dir := t.TempDir()
	env := newEnv(t, func(c *backup.Config) {
		c.DataDir = dir
		c.Repositories = append(c.Repositories, backup.RepositoryConfig{Name: "own", Storage: located{"/srv/own", newMemory()}})
	})
	if _, err := env.InitRepository(t.Context(), "tester", "own"); err != nil {
		t.Fatal(err)
	}
	server := mustSite(t, env.Service, "")
	for user, told := range map[string]bool{"anna": true, "otto": false, "vera": false} {
		for _, path := range []string{"/api/repositories", "/"} {
			a := get(t, user, server.URL+path)
			if strings.Contains(a.body, dir) != told {
				t.Errorf("%s as %s: told is %v", path, user, !told)
			}
			if path == "/" && !strings.Contains(a.body, "Save the recovery kit somewhere else") {
				t.Errorf("%s is not told to keep the password", user)
			}
		}
	}
}

// With several jobs "latest" is the one of ?job= everywhere, and without one it means nothing.
func TestLatestIsOfAJob(t *testing.T) {
	env := newEnv(t, withEvilJob)
	first := env.Backed(t, "shop")
	env.Backed(t, evilJob)
	root := filepath.Join(t.TempDir(), "restores")
	server := mustSite(t, env.Service, fmt.Sprintf(`, "restore_root": %q`, root))
	for _, path := range []string{"/api/snapshots/latest", "/api/snapshots/latest/ls/shop", "/api/snapshots/latest/files/shop/db.sql",
		"/snapshots/latest", "/snapshots/latest/ls/shop", "/snapshots/latest/files/shop/db.sql"} {
		if a := get(t, "anna", server.URL+path+"?job=shop"); a.status != 200 {
			t.Errorf("%s of shop: %d %s", path, a.status, a.body)
		}
		if a := get(t, "anna", server.URL+path); a.status != 400 || !strings.Contains(a.body, "Add job=") {
			t.Errorf("%s of no job: %d %s", path, a.status, a.body)
		}
	}
	restore := server.URL + "/api/snapshots/latest/restore"
	if a := as(t, "anna", "POST", restore, `{"target": "x"}`); a.status != 400 || !strings.Contains(a.body, "Add job=") {
		t.Errorf("restore of no job: %d %s", a.status, a.body)
	}
	for i, c := range []struct{ query, body string }{
		{"?job=shop", `{"target": "a"}`},
		{"", `{"target": "b", "job": "shop"}`},
		{"?job=" + url.QueryEscape(evilJob), `{"target": "c", "job": "shop"}`},
	} {
		var run backup.Run
		a := as(t, "anna", "POST", restore+c.query, c.body)
		if err := json.Unmarshal([]byte(a.body), &run); err != nil || a.status != 202 {
			t.Fatalf("restore %d: %d %s", i, a.status, a.body)
		}
		if run = env.Wait(t, run.ID); run.State != backup.StateOK || run.Snapshot != first.ID {
			t.Errorf("restore %d: %s of snapshot %s: %s", i, run.State, run.Snapshot, run.Error)
		}
	}
}
