package handler

import (
	"database/sql"
	"errors"
	"html"
	"os"
	"path"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	_ "modernc.org/sqlite"

	"github.com/caddy-backup/caddy-backup/backup"
	"github.com/caddy-backup/caddy-backup/backup/backuptest"
	"github.com/caddy-backup/caddy-backup/dump"
	"github.com/caddy-backup/caddy-backup/storage/storagetest"
)

// sqliteJob is a Service whose job "shop" dumps a live SQLite database and a folder, and where they are.
func sqliteJob(t *testing.T, change ...func(*backup.Config)) (env *backuptest.Env, database, folder string) {
	t.Helper()
	dir := t.TempDir()
	database, folder = filepath.Join(dir, "shop.sqlite3"), filepath.Join(dir, "media")
	execute(t, database, "CREATE TABLE goods (name TEXT); INSERT INTO goods VALUES ('tea'), ('coffee')")
	err := errors.Join(os.MkdirAll(filepath.Join(folder, "2026"), 0o755),
		os.WriteFile(filepath.Join(folder, "2026", evil[:4]+"b.jpg"), []byte("a picture"), 0o644))
	if err != nil {
		t.Fatal(err)
	}
	db, media := &dump.SQLite{Path: database}, &dump.Files{Folder: folder}
	if err := errors.Join(db.Provision(caddy.Context{}), media.Provision(caddy.Context{})); err != nil {
		t.Fatal(err)
	}
	env = backuptest.New(t, append([]func(*backup.Config){func(c *backup.Config) {
		c.PublicURL = "https://backups.example.com"
		c.Jobs[0].Sources = []backup.NamedSource{{Name: "db", Kind: "sqlite", Source: db}, {Name: "media", Kind: "files", Source: media}}
	}}, change...)...)
	return env, database, folder
}

// execute runs statements on a database that nobody has open afterwards.
func execute(t *testing.T, database, statements string) {
	t.Helper()
	db, err := sql.Open("sqlite", database)
	if err == nil {
		_, err = db.Exec(statements)
		err = errors.Join(err, db.Close())
	}
	if err != nil {
		t.Fatal(err)
	}
}

// goods are what the database sells.
func goods(t *testing.T, database string) string {
	t.Helper()
	db, err := sql.Open("sqlite", database)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	var all sql.NullString
	if err := db.QueryRow("SELECT group_concat(name, ' ') FROM goods").Scan(&all); err != nil {
		return err.Error()
	}
	return all.String
}

// send sends a form as a browser does.
func send(t *testing.T, user, url string, pairs ...string) answer {
	t.Helper()
	return as(t, user, "POST", url, query(pairs...).Encode(), "Content-Type", "application/x-www-form-urlencoded")
}

// sent sends a form that leads to a run, waits for its end, and returns it.
func sent(t *testing.T, env *backuptest.Env, url string, pairs ...string) backup.Run {
	t.Helper()
	a := send(t, "anna", url, pairs...)
	if a.status != 303 || !strings.Contains(a.header.Get("Location"), "runs/") {
		t.Fatalf("%s: %d %q: %s", url, a.status, a.header.Get("Location"), a.body)
	}
	return ended(t, env, path.Base(a.header.Get("Location")))
}

// ended waits for the end of a run, looking closer than Watch does.
func ended(t *testing.T, env *backuptest.Env, id string) backup.Run {
	t.Helper()
	for {
		run, err := env.Run(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		if run.State.Done() {
			return run
		}
		time.Sleep(time.Millisecond)
	}
}

// TestRestoreForms goes the way of the forms without a browser: what is asked for in vain is told on the page that asked.
func TestRestoreForms(t *testing.T) {
	env, database, folder := sqliteJob(t)
	snap := env.Backed(t, "shop")
	execute(t, database, "DELETE FROM goods")
	root := t.TempDir()
	server := mustSite(t, env.Service, `, "restore_root": "`+root+`"`)
	at := server.URL + "/snapshots/" + snap.ID + "/restore"
	a := get(t, "anna", at+"?path=/shop/media/2026")
	needs(t, "the form", a.body, "Everything", "db.sqlite3", root, "Over the live one", `value="/shop/media/2026" required checked`, "!Into a new database")

	for name, pairs := range map[string][]string{
		"no way":            {"path", "/"},
		"outside":           {"path", "/", "way", "folder", "folder", "../x"},
		"deeper":            {"path", "/", "way", "folder", "folder", "a/b"},
		"markup":            {"path", "/", "way", "folder", "folder", "." + evil},
		"no database":       {"path", "/shop/db.sqlite3", "way", "beside"},
		"nothing there":     {"path", "/shop/nothing", "way", "over"},
		"markup as a path":  {"path", "/shop/" + evil, "way", "over"},
		"an unknown way":    {"path", "/", "way", "up"},
		"the manifest only": {"path", "/shop/manifest.json", "way", "over"},
	} {
		a := send(t, "anna", at, pairs...)
		if a.status < 400 || a.status >= 500 {
			t.Errorf("%s: %d", name, a.status)
		}
		needs(t, name, a.body, "Nothing was started", "Go on")
		unescaped(t, name, a.body)
	}

	run := sent(t, env, at, "path", "/shop/media/2026", "way", "folder", "folder", "new")
	if got, _ := os.ReadFile(filepath.Join(root, "new", "2026", evil[:4]+"b.jpg")); string(got) != "a picture" {
		t.Errorf("%+v: %q", run, got)
	}
	needs(t, "its run", get(t, "vera", server.URL+"/runs/"+run.ID).body, "Into <code>"+filepath.Join(root, "new"))

	picture := filepath.Join(folder, "2026", evil[:4]+"b.jpg")
	if err := os.WriteFile(picture, []byte("another"), 0o644); err != nil {
		t.Fatal(err)
	}
	look := sent(t, env, at, "path", "/shop/media/2026/"+evil[:4]+"b.jpg", "way", "over")
	one := sent(t, env, server.URL+"/runs/"+look.ID+"/restore", "confirm", look.Confirm)
	if got, _ := os.ReadFile(picture); string(got) != "a picture" || goods(t, database) != "" || look.Confirm != picture {
		t.Errorf("one file: %+v: %q", one, got)
	}
	look = sent(t, env, at, "path", "/", "way", "over")
	page := server.URL + "/runs/" + look.ID
	needs(t, "the look", get(t, "anna", page).body, "Before a restore of shop", database, folder, "type <code>shop</code>", "safety snapshot", "nothing changed",
		"By the snapshot of")
	needs(t, "the look of others", get(t, "otto", page).body, "!<form", database)
	for _, confirm := range []string{"", "blog", evil} {
		a := send(t, "anna", page+"/restore", "confirm", confirm)
		if a.status != 400 {
			t.Errorf("confirmed by %q: %d", confirm, a.status)
		}
		needs(t, "not confirmed", a.body, "Nothing was started", `aria-invalid="true"`)
		unescaped(t, "not confirmed", a.body)
	}
	if got := goods(t, database); got != "" {
		t.Fatalf("replaced without a word: %q", got)
	}
	over := sent(t, env, page+"/restore", "confirm", "shop")
	if got := goods(t, database); over.State != backup.StateOK || got != "tea coffee" {
		t.Errorf("%+v: %q", over, got)
	}
	safety, err := env.Snapshot(t.Context(), "", over.Safety, "")
	if err != nil {
		t.Fatal(err)
	}
	needs(t, "replaced", get(t, "anna", server.URL+"/runs/"+over.ID).body, html.EscapeString(over.Undo), "/undo", "What was replaced", short(safety.ID))
	needs(t, "replaced, for others", get(t, "otto", server.URL+"/runs/"+over.ID).body, "!/undo", short(safety.ID))
	needs(t, "the safety snapshot", get(t, "anna", server.URL+"/snapshots/"+safety.ID).body, "A safety snapshot")
	needs(t, "the job", get(t, "anna", server.URL+"/jobs/shop").body, `class="result safety"`)

	back := sent(t, env, server.URL+"/runs/"+over.ID+"/undo")
	if back.Snapshot != safety.ID || !back.DryRun || back.Confirm != "shop" {
		t.Errorf("%+v", back)
	}
	undone := sent(t, env, server.URL+"/runs/"+back.ID+"/restore", "confirm", "shop", "no_safety", "yes")
	if got := goods(t, database); undone.State != backup.StateOK || got != "" || undone.Safety != "" {
		t.Errorf("%+v: %q", undone, got)
	}
	for _, wrong := range []string{over.ID + "/restore", over.ID + "/look", look.ID + "/undo", undone.ID + "/undo", run.ID + "/undo", run.ID + "/restore"} {
		if a := send(t, "anna", server.URL+"/runs/"+wrong, "confirm", "shop"); a.status != 400 {
			t.Errorf("%s: %d %s", wrong, a.status, a.body)
		}
	}
}

// What is gone is made, and nobody is promised a safety snapshot of it.
func TestRestoreFormsAbsent(t *testing.T) {
	env, database, _ := sqliteJob(t)
	snap := env.Backed(t, "shop")
	server := mustSite(t, env.Service, "")
	if err := os.Remove(database); err != nil {
		t.Fatal(err)
	}
	look := sent(t, env, server.URL+"/snapshots/"+snap.ID+"/restore", "path", "/shop/db.sqlite3", "way", "over")
	page := server.URL + "/runs/" + look.ID
	needs(t, "the look", get(t, "anna", page).body, "What would be made", "is not there now: nothing of it is replaced", "Make it now",
		"!A safety snapshot is made", "!no_safety")
	made := sent(t, env, page+"/restore", "confirm", database)
	if made.State != backup.StateOK || goods(t, database) != "tea coffee" {
		t.Errorf("%+v: %q", made, goods(t, database))
	}
	needs(t, "made", get(t, "anna", server.URL+"/runs/"+made.ID).body, "What was made", "it was not there before", "!as it was asked for")
	look = sent(t, env, server.URL+"/snapshots/"+snap.ID+"/restore", "path", "/", "way", "over")
	if err := os.Remove(database); err != nil {
		t.Fatal(err)
	}
	look = sent(t, env, server.URL+"/runs/"+look.ID+"/look")
	needs(t, "one of two", get(t, "anna", server.URL+"/runs/"+look.ID).body, "is not there now", "A safety snapshot is made", "What would be replaced")
}

// A database that others have open is looked at once more, and replaced although they do.
func TestRestoreFormsForce(t *testing.T) {
	env, database, _ := sqliteJob(t)
	snap := env.Backed(t, "shop")
	server := mustSite(t, env.Service, "")
	user, err := sql.Open("sqlite", database)
	if err == nil {
		user.SetMaxOpenConns(1)
		_, err = user.Exec("DELETE FROM goods; BEGIN IMMEDIATE")
	}
	if err != nil {
		t.Fatal(err)
	}
	defer user.Close()
	look := sent(t, env, server.URL+"/snapshots/"+snap.ID+"/restore", "path", "/shop/db.sqlite3", "way", "over")
	page := server.URL + "/runs/" + look.ID
	needs(t, "the look", get(t, "anna", page).body, "is in use", "Look again", "!/restore")
	if a := send(t, "anna", page+"/restore", "confirm", database); a.status != 409 {
		t.Errorf("%d", a.status)
	}
	look = sent(t, env, page+"/look", "force", "yes")
	page = server.URL + "/runs/" + look.ID
	needs(t, "forced", get(t, "anna", page).body, "Although others use it", "type <code>"+database)
	over := sent(t, env, page+"/restore", "confirm", database)
	if user.Close(); over.State != backup.StateOK || goods(t, database) != "tea coffee" {
		t.Errorf("%+v: %q", over, goods(t, database))
	}
}

// How the live ones stand after a restore that did not end well is told plainly.
func TestRestoreAftermath(t *testing.T) {
	for name, c := range map[string]struct {
		run  backup.Run
		want string
	}{
		"not begun":   {backup.Run{State: backup.StateFailed}, "Nothing was touched: it is as it was."},
		"given up":    {backup.Run{State: backup.StateCancelled, Touched: true}, "It is as it was before."},
		"incomplete":  {backup.Run{State: backup.StateFailed, Touched: true, Code: backup.CodeIncomplete}, "INCOMPLETE."},
		"killed":      {backup.Run{State: backup.StateInterrupted, Touched: true}, "Nobody knows."},
		"second of 2": {backup.Run{State: backup.StateFailed, Touched: true, Over: []string{evil, "b"}}, "Some may be replaced"},
	} {
		run := c.run
		run.Kind, run.Job, run.Undo, run.Error, run.Safety = backup.KindRestore, "shop", "caddy backup restore 1 --confirm "+evil, evil, "12345678"
		run.Log = []backup.LogLine{{Level: "WARN", Text: evil}}
		if run.Over == nil {
			run.Over = []string{evil}
		}
		v := newOverView(run, evil)
		v.complete(backup.JobStatus{Repository: "default"}, nil)
		var out strings.Builder
		f := Frame{Root: "../", MayManage: true}
		if err := templates["run.html"].ExecuteTemplate(&out, "over", piece{f, v}); err != nil {
			t.Fatal(err)
		}
		needs(t, name, out.String(), c.want, "The way back", "/undo")
		unescaped(t, name, out.String())
	}
}

// TestLinkForm makes a link on a page, and downloads by it without signing in.
func TestLinkForm(t *testing.T) {
	env, _, _ := sqliteJob(t)
	snap := env.Backed(t, "shop")
	server := mustSite(t, env.Service, "")
	at := server.URL + "/snapshots/" + snap.ID
	needs(t, "the snapshot", get(t, "otto", at).body, "make a link")
	needs(t, "for viewers", get(t, "vera", at).body, "!make a link", "!Restore")
	for _, pairs := range [][]string{{"path", "/shop/db.sqlite3"}, {"path", "/shop/media", "folder", "yes"}} {
		a := send(t, "otto", at+"/link", pairs...)
		needs(t, "link", a.body, "https://backups.example.com/links/", "without signing in", "datetime=")
		_, address, _ := strings.Cut(a.body, `readonly value="https://backups.example.com`)
		address, _, _ = strings.Cut(address, `"`)
		if a := get(t, "", server.URL+html.UnescapeString(address)); a.status != 200 || len(a.body) == 0 {
			t.Errorf("%s: %d %s", address, a.status, a.body)
		}
	}
	if a := send(t, "otto", at+"/link", "path", "/shop/"+evil); a.status != 404 {
		t.Errorf("%d", a.status)
	}
}

// TestDrillForms tries a job's newest snapshot out, and one that was chosen.
func TestDrillForms(t *testing.T) {
	env, _, _ := sqliteJob(t)
	snap := env.Backed(t, "shop")
	server := mustSite(t, env.Service, "")
	needs(t, "before", get(t, "anna", server.URL+"/jobs/shop").body, "never tried out", "Drill now")
	run := sent(t, env, server.URL+"/jobs/shop/drill")
	if run.State != backup.StateOK || run.Chosen {
		t.Fatalf("%+v", run)
	}
	evidence := []string{"restored", "integrity_check: ok", "rows of 1 table as dumped", "db.sqlite3", "media"}
	needs(t, "its run", get(t, "vera", server.URL+"/runs/"+run.ID).body, evidence...)
	needs(t, "after", get(t, "vera", server.URL+"/jobs/shop").body, append(evidence, "came back", "!never tried out", "!Drill now")...)
	if run = sent(t, env, server.URL+"/jobs/shop/drill", "snapshot", snap.ID); run.Chosen { // it is the newest
		t.Errorf("%+v", run)
	}
	env.Backed(t, "shop")
	if run = sent(t, env, server.URL+"/jobs/shop/drill", "snapshot", snap.ID); !run.Chosen {
		t.Errorf("%+v", run)
	}
}

// TestFailedDrillIsNowhereGreen: a job whose last drill failed is green neither on its pages nor in the API, and is again once a
// drill went well.
func TestFailedDrillIsNowhereGreen(t *testing.T) {
	env, _, _ := sqliteJob(t)
	env.Backed(t, "shop")
	server := mustSite(t, env.Service, "")
	flip := func() {
		for _, pack := range storagetest.Names(t, env.Storage, "data") {
			storagetest.Flip(t, env.Storage, pack, 20*8)
		}
	}
	flip()
	if run := sent(t, env, server.URL+"/jobs/shop/drill"); run.State != backup.StateFailed {
		t.Fatalf("%+v", run)
	}
	for _, page := range []string{"/", "/jobs/shop"} {
		needs(t, page, get(t, "vera", server.URL+page).body, `class="state unproven">drill failed<`, "<strong>The last drill failed</strong>",
			`!class="state ok">ok</span>`+"\n<p class=\"sources\">", "!>good<")
	}
	needs(t, "job", get(t, "vera", server.URL+"/api/jobs/shop").body, `"standing":"unproven"`, `"reasons":["the last drill failed`)
	needs(t, "summary", get(t, "vera", server.URL+"/").body, "Something needs attention", "!All is well")
	flip()
	if run := sent(t, env, server.URL+"/jobs/shop/drill"); run.State != backup.StateOK {
		t.Fatalf("%+v", run)
	}
	needs(t, "again", get(t, "vera", server.URL+"/").body, "All is well", `class="state ok">ok<`)
	needs(t, "again", get(t, "vera", server.URL+"/api/jobs/shop").body, `"standing":"ok"`, "!reasons")
}

// TestSafetySnapshotsAreFolded: what restores replaced does not crowd out the backups, and has its undo.
func TestSafetySnapshotsAreFolded(t *testing.T) {
	env, database, _ := sqliteJob(t)
	snap := env.Backed(t, "shop")
	server := mustSite(t, env.Service, "")
	var last backup.Run
	for range newest + 1 {
		look := sent(t, env, server.URL+"/"+snapshotAddress("", snap.ID)+"/restore", "path", "/shop/db.sqlite3", "way", "over")
		if last = sent(t, env, server.URL+"/runs/"+look.ID+"/restore", "confirm", database); last.Safety == "" {
			t.Fatalf("%+v", last)
		}
	}
	for _, page := range []string{"/", "/jobs/shop"} {
		body := get(t, "anna", server.URL+page).body
		backups, folded, _ := strings.Cut(body, `<details class="safeties"`)
		if n := strings.Count(backups, "data-snapshot="); n != 1 || !strings.Contains(backups, snap.ID) || strings.Count(folded, "data-snapshot=") != newest {
			t.Errorf("%s: %d rows before the fold", page, n)
		}
		needs(t, page, folded, "6 safety snapshots", "jobs/shop?safety=only", last.Safety, "runs/"+last.ID+"/undo")
		needs(t, page, get(t, "vera", server.URL+page).body, "6 safety snapshots", "!/undo")
	}
	only := get(t, "anna", server.URL+"/jobs/shop?safety=only").body
	needs(t, "only", only, "Safety snapshots</h2>", "Back to the backups", last.Safety, "!data-snapshot=\""+snap.ID, "!<details class=\"safeties\"")
	needs(t, "API", get(t, "vera", server.URL+"/api/snapshots?safety=not").body, `"total":1,`, `"safety":6`, snap.ID)
	needs(t, "API", get(t, "vera", server.URL+"/api/snapshots").body, `"total":7,`, `!"safety":6`)
	if a := get(t, "vera", server.URL+"/api/snapshots?safety=x"); a.status != 400 {
		t.Error(a)
	}
	look := sent(t, env, server.URL+"/runs/"+last.ID+"/undo")
	needs(t, "undo", get(t, "anna", server.URL+"/runs/"+look.ID).body, "a safety snapshot", "To confirm, type")
}
