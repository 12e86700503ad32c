package handler

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/browser"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"

	"github.com/caddy-backup/caddy-backup/backup"
	"github.com/caddy-backup/caddy-backup/backup/backuptest"
	"github.com/caddy-backup/caddy-backup/internal/realtest"
)

// tab is a tab of the real browser. What its console complains about fails the test.
type tab struct {
	t   *testing.T
	ctx context.Context
	dir string // screenshots and downloads; kept when SCREENSHOTS names it
}

func newTab(t *testing.T) *tab {
	t.Helper()
	if testing.Short() {
		t.Skip("short: the browser is driven by the run without -short")
	}
	chromium := realtest.Need(t, "chromium")
	scratch, err := os.MkdirTemp("", "chromium") // what it leaves there when it is killed; t.TempDir is too long for its socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(scratch) })
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(chromium), chromedp.NoSandbox, chromedp.DisableGPU,
		chromedp.Flag("disable-quic", true), chromedp.Flag("disable-component-update", true), chromedp.UserDataDir(t.TempDir()),
		chromedp.Env("TMPDIR="+scratch), chromedp.WSURLReadTimeout(2*time.Minute))
	limited, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	t.Cleanup(cancel)
	allocator, cancel := chromedp.NewExecAllocator(limited, options...)
	t.Cleanup(cancel)
	ctx, cancel := chromedp.NewContext(allocator)
	t.Cleanup(cancel)
	b := &tab{t: t, ctx: ctx, dir: os.Getenv("SCREENSHOTS")}
	if b.dir == "" {
		b.dir = t.TempDir()
	}
	b.do() // starts the browser
	console := chromedp.Console(ctx)
	complaints := make(chan string, 100)
	go func() {
		defer close(complaints)
		for message, err := range console {
			if err == nil {
				complaints <- message.String()
			}
		}
	}()
	t.Cleanup(func() {
		cancel()
		for complaint := range complaints {
			t.Errorf("the console says: %s", complaint)
		}
	})
	return b
}

func (b *tab) do(steps ...chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	if err := chromedp.Do(b.ctx, steps...); err != nil {
		b.shot("failed")
		b.t.Fatal(err)
	}
}

// wait waits until an expression of the page is true. A page that is being left fails the question: it is asked again.
func (b *tab) wait(expression string) {
	b.t.Helper()
	deadline := time.Now().Add(2 * time.Minute)
	for {
		_, err := chromedp.Run(b.ctx, chromedp.Poll[bool](expression, chromedp.WithPollingTimeout(time.Second)))
		if err == nil {
			return
		}
		if time.Now().After(deadline) || b.ctx.Err() != nil {
			b.shot("failed")
			b.t.Fatalf("%s: %v", expression, err)
		}
	}
}

func (b *tab) text() string {
	b.t.Helper()
	text, err := chromedp.Run(b.ctx, chromedp.Evaluate[string]("document.body.innerText"))
	if err != nil {
		b.t.Fatal(err)
	}
	return text
}

// shot takes a picture of the whole page, for people to look at.
func (b *tab) shot(name string) {
	b.t.Helper()
	picture, err := chromedp.Run(b.ctx, chromedp.FullScreenshot(100))
	if err == nil {
		err = os.WriteFile(filepath.Join(b.dir, name+".png"), picture, 0o644)
	}
	if err != nil {
		b.t.Errorf("screenshot %s: %v", name, err)
	}
}

// looks sets what the reader prefers and how wide the window is.
func (b *tab) looks(scheme string, width int64) {
	b.t.Helper()
	b.do(chromedp.EmulateViewport(width, 900))
	_, err := chromedp.Call(b.ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
		Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}}})
	if err != nil {
		b.t.Fatal(err)
	}
}

// fits fails when the page has to be scrolled sideways.
func (b *tab) fits() {
	b.t.Helper()
	wide, err := chromedp.Run(b.ctx, chromedp.Evaluate[int]("document.documentElement.scrollWidth - document.documentElement.clientWidth"))
	if err != nil || wide > 0 {
		b.t.Errorf("the page is %d pixels too wide: %v", wide, err)
	}
}

// signedIn is a site whose every request comes from one user, below a prefix.
func signedIn(t *testing.T, s *backup.Service, user, prefix string) *httptest.Server {
	t.Helper()
	return signedInTo(t, s, user, prefix, "")
}

// signedInTo is signedIn with more of a configuration.
func signedInTo(t *testing.T, s *backup.Service, user, prefix, extra string) *httptest.Server {
	t.Helper()
	h, _, err := provision(t, s, `{"admins": ["anna"], "operators": ["otto"], "viewers": ["vera"]`+extra+`}`)
	if err != nil {
		t.Fatal(err)
	}
	inner := site(h, prefix)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.Header.Set(userHeader, user)
		inner.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	return server
}

// slowly dumps data in small steps, each when the test allows it, and then what is left.
func slowly(data string, step <-chan struct{}) func(context.Context, io.Writer, *backup.Task) error {
	return func(ctx context.Context, w io.Writer, task *backup.Task) error {
		task.Log.Info("the dump begins")
		for len(data) > 0 {
			n := min(len(data), 1<<20)
			if _, err := io.WriteString(w, data[:n]); err != nil {
				return err
			}
			data = data[n:]
			select {
			case <-step:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		return nil
	}
}

func TestBrowserBacksUp(t *testing.T) {
	b := newTab(t)
	for name, prefix := range map[string]string{"own site": "", "below a path": "/backups"} {
		t.Run(name, func(t *testing.T) { b.t = t; backsUp(t, b, prefix) })
	}
}

// backsUp is what a person does: look, press the button, watch, look again, download.
func backsUp(t *testing.T, b *tab, prefix string) {
	env := newEnv(t)
	step := make(chan struct{})
	data := noise(4 << 20)
	env.DB.Do(slowly(data, step))
	server := signedIn(t, env.Service, "otto", prefix)
	b.looks("light", 1200)
	b.do(chromedp.Navigate(server.URL + prefix + "/"))
	if text := b.text(); !strings.Contains(text, "No backup yet") {
		t.Errorf("a fresh start: %s", text)
	}
	b.shot("fresh")
	b.do(chromedp.Evaluate[chromedp.Void](`{
		const toast = document.getElementById("toast"); // what it says goes after some seconds
		window.said = "";
		new MutationObserver(() => { window.said += toast.textContent; }).observe(toast, { childList: true });
	}`))

	b.do(chromedp.Click(chromedp.CSS("#run-shop")))
	b.do(chromedp.WaitVisible(chromedp.CSS("[data-live]")))
	step <- struct{}{}
	step <- struct{}{}
	b.wait(`document.querySelector("[data-bytes]")?.textContent.includes("MiB")`)
	b.wait(`document.querySelector(".state.running") !== null`)
	b.shot("running")
	close(step)
	b.wait(`document.querySelector("tr[data-snapshot]") !== null && document.querySelector("[data-live]") === null`)
	b.wait(`window.said.includes("is done")`)
	if text := b.text(); !strings.Contains(text, "All is well") || !strings.Contains(text, "db.sql") {
		t.Errorf("after the backup: %s", text)
	}
	b.shot("done")
	b.do(chromedp.Navigate(server.URL + prefix + "/")) // the page would take its content anew once more, maybe under the click
	if got := b.download(chromedp.CSS(`a[href$="/shop/db.sql"]`)); got != data {
		t.Errorf("downloaded %d bytes of %d", len(got), len(data))
	}
	b.do(chromedp.Click(chromedp.CSS(`tr[data-snapshot] a[href*="/ls/"]`)))
	b.wait(`document.querySelector("h1")?.textContent === "/shop/media"`)
}

// download clicks on a link and returns what the browser saved of the dump.
func (b *tab) download(link chromedp.CSS) string { return b.save(link, "shop_*Z.db.sql") }

// save clicks on a link and returns what the browser saved under a name of that pattern.
func (b *tab) save(link chromedp.CSS, pattern string) string {
	b.t.Helper()
	dir := b.t.TempDir()
	_, err := chromedp.CallBrowser(b.ctx, browser.SetDownloadBehavior, browser.SetDownloadBehaviorParams{
		Behavior: browser.SetDownloadBehaviorBehaviorAllow, DownloadPath: dir, EventsEnabled: new(true)})
	if err != nil {
		b.t.Fatal(err)
	}
	progress := chromedp.BrowserEvents(b.ctx, browser.DownloadProgress)
	b.do(chromedp.Click(link))
	for event, err := range progress {
		if err != nil {
			b.t.Fatal(err)
		}
		if event.State == browser.DownloadProgressStateCompleted {
			break
		}
		if event.State == browser.DownloadProgressStateCanceled {
			b.t.Fatal("the browser gave the download up")
		}
	}
	saved, _ := filepath.Glob(filepath.Join(dir, pattern))
	if len(saved) != 1 {
		b.t.Fatalf("saved: %q", saved)
	}
	got, err := os.ReadFile(saved[0])
	if err != nil {
		b.t.Fatal(err)
	}
	return string(got)
}

// What was started elsewhere shows up by itself, can be cancelled, and a failure is seen.
func TestBrowserSeesWhatOthersDo(t *testing.T) {
	env := newEnv(t, withEvilJob)
	env.Backed(t, "shop")
	env.Backed(t, evilJob)
	b := newTab(t)
	server := signedIn(t, env.Service, "otto", "")
	b.looks("dark", 1200)
	b.do(chromedp.Navigate(server.URL + "/"))
	b.wait(`document.querySelectorAll("tr[data-snapshot]").length === 2`)
	entered, release := env.DB.Hold("other")
	defer release()
	run, err := env.Backup(t.Context(), "schedule", "shop")
	if err != nil {
		t.Fatal(err)
	}
	<-entered
	b.wait(`document.querySelector("[data-live]") !== null`) // the page has looked
	b.do(chromedp.Click(chromedp.CSS("#cancel-" + run.ID)))
	b.wait(`document.querySelector(".state.cancelled") !== null && document.querySelector("[data-live]") === null`)
	b.shot("cancelled")
	b.do(chromedp.Navigate(server.URL + "/runs/" + run.ID))
	b.wait(`document.querySelector(".alert")?.textContent.includes("cancelled")`)
	b.shot("run")
}

// Names that are markup run nowhere, and every page fits a telephone.
func TestBrowserPagesFit(t *testing.T) {
	env := newEnv(t, withEvilJob)
	shop, snap := env.Backed(t, "shop"), env.Backed(t, evilJob)
	b := newTab(t)
	server := signedIn(t, env.Service, "vera", "")
	for name, path := range map[string]string{
		"overview": "/", "job": "/" + jobAddress(evilJob), "snapshot": "/" + snapshotAddress("", snap.ID),
		"folder": "/" + folderAddress("", shop.ID, "/shop/media/a"),
	} {
		for _, scheme := range []string{"light", "dark"} {
			for _, width := range []int64{360, 1200} {
				b.looks(scheme, width)
				b.do(chromedp.Navigate(server.URL + path))
				b.fits()
				b.shot(name + "-" + scheme + map[bool]string{true: "-narrow"}[width < 500])
			}
		}
	}
}

// What is wrong or in doubt fits a telephone, too.
func TestBrowserShowsTroubles(t *testing.T) {
	folder := backuptest.Folder{"a.txt": "hello"}
	env := newEnv(t, withEvilJob, func(c *backup.Config) {
		c.Jobs = append(c.Jobs, backup.Job{Name: "photos", Sources: []backup.NamedSource{{Name: "album", Kind: "files", Source: folder}}})
	})
	env.Backed(t, "photos")
	delete(folder, "a.txt")
	doubtful := env.RunBackup(t, "photos")
	if doubtful.State != backup.StateSuspect {
		t.Fatalf("an empty folder: %s %s", doubtful.State, doubtful.Error)
	}
	check, err := env.Check(t.Context(), "tester", backup.CheckRequest{})
	if err != nil {
		t.Fatal(err)
	}
	env.Wait(t, check.ID)
	b := newTab(t)
	server := signedIn(t, env.Service, "otto", "")
	show := func(names map[string]string) {
		for name, path := range names {
			for _, width := range []int64{360, 1200} {
				b.looks("light", width)
				b.do(chromedp.Navigate(server.URL + path))
				b.fits()
				b.shot(name + map[bool]string{true: "-narrow"}[width < 500])
			}
		}
	}
	env.DB.Fail(errors.New("pg_dump ended with exit status 1: connection to server on socket /run/postgresql/.s.PGSQL.5432 failed"))
	env.RunBackup(t, "shop")
	show(map[string]string{
		"troubles": "/", "suspect-run": "/" + runAddress(doubtful.ID), "check": "/" + runAddress(check.ID),
		"suspect": "/" + snapshotAddress("", doubtful.Snapshot), "suspect-job": "/" + jobAddress("photos"),
	})
}
