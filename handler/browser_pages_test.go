package handler

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"

	"github.com/caddy-backup/caddy-backup/backup"
)

// longName is a name of a job that nobody should choose.
var longName = evilJob + "-" + strings.Repeat("very", 12) + "-long"

// restorePages makes one of each page on the way of a restore and of a drill, with hard names, and returns where they are.
func restorePages(t *testing.T) (site string, pages map[string]string) {
	t.Helper()
	weekly, err := backup.ParseSchedule("weekly")
	if err != nil {
		t.Fatal(err)
	}
	env, database, _ := sqliteJob(t, func(c *backup.Config) { c.Jobs[0].Name, c.Jobs[0].Drill = longName, weekly })
	snap := env.Backed(t, longName)
	server := signedInTo(t, env.Service, "anna", "", `, "allow_upload": 1000000, "restore_root": "/srv/`+strings.Repeat("long", 20)+`"`)
	at := server.URL + "/" + snapshotAddress("", snap.ID)
	pages = map[string]string{
		"overview": "/", "safety": "/" + jobAddress(longName) + "?safety=only", "job": "/" + jobAddress(longName), "snapshot": "/" + snapshotAddress("", snap.ID),
		"form": "/" + restoreAddress("default", snap.ID, "/"+longName+"/media/2026"), "upload": "/" + jobAddress(longName) + "/upload",
		"folder": "/" + folderAddress("default", snap.ID, "/"+longName+"/media/2026"),
	}
	run := sent(t, env, at+"/restore", "path", "/", "way", "over")
	pages["look"] = "/runs/" + run.ID
	run = sent(t, env, server.URL+"/runs/"+run.ID+"/restore", "confirm", longName)
	pages["done"] = "/runs/" + run.ID
	run = sent(t, env, server.URL+"/"+jobAddress(longName)+"/upload", "part", "db.sqlite3")
	pages["upload-look"] = "/runs/" + run.ID
	run = uploaded(t, env, sendFile(t, "anna", server.URL+"/runs/"+run.ID+"/upload", []byte("PGDMP"+evil), "way", "over", "confirm", database))
	pages["failed"] = "/runs/" + run.ID
	needs(t, "before a drill", get(t, "anna", server.URL+"/"+jobAddress(longName)).body, `class="warn">The backups were never tried out`, `<dd class="warn">never`)
	run = sent(t, env, server.URL+"/"+jobAddress(longName)+"/drill")
	pages["drilled"] = "/runs/" + run.ID
	return server.URL, pages
}

// Each page of a restore fits a telephone and a desk, and its fields have labels.
func TestBrowserRestorePagesFit(t *testing.T) {
	site, pages := restorePages(t)
	b := newTab(t)
	for name, path := range pages {
		for scheme, width := range map[string]int64{"light": 360, "dark": 1200} {
			b.looks(scheme, width)
			b.do(chromedp.Navigate(site + path))
			b.do(chromedp.Evaluate[chromedp.Void](`document.querySelectorAll("details").forEach((d) => d.open = true)`))
			b.fits()
			b.shot("r-" + name + "-" + scheme)
		}
		b.labelled(name)
	}
}

// labelled fails when a page does not say what its fields are, or two things in it have one name.
func (b *tab) labelled(name string) {
	b.t.Helper()
	wrong, err := chromedp.Run(b.ctx, chromedp.Evaluate[[]string](`[
		...[...document.querySelectorAll("input:not([type=hidden])")].filter((i) => !i.labels?.length).map((i) => "no label: " + i.outerHTML),
		...[...document.querySelectorAll("button, a")].filter((e) => !e.textContent.trim()).map((e) => "no text: " + e.outerHTML),
		...[...document.querySelectorAll("[id]")].filter((e) => document.querySelectorAll("#" + CSS.escape(e.id)).length > 1).map((e) => "twice: " + e.id),
		...[...document.querySelectorAll("[aria-labelledby], [aria-describedby]")].filter((e) => !document.getElementById(e.getAttribute("aria-labelledby") ?? e.getAttribute("aria-describedby"))).map((e) => "refers to nothing: " + e.outerHTML),
		...(document.querySelectorAll("h1").length === 1 ? [] : ["not one h1"])]`))
	if err != nil || len(wrong) > 0 {
		b.t.Errorf("%s: %q, %v", name, wrong, err)
	}
}

// TestBrowserUploadsWithoutScripts has an admin choose a dump file in a browser that runs no scripts.
func TestBrowserUploadsWithoutScripts(t *testing.T) {
	b := newTab(t)
	env, database, _ := sqliteJob(t)
	server := signedInTo(t, env.Service, "anna", "/backups", `, "allow_upload": 1000000`)
	if _, err := chromedp.Call(b.ctx, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: true}); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "goods.sqlite3.gz")
	if err := os.WriteFile(file, zipped(dumpFile(t, "milk")), 0o600); err != nil {
		t.Fatal(err)
	}
	b.looks("light", 800)
	b.do(chromedp.Navigate(server.URL + "/backups/jobs/shop"))
	b.do(chromedp.Click(chromedp.CSS("a[href$='/upload']")), chromedp.Click(chromedp.CSS("main form button.primary")))
	b.do(chromedp.WaitVisible(chromedp.CSS("#file-over"))) // the page of the look loads itself anew until it has ended
	b.do(chromedp.SendKeys(chromedp.CSS("#confirm"), database), chromedp.SetUploadFiles(chromedp.CSS("#file-over"), []string{file}))
	b.shot("upload-filled")
	b.do(chromedp.Click(chromedp.CSS("button.danger")))
	b.do(chromedp.WaitNotPresent(chromedp.CSS("#file-over")))
	runs, err := env.Runs(t.Context(), backup.RunFilter{Limit: 1})
	if err != nil {
		t.Fatal(err)
	}
	ended(t, env, runs[0].ID)
	if got := goods(t, database); got != "milk" {
		t.Errorf("%q", got)
	}
}
