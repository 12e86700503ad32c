package handler

import (
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
)

// TestBrowserRestores has an admin bring a damaged database back from the page, and undo that.
func TestBrowserRestores(t *testing.T) {
	b := newTab(t)
	env, database, _ := sqliteJob(t)
	snap := env.Backed(t, "shop")
	execute(t, database, "DELETE FROM goods; INSERT INTO goods VALUES ('nothing')")
	server := signedIn(t, env.Service, "anna", "")
	b.looks("light", 1200)
	b.do(chromedp.Navigate(server.URL + "/snapshots/" + snap.ID))
	b.shot("restore-snapshot")
	b.do(chromedp.Click(chromedp.CSS("a[href*='/restore']")))
	b.wait(`document.querySelector("h1")?.textContent === "Restore"`)
	b.do(chromedp.Click(chromedp.CSS("input[value='/shop/db.sqlite3']")), chromedp.Click(chromedp.CSS("#way-over")))
	b.shot("restore-form")
	b.fits()
	b.do(chromedp.Click(chromedp.CSS("main form button.primary")))
	b.wait(`document.querySelector("#confirm") !== null`)
	if text := b.text(); !strings.Contains(text, database) || !strings.Contains(text, "safety snapshot") || goods(t, database) != "nothing" {
		t.Errorf("the look: %s", text)
	}
	b.shot("restore-look")
	b.looks("dark", 400)
	b.fits()
	b.shot("restore-look-narrow")
	b.looks("light", 1200)
	b.do(chromedp.SendKeys(chromedp.CSS("#confirm"), "shop"), chromedp.Click(chromedp.CSS("button.danger")))
	b.wait(`document.querySelector("#confirm:invalid") !== null`) // the browser itself does not let it pass
	b.do(chromedp.Evaluate[chromedp.Void](`document.querySelector("#confirm").value = ""`))
	b.do(chromedp.SendKeys(chromedp.CSS("#confirm"), database), chromedp.Click(chromedp.CSS("button.danger")))
	b.wait(`document.querySelector("form[action$='/undo']") !== null`)
	if got := goods(t, database); got != "tea coffee" {
		t.Errorf("restored: %q", got)
	}
	b.shot("restore-done")
	b.looks("dark", 400)
	b.fits()
	b.shot("restore-done-narrow")
	b.do(chromedp.Click(chromedp.CSS("form[action$='/undo'] button")))
	b.wait(`document.querySelector("#confirm") !== null`)
	b.do(chromedp.SendKeys(chromedp.CSS("#confirm"), database), chromedp.Click(chromedp.CSS("button.danger")))
	b.wait(`document.querySelector("form[action$='/undo']") !== null`)
	if got := goods(t, database); got != "nothing" {
		t.Errorf("undone: %q", got)
	}
}
