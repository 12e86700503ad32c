package integration

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddy-backup/caddy-backup/backup"
	"github.com/caddy-backup/caddy-backup/handler"
	"github.com/caddy-backup/caddy-backup/internal/realtest"
)

// commandJob is the JSON of a job with one command.
func commandJob(name string, command ...string) handler.JobAddition {
	words, _ := json.Marshal(command)
	return handler.JobAddition{Job: fmt.Appendf(nil, `{"name":%q,"sources":[{"name":"out","source":{"engine":"command","command":%s}}]}`, name, words)}
}

func (w *world) add(q handler.JobAddition) {
	w.Helper()
	if _, err := admin.AddJob(w.Context(), q); err != nil {
		w.Fatal(err)
	}
}

// wantJobs wants exactly these jobs, in this order.
func (w *world) wantJobs(want ...string) []backup.JobStatus {
	w.Helper()
	jobs, err := admin.Jobs(w.Context())
	var names []string
	for _, j := range jobs {
		names = append(names, j.Name)
	}
	if err != nil || fmt.Sprint(names) != fmt.Sprint(want) {
		w.Fatalf("jobs %v, %v; want %v", names, err, want)
	}
	return jobs
}

// TestAddDuringARun: a job is in force at once, and nothing of what goes on is disturbed; one that is refused changes nothing.
func TestAddDuringARun(t *testing.T) {
	w := newWorld(t)
	w.begin(w.config("", ""))
	run := w.startSlow()
	w.add(commandJob("new", "echo", "new"))
	jobs := w.wantJobs("slow", "quick", "new")
	if jobs[0].Running == nil || jobs[0].Running.ID != run.ID || jobs[2].Added == nil || jobs[2].Added.By != "admin" {
		t.Errorf("%+v", jobs)
	}
	for _, c := range []struct {
		q    handler.JobAddition
		is   error
		want string
	}{
		{commandJob("new", "echo", "other"), backup.ErrConflict, "there is a job new already"},
		{commandJob("slow", "echo", "other"), backup.ErrConflict, "there is a job slow in the configuration"},
		{commandJob("again", "echo", "new"), backup.ErrConflict, "is backed up already, by source out of job new"},
		{commandJob("a/b", "echo"), backup.ErrInvalid, "bad job name"},
		{handler.JobAddition{Job: []byte(`{"name":"odd","sources":[],"frequency":"daily"}`)}, backup.ErrInvalid, "frequency"},
		{handler.JobAddition{Job: []byte(`{"name":"odd","sources":[]}`)}, backup.ErrInvalid, "has no source"},
		{handler.JobAddition{Job: []byte(`{"name":"odd","sources":[{"name":"db","source":{"engine":"sqlit"}}]}`)}, backup.ErrInvalid, "unknown source"},
		{handler.JobAddition{Job: []byte(`[]`)}, backup.ErrInvalid, "job"},
		{handler.JobAddition{}, backup.ErrInvalid, "job"},
	} {
		if _, err := admin.AddJob(t.Context(), c.q); !errors.Is(err, c.is) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %s", c.q.Job, err, c.want)
		}
	}
	w.wantJobs("slow", "quick", "new")
	fresh, err := admin.Backup(t.Context(), "new")
	if err != nil {
		t.Fatal(err)
	}
	removed := commandJob("gone", "echo", "gone")
	w.add(removed)
	if x, err := admin.RemoveJob(t.Context(), "gone"); err != nil || x.Job.Name != "gone" {
		t.Errorf("%+v, %v", x, err)
	}
	w.mustLoad(w.config("timezone Europe/Paris", "")) // a reload
	w.wantJobs("slow", "quick", "new")
	if _, err := admin.Backup(t.Context(), "slow"); !errors.Is(err, backup.ErrConflict) {
		t.Errorf("a second run of the job was not refused: %v", err)
	}
	w.release()
	w.wantOneGreen(run)
	if fresh = finish(t, admin, fresh.ID); fresh.State != backup.StateOK {
		t.Errorf("the new job's run is %s: %s", fresh.State, fresh.Error)
	}
	w.mustLoad(w.config("job new {\nsource out command echo mine\n}", "")) // the Caddyfile rules
	if jobs = w.wantJobs("slow", "quick", "new"); jobs[2].Added != nil {
		t.Errorf("%+v", jobs[2])
	}
	w.mustLoad(w.config("", ""))
	if jobs = w.wantJobs("slow", "quick", "new"); jobs[2].Added == nil {
		t.Errorf("%+v", jobs[2])
	}
}

// TestAddDuringReloads: whatever configuration comes and goes meanwhile, and fails to, no job is lost that was added.
func TestAddDuringReloads(t *testing.T) {
	w := newWorld(t)
	w.begin(w.config("", ""))
	want := []string{"slow", "quick"}
	var adding sync.WaitGroup
	adding.Go(func() {
		for i := range 20 {
			name := fmt.Sprint("job", i)
			for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
				_, err := admin.AddJob(t.Context(), commandJob(name, "echo", name))
				if err == nil || strings.Contains(err.Error(), "there is a job") {
					break
				}
				if !errors.Is(err, backup.ErrClosed) { // one that is asked of a configuration that goes is refused, and asked again
					t.Errorf("%s: %v", name, err)
				}
			}
			want = append(want, name)
		}
	})
	for i := range 30 {
		if i%3 == 2 {
			_ = w.loadJSON(w.config("host other", ""), `"test_unready": {}, `)
			continue
		}
		w.mustLoad(w.config([]string{"", "timezone Europe/Paris"}[i%2], ""))
	}
	adding.Wait()
	w.mustLoad(w.config("", ""))
	w.wantJobs(want...)
}

// TestAddedJobIsBroken: what cannot be loaded any more keeps nothing from starting. It fails aloud until it can be.
func TestAddedJobIsBroken(t *testing.T) {
	w := newWorld(t)
	with := "repository other {\nstorage " + w.dir + "/other\npassword x\n}\nnotifier ops webhook http://127.0.0.1:1/\n"
	w.begin(w.config(with, ""))
	q := commandJob("told", "echo", "told")
	q.Job = []byte(strings.TrimSuffix(string(q.Job), "}") + `,"to":"other","notify":[{"notifiers":["ops"],"on":["failure"]}],"schedule":"daily 03:00"}`)
	w.add(q)
	store := filepath.Join(w.dir, "store/backup/settings")
	places, err := filepath.Glob(filepath.Join(store, "*/jobs/told.json"))
	if err != nil || len(places) != 1 {
		t.Fatal(places, err)
	}
	w.write("cut", `{"name":"cu`)
	if err := os.Rename(filepath.Join(w.dir, "cut"), filepath.Join(filepath.Dir(places[0]), "cut.json")); err != nil {
		t.Fatal(err)
	}
	w.mustLoad(w.config("", "")) // without the repository and the notifier
	jobs := w.wantJobs("slow", "quick", "cut", "told")
	if j := jobs[2]; !strings.Contains(j.Broken, "cut.json in Caddy's storage is damaged") {
		t.Errorf("%+v", j)
	}
	if j := jobs[3]; !strings.Contains(j.Broken, "there is no notifier ops") || j.Schedule.String() != "daily 03:00" || j.Sources[0].Kind != "command" {
		t.Errorf("%+v", j)
	}
	health, err := admin.Health(t.Context())
	if text := fmt.Sprint(health.Reasons); err != nil || !strings.Contains(text, "job told: cannot be loaded: there is no notifier ops") || !strings.Contains(text, "job cut: cannot be loaded") {
		t.Errorf("%+v, %v", health, err)
	}
	run, err := admin.Backup(t.Context(), "told")
	if err != nil {
		t.Fatal(err)
	}
	if run = finish(t, admin, run.ID); run.State != backup.StateFailed || !strings.Contains(run.Error, "there is no notifier ops") {
		t.Errorf("the run is %s: %s", run.State, run.Error)
	}
	if _, err := admin.RemoveJob(t.Context(), "cut"); err != nil {
		t.Error(err)
	}
	w.mustLoad(w.config(with, ""))
	if j := w.wantJobs("slow", "quick", "told")[2]; j.Broken != "" || j.Repository != "other" {
		t.Errorf("%+v", j)
	}
	if run, err = admin.Backup(t.Context(), "told"); err != nil {
		t.Fatal(err)
	}
	if run = finish(t, admin, run.ID); run.State != backup.StateOK {
		t.Errorf("the run is %s: %s", run.State, run.Error)
	}
}

// TestAddedJobsUnknown: a storage that cannot be read keeps nothing from starting, and is no storage without jobs.
func TestAddedJobsUnknown(t *testing.T) {
	w := newWorld(t)
	w.write("store", "not a folder")
	w.begin(w.config("", ""))
	w.wantJobs("slow", "quick")
	health, err := admin.Health(t.Context())
	if text := fmt.Sprint(health.Reasons); err != nil || !strings.Contains(text, "jobs that were added at run time are not known") {
		t.Errorf("%+v, %v", health, err)
	}
	if _, err := admin.AddJob(t.Context(), commandJob("new", "echo")); err == nil {
		t.Error("a job was added that cannot be kept")
	}
	if err := os.Remove(filepath.Join(w.dir, "store")); err != nil {
		t.Fatal(err)
	}
	w.add(commandJob("new", "echo", "new"))
	w.wantJobs("slow", "quick", "new")
	if health, err = admin.Health(t.Context()); err != nil || strings.Contains(fmt.Sprint(health.Reasons), "added at run time") {
		t.Errorf("%+v, %v", health, err)
	}
	// What was known counts while the storage is away.
	if err := os.Rename(filepath.Join(w.dir, "store"), filepath.Join(w.dir, "away")); err != nil {
		t.Fatal(err)
	}
	w.write("store", "not a folder")
	w.mustLoad(w.config("timezone Europe/Paris", ""))
	w.wantJobs("slow", "quick", "new")
}

// TestAddedSecret: one that came in the body of a request is in no answer and no log, not even of its refusal.
func TestAddedSecret(t *testing.T) {
	c := newChild(t, "127.0.0.1:1") // looks for the canary in the server's log
	c.start()
	for _, dsn := range []string{"postgres://shop:" + canary + "@127.0.0.1:1/shop", "postgres://shop:" + canary + "@@/%zz", "host=127.0.0.1 port=1 password=" + canary, "password='" + canary} {
		q := handler.JobAddition{Replace: true, Job: fmt.Appendf(nil, `{"name":"pg","sources":[{"name":"db","source":{"engine":"postgres","dsn":%q}}]}`, dsn)}
		x, err := c.admin.AddJob(t.Context(), q)
		shown, err2 := c.admin.AddedJob(t.Context(), "pg")
		if text := fmt.Sprintf("%+v %v %s %v", x, err, shown.Job, err2); strings.Contains(text, canary) || !strings.Contains(text, "(withheld)") {
			t.Error(text)
		}
	}
	for _, path := range []string{"jobs", "jobs/pg", "doctor", "health", "../config/", "kit"} {
		method := http.MethodGet
		if path == "doctor" {
			method = http.MethodPost
		}
		req, _ := http.NewRequestWithContext(t.Context(), method, c.admin.Base+path, nil)
		resp, err := c.admin.HTTP.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil || strings.Contains(string(body), canary) {
			t.Errorf("%s: %s, %v", path, body, err)
		}
	}
	// The page's API adds nothing.
	resp, err := once.Post("http://"+c.site+"/api/jobs", "application/json", strings.NewReader(`{"job":{}}`))
	if err != nil {
		t.Fatal(err)
	}
	if body := read(t, resp); resp.StatusCode != http.StatusForbidden {
		t.Errorf("%s: %s", resp.Status, body)
	}
}

// TestAddDjango says what the old command add_to_backups says: of no app, of none that there is, of one without models, and of one
// that is backed up already.
func TestAddDjango(t *testing.T) {
	python := realtest.Django(t)
	w := newWorld(t)
	project := filepath.Join(w.dir, "project")
	for name, text := range map[string]string{
		"manage.py": "import os, sys\nfrom django.core.management import execute_from_command_line\n" +
			"os.environ.setdefault('DJANGO_SETTINGS_MODULE', 'settings')\nexecute_from_command_line(sys.argv)\n",
		"settings.py": "SECRET_KEY = 'x'\nINSTALLED_APPS = ['django.contrib.contenttypes', 'django.contrib.auth', 'widget', 'bare']\n" +
			"DATABASES = {'default': {'ENGINE': 'django.db.backends.sqlite3', 'NAME': '" + project + "/db.sqlite3'}}\n",
		"widget/__init__.py": "", "bare/__init__.py": "",
		"widget/models.py": "from django.db import models\nclass Widget(models.Model):\n    name = models.TextField()\n    class Meta:\n        app_label = 'widget'\n",
	} {
		path := filepath.Join(project, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	manage := exec.Command(python, "manage.py", "migrate", "--run-syncdb", "-v0")
	manage.Dir = project
	if out, err := manage.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	w.begin(w.config("", ""))
	add := func(ok bool, want string, args ...string) {
		t.Helper()
		args = append([]string{"backup", "add", "--address", "localhost:2999", "--with", "python " + python}, args...)
		out, err := exec.Command("caddy", args...).CombinedOutput()
		if (err == nil) != ok || !strings.Contains(string(out), want) {
			t.Errorf("%q: %v: %s, want %q", args, err, out, want)
		}
	}
	path := project + "/manage.py"
	add(false, "no app is named: name each (--app), or say that all are meant (--all-apps); apps with models are: auth, contenttypes, widget", "shop", "django", path)
	add(false, "No installed app with label 'wigdet'; apps with models are: auth, contenttypes, widget", "shop", "django", path, "--app", "wigdet")
	add(false, "app 'bare' has no models", "shop", "django", path, "--app", "bare")
	add(false, "cannot find manage.py", "shop", "django", project+"/../manage.py", "--app", "widget")
	add(true, "Added job shop: db (django), to repository default, daily", "shop", "django", path, "--app", "widget", "--app", "auth", "--schedule", "daily")
	add(false, "app widget of "+path+" is backed up already, by source db of job shop", "other", "django", path, "--app", "widget")
	add(false, "there is a job shop already, added at run time", "shop", "django", path, "--app", "contenttypes")
	run, err := admin.Backup(t.Context(), "shop")
	if err != nil {
		t.Fatal(err)
	}
	if run = finish(t, admin, run.ID); run.State != backup.StateOK {
		t.Errorf("the run is %s: %s", run.State, run.Error)
	}
}
