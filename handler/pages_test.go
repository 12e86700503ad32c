package handler

import (
	"errors"
	"html"
	"net/url"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddy-backup/caddy-backup/backup"
	"github.com/caddy-backup/caddy-backup/backup/backuptest"
	"github.com/caddy-backup/caddy-backup/storage"
)

// needs fails for each text that a page does not have, or, with a leading "!", has.
func needs(t *testing.T, name, body string, texts ...string) {
	t.Helper()
	for _, text := range texts {
		text, not := strings.CutPrefix(text, "!")
		if strings.Contains(body, text) == not {
			t.Errorf("%s: %q is there: %v", name, text, not)
		}
	}
}

func TestOverviewOfAFreshStart(t *testing.T) {
	env := newEnv(t, func(c *backup.Config) { c.Repositories[0].Storage = located{"/srv/backups", new(storage.Memory)} })
	server := mustSite(t, env.Service, "")
	a := get(t, "otto", server.URL+"/")
	needs(t, "operator", a.body, "No backup yet", "no backup yet", "<b>db</b> fake", "<b>media</b> files", `action="./jobs/shop/run"`,
		"/srv/backups", "protects against nothing", "not opened yet", "!role=\"alert\"", "!All is well", "<strong>otto</strong>")
	a = get(t, "vera", server.URL+"/")
	needs(t, "viewer", a.body, "No backup yet", "!Back up now", "!<form")
	a = get(t, "anna", mustSite(t, env.Service, `, "read_only": true`).URL+"/")
	needs(t, "read-only", a.body, "!Back up now", "!<form", "admin, read-only")
}

func TestOverviewWithBackups(t *testing.T) {
	env := newEnv(t, withEvilJob)
	server := mustSite(t, env.Service, "")
	several(t, env, "shop", newest+2)
	a := get(t, "otto", server.URL+"/")
	needs(t, "operator", a.body, "1 of 2 jobs has no backup yet", "!All is well", "!proven", "All 7 snapshots of shop", "unchanged",
		`/files/shop/db.sql"`, `/ls/shop/media"`, "!manifest.json", "Recent runs")
	if n := strings.Count(a.body, "data-snapshot="); n != newest {
		t.Errorf("%d snapshots, want %d", n, newest)
	}
	several(t, env, evilJob, 1)
	needs(t, "all of them", get(t, "otto", server.URL+"/").body, "All is well", "2 jobs backed up and proven")
	a = get(t, "vera", server.URL+"/")
	needs(t, "viewer", a.body, "db.sql", "!/files/", `/ls/shop/media"`)

	env.DB.Fail(errors.New("disk <script>on fire</script>"))
	env.RunBackup(t, "shop")
	a = get(t, "vera", server.URL+"/")
	needs(t, "after a failure", a.body, "Something needs attention", "The last backup failed", "disk &lt;script&gt;on fire",
		"!<script>on", `role="alert"`, "All 7 snapshots of shop")
}

// The heading never says more than Health, and a job whose runs all failed is not one that waits for its first.
func TestOverviewTellsFailuresFromMissingBackups(t *testing.T) {
	env := newEnv(t)
	server := mustSite(t, env.Service, "")
	env.DB.Fail(errors.New("the disk is on fire"))
	env.RunBackup(t, "shop")
	for _, page := range []string{"/", "/jobs/shop"} {
		needs(t, page, get(t, "otto", server.URL+page).body, "The last backup failed", "No good backup so far", "!makes the first one", "!All is well")
	}
	a := get(t, "otto", server.URL+"/")
	needs(t, "summary", a.body, "Something needs attention", "<li>job shop: the last backup failed")
	if summary, _, _ := strings.Cut(a.body, "</section>"); strings.Contains(summary, "on fire") {
		t.Error("the summary repeats the job's error")
	}
}

func TestStanding(t *testing.T) {
	job := func(stands backup.Standing, off bool) *jobView {
		return newJobView(backup.JobStatus{Name: "x", Enabled: !off, Standing: stands}, time.Now())
	}
	well, ill := backup.Health{OK: true}, func(n int) backup.Health { return backup.Health{Reasons: make([]string, n)} }
	good, never := job(backup.StandingOK, false), job(backup.StandingNever, false)
	for name, c := range map[string]struct {
		health backup.Health
		jobs   []*jobView
		want   string
	}{
		"good":                     {well, []*jobView{good, good}, "well"},
		"one never":                {ill(1), []*jobView{good, never}, "some"},
		"none":                     {ill(2), []*jobView{never, never}, "none"},
		"one failed":               {ill(1), []*jobView{good, job(backup.StandingFailed, false)}, "ill"},
		"one failed, one never":    {ill(2), []*jobView{never, job(backup.StandingFailed, false)}, "ill"},
		"suspect":                  {ill(1), []*jobView{job(backup.StandingSuspect, false)}, "ill"},
		"a check failed":           {ill(1), []*jobView{good}, "ill"},
		"a check, and one never":   {ill(2), []*jobView{good, never}, "ill"},
		"cancelled after a good":   {well, []*jobView{good, job(backup.StandingCancelled, false)}, "open"},
		"cancelled, the first":     {ill(1), []*jobView{never}, "none"},
		"off and never":            {well, []*jobView{good, job(backup.StandingNever, true)}, "well"},
		"all off":                  {well, []*jobView{job(backup.StandingNever, true)}, "open"},
		"health that knows more":   {backup.Health{}, []*jobView{good}, "open"},
		"no Service to be healthy": {ill(1), nil, "ill"},
	} {
		v := overview{Health: c.health}
		for _, j := range c.jobs {
			v.add(j)
		}
		if got := v.Standing(); got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
}

func TestChecksTellWhetherDataWereRead(t *testing.T) {
	env := newEnv(t)
	env.Backed(t, "shop")
	server := mustSite(t, env.Service, "")
	for _, c := range []struct {
		readData bool
		want     []string
	}{
		{false, []string{"structure only", "check --read-data", "!every byte read"}},
		{true, []string{"every byte read", "!structure only", "!check --read-data"}},
	} {
		run, err := env.Check(t.Context(), "tester", backup.CheckRequest{ReadData: c.readData})
		if err != nil {
			t.Fatal(err)
		}
		env.Wait(t, run.ID)
		needs(t, "overview", get(t, "vera", server.URL+"/").body, c.want...)
		needs(t, "run", get(t, "vera", server.URL+"/runs/"+run.ID).body, c.want[0])
	}
}

func TestJobPagesLeadThroughSnapshots(t *testing.T) {
	env := newEnv(t)
	server := mustSite(t, env.Service, "")
	several(t, env, "shop", perPage+1)
	first := get(t, "vera", server.URL+"/jobs/shop")
	needs(t, "first page", first.body, "1 of 2", `href="?page=2"`, `>Previous</span>`)
	second := get(t, "vera", server.URL+"/jobs/shop?page=2")
	needs(t, "second page", second.body, "2 of 2", `href="?page=1"`, `>Next</span>`)
	if a, b := strings.Count(first.body, "data-snapshot="), strings.Count(second.body, "data-snapshot="); a != perPage || b != 1 {
		t.Errorf("%d and %d snapshots", a, b)
	}
	needs(t, "far off", get(t, "vera", server.URL+"/jobs/shop?page=9").body, "No snapshots on this page", `href="?page=2"`)
	if a := get(t, "vera", server.URL+"/jobs/shop?page=x"); a.status != 400 {
		t.Errorf("page x: %d", a.status)
	}
	if a := get(t, "vera", server.URL+"/jobs/nosuch"); a.status != 404 || !strings.Contains(a.body, "no job is named") {
		t.Errorf("no such job: %d %s", a.status, a.body)
	}
}

// Without scripts a button is a form, its answer a redirect, and the run's page loads itself again.
func TestButtonsWithoutScripts(t *testing.T) {
	env := newEnv(t)
	server := mustSite(t, env.Service, "")
	entered, release := env.DB.Hold("data")
	defer release()
	a := as(t, "otto", "POST", server.URL+"/jobs/shop/run", "")
	where := a.header.Get("Location")
	if a.status != 303 || !strings.HasPrefix(where, "../../runs/") {
		t.Fatalf("%d %q", a.status, where)
	}
	<-entered
	page := resolve(t, server.URL+"/jobs/shop/run", where)
	a = get(t, "otto", page)
	needs(t, "run", a.body, "Backup of shop", `http-equiv="refresh"`, "running", "Cancel", "otto", "<progress")
	needs(t, "run for a viewer", get(t, "vera", page).body, "running", "!Cancel", "!<form")
	needs(t, "overview", get(t, "otto", server.URL+"/").body, "data-live=", `http-equiv="refresh"`, "!Back up now")
	again := as(t, "otto", "POST", server.URL+"/jobs/shop/run", "")
	if again.status != 303 || again.header.Get("Location") != where {
		t.Errorf("started twice: %d %q", again.status, again.header.Get("Location"))
	}
	for range 2 { // the second time it has ended, maybe
		a = as(t, "otto", "POST", page+"/cancel", "")
		if a.status != 303 || resolve(t, page+"/cancel", a.header.Get("Location")) != page {
			t.Errorf("cancel: %d %q", a.status, a.header.Get("Location"))
		}
	}
	env.Wait(t, page[strings.LastIndex(page, "/")+1:])
	needs(t, "cancelled run", get(t, "vera", page).body, "This run was cancelled", "!http-equiv", "Log")
}

func resolve(t *testing.T, base, ref string) string {
	t.Helper()
	b, err := url.Parse(base)
	if err != nil {
		t.Fatal(err)
	}
	u, err := b.Parse(ref)
	if err != nil {
		t.Fatal(err)
	}
	return u.String()
}

var links = regexp.MustCompile(`(?:href|action)="([^"#?][^"]*)"`)

// Every link of every page leads somewhere, starting from the overview, for somebody who may do everything.
func TestEveryLinkLeadsSomewhere(t *testing.T) {
	env := newEnv(t, withEvilJob)
	env.Backed(t, "shop")
	env.Backed(t, evilJob)
	run, err := env.Check(t.Context(), "tester", backup.CheckRequest{})
	if err != nil {
		t.Fatal(err)
	}
	env.Wait(t, run.ID)
	server := mustSite(t, env.Service, "")
	seen := map[string]bool{}
	for todo := []string{server.URL + "/"}; len(todo) > 0; todo = todo[1:] {
		page := todo[0]
		if seen[page] || slices.Contains([]string{"run", "keep", "drill", "link"}, path.Base(page)) { // of forms
			continue
		}
		seen[page] = true
		a := get(t, "anna", page)
		if a.status != 200 {
			t.Errorf("%s: status %d", page, a.status)
		}
		if !strings.HasPrefix(a.header.Get("Content-Type"), "text/html") {
			continue
		}
		unescaped(t, page, a.body)
		for _, m := range links.FindAllStringSubmatch(a.body, -1) {
			if ref := html.UnescapeString(m[1]); !strings.HasPrefix(ref, "data:") {
				todo = append(todo, resolve(t, page, ref))
			}
		}
	}
	for _, part := range []string{"/jobs/shop", "/jobs/%3Cb%3E", "/ls/shop/media/a", "/files/shop/media/a/%3Cimg", "/files/shop/db.sql", "/runs/", "/static/app.css"} {
		found := false
		for page := range seen {
			found = found || strings.Contains(page, part)
		}
		if !found {
			t.Errorf("no link leads to %s", part)
		}
	}
}

// unescaped fails when a name that is markup stands in a page as markup.
func unescaped(t *testing.T, page, body string) {
	t.Helper()
	for _, markup := range []string{"<img src=x", "<b>evil", "<svg onload", `onerror="alert`} {
		if strings.Contains(body, markup) {
			t.Errorf("%s: %s stands there as markup", page, markup)
		}
	}
}

func TestDamagedAndMissingRepositories(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*backup.Config)
		want   string
	}{
		"wrong password": {func(c *backup.Config) { c.Repositories[0].Password = []byte("other") }, "wrong password"},
	} {
		env := newEnv(t, c.change)
		server := mustSite(t, env.Service, "")
		for _, page := range []string{"/", "/jobs/shop"} {
			a := get(t, "vera", server.URL+page)
			if a.status != 200 {
				t.Errorf("%s, %s: %d", name, page, a.status)
			}
			needs(t, name+" on "+page, a.body, "The snapshots cannot be listed", c.want)
		}
		if a := get(t, "vera", server.URL+"/snapshots/latest"); a.status != 503 || !strings.Contains(a.body, c.want) {
			t.Errorf("%s: %d", name, a.status)
		}
	}
}

func TestWords(t *testing.T) {
	now := time.Now()
	for want, r := range map[string]backup.Run{
		"–":         {},
		"under 1 s": {Started: now.Add(-time.Second / 2)},
		"1.5s":      {Started: now.Add(-time.Minute), Ended: now.Add(-time.Minute + 1500*time.Millisecond)},
		"2m":        {Started: now.Add(-2 * time.Minute)},
		"1h0m5s":    {Started: now.Add(-time.Hour - 5*time.Second)},
	} {
		if got := took(r, now); got != want {
			t.Errorf("took %q, want %q", got, want)
		}
	}
	if p := newPager(99, 20, 41, url.Values{"repository": {"x"}}); p.Pages != 3 || p.Prev != "?page=3&repository=x" || p.Next != "" {
		t.Errorf("beyond the last page: %+v", p)
	}
	if p := newPager(1, 20, 0, url.Values{}); p.Pages != 1 || p.Prev != "" || p.Next != "" {
		t.Errorf("nothing: %+v", p)
	}
}

// TestFoundPage tells of a snapshot whose run is not known here, and is not green.
func TestFoundPage(t *testing.T) {
	env := newEnv(t)
	env.Backed(t, "shop")
	config := env.Config
	config.Store, config.Automatic, config.DataDir = &backuptest.Store{}, true, t.TempDir()
	s := backup.New()
	if _, err := s.Attach(config); err != nil {
		t.Fatal(err)
	}
	defer backuptest.Close(t, s)
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(5 * time.Millisecond) {
		if job, err := s.Job(t.Context(), "shop"); err != nil || time.Now().After(deadline) {
			t.Fatalf("%+v, %v", job, err)
		} else if job.Found != nil {
			break
		}
	}
	server := mustSite(t, s, "")
	for _, page := range []string{"/", "/jobs/shop"} {
		needs(t, page, get(t, "vera", server.URL+page).body, "Not seen made here", `class="state found">no backup here yet<`, "!All is well", "data-snapshot=")
	}
	needs(t, "API", get(t, "vera", server.URL+"/api/jobs/shop").body, `"standing":"found"`, `"found":{"snapshot":`)
}
