package handler

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddy-backup/caddy-backup/backup"
	"github.com/caddy-backup/caddy-backup/backup/backuptest"
	"github.com/caddy-backup/caddy-backup/repo"
	"github.com/caddy-backup/caddy-backup/storage/storagetest"
)

// withRetention keeps one snapshot of the job shop.
func withRetention(c *backup.Config) { c.Jobs[0].Retention = &backup.Retention{Last: 1} }

// TestRetentionOverTheAPI goes the way of a person: look, pin, forget, delete, prune.
func TestRetentionOverTheAPI(t *testing.T) {
	clients(t, func(t *testing.T, env *backuptest.Env, c *Client) {
		changed := env.Config
		withRetention(&changed)
		if _, err := env.Attach(changed); err != nil {
			t.Fatal(err)
		}
		several(t, env, "shop", 4)
		report, err := c.Retention(t.Context(), "shop")
		if err != nil || report.Keep != 1 || report.Remove != len(report.Snapshots)-1 || !report.Snapshots[0].Kept || report.Snapshots[1].Reasons[0] != "no rule keeps it" {
			t.Fatalf("%+v, %v", report, err)
		}
		pin := report.Snapshots[1].ID
		note := "before the upgrade"
		run, err := c.Keep(t.Context(), backup.KeepRequest{Snapshot: pin, Keep: true, Note: &note})
		if run = wait(t, c, run.ID); err != nil || run.State != backup.StateOK || run.Kind != backup.KindKeep || run.Snapshot == pin {
			t.Fatalf("%+v, %v", run, err)
		}
		if s, err := c.Snapshot(t.Context(), "", pin, ""); err != nil || s.Note != note {
			t.Fatalf("%+v, %v", s, err)
		}
		if _, err := c.Keep(t.Context(), backup.KeepRequest{Snapshot: pin, Keep: true, Note: new("two\nlines")}); !errors.Is(err, backup.ErrInvalid) {
			t.Error(err)
		}
		gone := report.Snapshots[2].ID
		run, err = c.Delete(t.Context(), backup.DeleteRequest{Snapshots: []string{gone[:12]}})
		if run = wait(t, c, run.ID); err != nil || run.State != backup.StateOK || len(run.Removed) != 1 || run.Removed[0].ID != gone {
			t.Fatalf("%+v, %v", run, err)
		}
		run, err = c.Forget(t.Context(), backup.ForgetRequest{Job: "shop", DryRun: true, Confirm: true})
		if run = wait(t, c, run.ID); err != nil || run.State != backup.StateOK || !run.DryRun || len(run.Removed) != report.Remove-2 {
			t.Fatalf("%+v, %v", run, err)
		}
		run, err = c.Forget(t.Context(), backup.ForgetRequest{Job: "shop", Confirm: true})
		if run = wait(t, c, run.ID); err != nil || run.State != backup.StateOK || len(run.Removed) != report.Remove-2 {
			t.Fatalf("%+v, %v", run, err)
		}
		run, err = c.Prune(t.Context(), backup.PruneRequest{MaxUnused: "0%"})
		if run = wait(t, c, run.ID); err != nil || run.State != backup.StateOK || run.Prune == nil || run.Prune.Snapshots != 2 {
			t.Fatalf("%+v, %v", run, err)
		}
		run, err = c.Keep(t.Context(), backup.KeepRequest{Snapshot: pin})
		if run = wait(t, c, run.ID); err != nil || run.State != backup.StateOK {
			t.Fatalf("%+v, %v", run, err)
		}
		if _, err := c.Delete(t.Context(), backup.DeleteRequest{}); !errors.Is(err, backup.ErrInvalid) {
			t.Error(err)
		}
		if _, err := c.Prune(t.Context(), backup.PruneRequest{MaxUnused: "much"}); !errors.Is(err, backup.ErrInvalid) {
			t.Error(err)
		}
		if _, err := c.Keep(t.Context(), backup.KeepRequest{Snapshot: gone}); !errors.Is(err, repo.ErrNotFound) {
			t.Error(err)
		}
		if _, err := c.Retention(t.Context(), "nosuch"); !errors.Is(err, backup.ErrNotFound) {
			t.Error(err)
		}
	})
}

// TestPinOnThePage has the button for operators, says what is pinned, and shows alarms to everybody.
func TestPinOnThePage(t *testing.T) {
	env := newEnv(t)
	server := mustSite(t, env.Service, "")
	first, second := env.Backed(t, "shop"), env.Backed(t, "shop")
	page := server.URL + "/snapshots/" + first.ID
	needs(t, "viewer", get(t, "vera", page).body, "!/keep", "!Pinned")
	needs(t, "operator", get(t, "otto", page).body, `action="../snapshots/`+first.ID+`/keep"`, "!Pinned")
	a := as(t, "otto", "POST", page+"/keep", "note=before+the+<b>upgrade%3C/b>", "Sec-Fetch-Site", "same-origin", "Content-Type", "application/x-www-form-urlencoded")
	to := a.header.Get("Location")
	if a.status != 303 || !strings.HasPrefix(to, "../../runs/") {
		t.Fatalf("%d %s: %s", a.status, to, a.body)
	}
	run := env.Wait(t, strings.TrimPrefix(to, "../../runs/"))
	if run.State != backup.StateOK {
		t.Fatalf("%+v", run)
	}
	needs(t, "the run", get(t, "vera", server.URL+"/runs/"+run.ID).body, "is pinned.", run.Snapshot)
	needs(t, "pinned", get(t, "otto", page).body, "Pinned: retention never removes it", "before the &lt;b&gt;upgrade", "/snapshots/"+run.Snapshot+"/unkeep")
	needs(t, "the list", get(t, "vera", server.URL+"/jobs/shop").body, `<span class="chip">pinned</span>`, "before the &lt;b&gt;upgrade")

	storagetest.Remove(t, env.Storage, "snapshots/"+second.ID)
	env.RunBackup(t, "shop")
	needs(t, "an alarm", get(t, "vera", server.URL+"/").body, "looks like an older copy of itself", `role="alert"`, "Something needs attention")
}

// TestAcceptSuspect goes through the API and the page: who may, what is shown before and after.
func TestAcceptSuspect(t *testing.T) {
	clients(t, func(t *testing.T, env *backuptest.Env, c *Client) {
		env.DB.Set(strings.Repeat("order", 100))
		env.Backed(t, "shop")
		env.DB.Set("[]")
		bad := env.RunBackup(t, "shop")
		run, err := c.Accept(t.Context(), backup.AcceptRequest{Snapshot: bad.Snapshot})
		if run = wait(t, c, run.ID); err != nil || run.State != backup.StateOK || run.Kind != backup.KindAccept {
			t.Fatalf("%+v, %v", run, err)
		}
		if was, err := c.Run(t.Context(), bad.ID); err != nil || was.State != backup.StateOK || was.AcceptedBy == "" || len(was.Doubts) != 1 {
			t.Errorf("%+v, %v", was, err)
		}
		if _, err := c.Accept(t.Context(), backup.AcceptRequest{Snapshot: "ffffffff"}); !errors.Is(err, repo.ErrNotFound) {
			t.Error(err)
		}
	})
	env := newEnv(t)
	server := mustSite(t, env.Service, "")
	env.DB.Set(strings.Repeat("order", 100))
	env.Backed(t, "shop")
	env.DB.Set("[]")
	bad := env.RunBackup(t, "shop")
	page := server.URL + "/snapshots/" + bad.Snapshot
	needs(t, "operator", get(t, "otto", page).body, "This snapshot is suspect", "db.sql holds nothing, and had 500 B", "!/accept")
	needs(t, "admin", get(t, "anna", page).body, `action="../snapshots/`+bad.Snapshot+`/accept"`)
	a := as(t, "anna", "POST", page+"/accept", "", "Sec-Fetch-Site", "same-origin")
	run := env.Wait(t, strings.TrimPrefix(a.header.Get("Location"), "../../runs/"))
	if a.status != 303 || run.State != backup.StateOK || run.By != "anna" {
		t.Fatalf("%d %+v", a.status, run)
	}
	needs(t, "accepted", get(t, "vera", server.URL+"/snapshots/"+run.Snapshot).body, "!suspect")
	needs(t, "the backup", get(t, "vera", server.URL+"/runs/"+bad.ID).body, "It was suspect, until anna accepted its snapshot: db.sql holds nothing")
	needs(t, "the job", get(t, "vera", server.URL+"/jobs/shop").body, "!is suspect")
}

// TestRetentionOnThePage looks at what would be done, has it done, and sees who may.
func TestRetentionOnThePage(t *testing.T) {
	env := newEnv(t)
	server := mustSite(t, env.Service, "")
	first := env.Backed(t, "shop")
	needs(t, "no retention", get(t, "vera", server.URL+"/jobs/shop").body, "No retention: every snapshot stays", "!stays:")
	needs(t, "no retention", get(t, "anna", server.URL+"/jobs/shop/retention").body, "the job has no retention", "!<form")
	changed := env.Config
	withRetention(&changed)
	if _, err := env.Attach(changed); err != nil {
		t.Fatal(err)
	}
	env.Backed(t, "shop")
	job, page := server.URL+"/jobs/shop", server.URL+"/jobs/shop/retention"
	needs(t, "the job", get(t, "vera", job).body, `<span class="chip">last 1</span>`, "1 snapshot would go now, 1 would stay", "stays: last snapshot", "goes: no rule keeps it",
		`href="../jobs/shop/retention"`)
	needs(t, "operator", get(t, "otto", page).body, "no rule keeps it", "last snapshot", "/snapshots/"+first.ID, "!<form")
	needs(t, "admin", get(t, "anna", page).body, `action="../../jobs/shop/forget"`, "Remove the snapshot that goes", "!confirm")

	form := []string{"Sec-Fetch-Site", "same-origin", "Content-Type", "application/x-www-form-urlencoded"}
	if a := as(t, "anna", "POST", job+"/forget", "sure=no", form...); a.status != 400 || !strings.Contains(a.body, "tick the box") {
		t.Errorf("%d %s", a.status, a.body)
	}
	forget := func(body string) backup.Run {
		t.Helper()
		a := as(t, "anna", "POST", job+"/forget", body, form...)
		if a.status != 303 {
			t.Fatalf("%d %s", a.status, a.body)
		}
		return env.Wait(t, strings.TrimPrefix(a.header.Get("Location"), "../../runs/"))
	}
	if run := forget("sure=yes"); run.State != backup.StateOK || len(run.Removed) != 1 || run.By != "anna" {
		t.Errorf("%+v", run)
	}
	needs(t, "done", get(t, "anna", page).body, "Nothing would go now; 1 snapshot would stay", "!<form")
	several(t, env, "shop", 4)
	needs(t, "more than half", get(t, "anna", page).body, "more than half of them", `name="confirm" value="yes"`, "Remove the 4 snapshots that go, more than half of all")
	if run := forget("sure=yes"); run.State != backup.StateFailed || run.Code != "refused" {
		t.Errorf("%+v", run)
	}
	if run := forget("sure=yes&confirm=yes"); run.State != backup.StateOK || len(run.Removed) != 4 {
		t.Errorf("%+v", run)
	}
}

// deaf is a notifier that nobody answers.
type deaf struct{}

func (deaf) Deliver(context.Context, backup.Notification) error {
	return errors.New("dial tcp 192.0.2.1:587: <timeout>")
}

// TestFailingNotifierOnThePage tells on the overview that notifications do not arrive, and only then.
func TestFailingNotifierOnThePage(t *testing.T) {
	env := newEnv(t)
	server := mustSite(t, env.Service, "")
	needs(t, "none", get(t, "vera", server.URL+"/").body, "!do not arrive")
	changed := env.Config
	changed.Jobs = slices.Clone(changed.Jobs)
	changed.Notifiers = []backup.NamedNotifier{{Name: "ops", Kind: "email", Notifier: deaf{}}}
	changed.Jobs[0].Notify = []backup.Subscription{{Notifiers: []string{"ops"}, On: []backup.Event{backup.EventSuccess}}}
	if _, err := env.Attach(changed); err != nil {
		t.Fatal(err)
	}
	needs(t, "not tried yet", get(t, "vera", server.URL+"/").body, "!do not arrive")
	env.Backed(t, changed.Jobs[0].Name)
	for start := time.Now(); time.Since(start) < 2*time.Minute; time.Sleep(5 * time.Millisecond) {
		if all, err := env.Notifiers(t.Context()); err != nil || !all[0].FailingSince.IsZero() {
			break
		}
	}
	needs(t, "failing", get(t, "vera", server.URL+"/").body, "Notifications that do not arrive", "<strong>ops</strong>", "1 notification waiting", "dial tcp 192.0.2.1:587: &lt;timeout&gt;", "last delivered never")
}
