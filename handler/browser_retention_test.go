package handler

import (
	"strings"
	"testing"

	"github.com/chromedp/chromedp"

	"github.com/caddy-backup/caddy-backup/backup"
)

// TestBrowserRetention has an admin pin a snapshot with a note, look at what retention would do, and apply it.
func TestBrowserRetention(t *testing.T) {
	b := newTab(t)
	env := newEnv(t)
	changed := env.Config
	withRetention(&changed)
	if _, err := env.Attach(changed); err != nil {
		t.Fatal(err)
	}
	several(t, env, "shop", 3)
	server := signedIn(t, env.Service, "anna", "")
	list, err := env.Snapshots(t.Context(), backup.SnapshotQuery{})
	if err != nil {
		t.Fatal(err)
	}
	oldest := list.Snapshots[len(list.Snapshots)-1]
	b.looks("light", 1200)
	b.do(chromedp.Navigate(server.URL + "/snapshots/" + oldest.ID))
	b.do(chromedp.SendKeys(chromedp.CSS("#note"), "before the upgrade"), chromedp.Click(chromedp.CSS("form[action$='/keep'] button")))
	b.wait(`document.querySelector("h1")?.textContent.startsWith("Keep of shop") && document.querySelector(".state.ok") !== null`)
	b.do(chromedp.Navigate(server.URL + "/jobs/shop"))
	if text := b.text(); !strings.Contains(text, "before the upgrade") || !strings.Contains(text, "stays: pinned") {
		t.Errorf("the job: %s", text)
	}
	b.shot("job-retention")
	b.fits()
	b.do(chromedp.Click(chromedp.CSS("a[href$='/retention']")))
	b.wait(`document.querySelector("h1")?.textContent === "Retention of shop"`)
	b.shot("retention")
	b.looks("dark", 400)
	b.shot("retention-narrow")
	b.fits()
	b.do(chromedp.Click(chromedp.CSS("#sure")), chromedp.Click(chromedp.CSS("form[action$='/forget'] button")))
	b.wait(`document.querySelector("h1")?.textContent.startsWith("Forget of shop") && document.querySelector(".state.ok") !== null`)
	if text := b.text(); !strings.Contains(text, "no rule keeps it") {
		t.Errorf("the run: %s", text)
	}
	if list, err := env.Snapshots(t.Context(), backup.SnapshotQuery{}); err != nil || list.Total != 2 {
		t.Errorf("%+v, %v", list, err)
	}
}
