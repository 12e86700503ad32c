package caddybackup

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-backup/caddy-backup/backup"
)

// TestRefresh: what another process adds, changes and removes is in force after the next look, and what did not change is not
// touched by it.
func TestRefresh(t *testing.T) {
	app, ctx := runApp(t, `{"by_hand":true,"jobs":[{"name":"fixed","sources":[{"name":"out","source":{"engine":"command","command":["echo"]}}]}]}`), t.Context()
	other := app.config.JobSettings()
	put := func(name, arg string) {
		t.Helper()
		s := backup.JobSetting{Name: name, Job: fmt.Appendf(nil, `{"name":%q,"sources":[{"name":"out","source":{"engine":"command","command":["echo",%q]}}]}`, name, arg)}
		s.Created = time.Now()
		s.Modified = s.Created
		if err := other.Put(ctx, s); err != nil {
			t.Fatal(err)
		}
	}
	look := func(want ...string) {
		t.Helper()
		if err := app.refresh(ctx); err != nil {
			t.Fatal(err)
		}
		jobs, err := app.Service().Jobs(ctx)
		var names []string
		for _, j := range jobs {
			names = append(names, j.Name)
		}
		if err != nil || !slices.Equal(names, want) || !app.hasJob(want[len(want)-1]) {
			t.Fatalf("jobs %v, %v; want %v", names, err, want)
		}
	}
	look("fixed")
	put("a", "1")
	put("b", "1")
	look("fixed", "a", "b")
	before := slices.Clone(app.now.added)
	look("fixed", "a", "b")
	put("b", "2")
	look("fixed", "a", "b")
	if after := app.now.added; after[0] != before[0] || after[1] == before[1] {
		t.Error("the one that did not change was loaded again, or the one that did was not")
	}
	if err := other.Delete(ctx, "a"); err != nil {
		t.Fatal(err)
	}
	look("fixed", "b")
	if x, err := app.RemoveJob(ctx, "anna", "b"); err != nil || x.Job.Name != "b" {
		t.Errorf("%+v, %v", x, err)
	}
	look("fixed")
	put("c", "1")
	if x, err := app.RemoveJob(ctx, "anna", "c"); err != nil || x.Job.Name != "c" { // before any look
		t.Errorf("%+v, %v", x, err)
	}
}

func TestHideSecrets(t *testing.T) {
	j, err := decodeJob([]byte(`{"name":"shop","sources":[
		{"name":"a","source":{"engine":"postgres","dsn":"postgres://u:pw@h/d","tables":["t"]}},
		{"name":"b","source":{"engine":"postgres","dsn":"{env.DSN}"}},
		{"name":"c","source":{"engine":"command","command":["x","--password=pw"],"env":{"A":"pw","B":"{env.B}","C":"pw{env.C}"}}},
		{"name":"d","source":{"engine":"unknown","token":"pw"}},
		{"name":"e","source":{"engine":"sqlite","path":"/db"}}],
		"before":[{"command":["x","--token=pw"],"env":{"A":"pw"}}]}`))
	if err != nil {
		t.Fatal(err)
	}
	hideSecrets(j)
	got, _ := json.Marshal(j)
	const want = `{"name":"shop","sources":[` +
		`{"name":"a","source":{"dsn":"(withheld)","engine":"postgres","tables":["t"]}},` +
		`{"name":"b","source":{"dsn":"{env.DSN}","engine":"postgres"}},` +
		`{"name":"c","source":{"command":"(withheld)","engine":"command","env":{"A":"(withheld)","B":"{env.B}","C":"(withheld)"}}},` +
		`{"name":"d","source":{"engine":"unknown"}},` +
		`{"name":"e","source":{"engine":"sqlite","path":"/db"}}],` +
		`"before":[{"command":["x","(withheld)"],"env":{"A":"(withheld)"}}]}`
	if string(got) != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

// TestOddSettings: whatever lies in the storage, Caddy starts, with the jobs of the configuration; what is no job is none, and
// what is damaged can be seen and removed.
func TestOddSettings(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("XDG_DATA_HOME", dir)
	jobs := filepath.Join(dir, "store", "backup", "settings", "shop-server", "jobs")
	if err := os.MkdirAll(jobs, 0o700); err != nil {
		t.Fatal(err)
	}
	const source = `"sources":[{"name":"out","source":{"engine":"command","command":["echo"]}}]`
	for name, text := range map[string]string{
		".json": "{}", "..json": "{}", "a,b.json": "{}", "other.txt": "{}", // no names of jobs
		"torn.json": `{"name":"torn","job":{"na`, "null.json": "null",
		"two.json":    `{"name":"two","job":{"name":"fixed",` + source + `}}`,
		"three.json":  `{"name":"three","job":{"name":"two",` + source + `}}`,
		"sched.json":  `{"name":"sched","job":{"name":"sched","schedule":"hourly hourly","jitter":-1,"notify":[{"notifiers":["x"]}],` + source + `}}`,
		"source.json": `{"name":"source","job":{"name":"source","sources":[null,{"name":"../a"},{"name":"a"},{"name":"a"}]}}`,
		"to.json":     `{"name":"to","job":{"name":"to","to":"nowhere",` + source + `}}`,
		"right.json":  `{"name":"right","job":{"name":"right",` + source + `}}`,
	} {
		if err := os.WriteFile(filepath.Join(jobs, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	persist := false
	err := caddy.Run(&caddy.Config{
		Admin:      &caddy.AdminConfig{Disabled: true, Config: &caddy.ConfigSettings{Persist: &persist}},
		StorageRaw: json.RawMessage(fmt.Sprintf(`{"module":"file_system","root":%q}`, filepath.Join(dir, "store"))),
		AppsRaw:    caddy.ModuleMap{"backup": json.RawMessage(`{"by_hand":true,"host":"shop-server","jobs":[{"name":"fixed",` + source + `}]}`)},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := caddy.Stop(); err != nil {
			t.Error(err)
		}
	})
	app, ctx := activeApp(), t.Context()
	want := map[string]bool{"fixed": false, "null": true, "right": false, "sched": true, "source": true, "three": true, "to": true, "torn": true, "two": true}
	got := map[string]bool{}
	for _, j := range app.jobsNow() {
		got[j.Name] = j.Broken != ""
	}
	if !maps.Equal(got, want) {
		t.Errorf("%v; want %v", got, want)
	}
	for name := range want {
		if _, err := app.RemoveJob(ctx, "anna", name); (err == nil) != (name != "fixed") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if got := app.jobsNow(); len(got) != 1 {
		t.Errorf("%d jobs are left", len(got))
	}
}

// TestNews: what another app of the process adds, while configurations change, is in force at once and not after a minute.
func TestNews(t *testing.T) {
	app, ctx := runApp(t, `{"jobs":[{"name":"fixed","sources":[{"name":"out","source":{"engine":"command","command":["echo"]}}]}]}`), t.Context()
	for _, name := range []string{"a", "b"} {
		s := backup.JobSetting{Name: name, Job: fmt.Appendf(nil, `{"name":%q,"sources":[{"name":"out","source":{"engine":"command","command":["echo"]}}]}`, name)}
		s.Created = time.Now()
		s.Modified = s.Created
		if err := app.config.JobSettings().Put(ctx, s); err != nil {
			t.Fatal(err)
		}
		app.service.news.tell()
		for deadline := time.Now().Add(lookEvery / 2); !app.hasJob(name); time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("job %s is not in force", name)
			}
		}
	}
}

// runApp has Caddy run with this app, and a storage of its own, until the test ends.
func runApp(t *testing.T, app string) *App {
	t.Helper()
	dir := t.TempDir()
	t.Setenv("XDG_DATA_HOME", dir)
	persist := false
	err := caddy.Run(&caddy.Config{
		Admin:      &caddy.AdminConfig{Disabled: true, Config: &caddy.ConfigSettings{Persist: &persist}},
		StorageRaw: json.RawMessage(fmt.Sprintf(`{"module":"file_system","root":%q}`, filepath.Join(dir, "store"))),
		AppsRaw:    caddy.ModuleMap{"backup": json.RawMessage(app)},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := caddy.Stop(); err != nil {
			t.Error(err)
		}
	})
	return activeApp()
}
