package backup_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-backup/caddy-backup/backup"
	"github.com/caddy-backup/caddy-backup/backup/backuptest"
)

// telling is an inbox that can be examined, too.
type telling struct {
	inbox
	says backup.Diagnosis
}

func (x *telling) Examine(context.Context, *backup.Task) []backup.Diagnosis {
	return []backup.Diagnosis{x.says}
}

// hook is one that does nothing, and cannot be examined.
type idleHook struct{}

func (idleHook) Title() string                                          { return "pause" }
func (idleHook) Run(context.Context, backup.Moment, *backup.Task) error { return nil }

// knownHook is one that can say how it is.
type knownHook struct{ idleHook }

func (knownHook) Title() string { return "resume" }
func (knownHook) Examine(context.Context, *backup.Task) []backup.Diagnosis {
	return []backup.Diagnosis{{Level: backup.LevelOK, Text: "is there"}}
}

// found wants a finding of a level with these words about a thing.
func found(t *testing.T, x backup.Examination, about string, level backup.Level, want string) {
	t.Helper()
	for _, d := range x.Diagnoses {
		if d.About == about && d.Level == level && strings.Contains(d.Text, want) {
			return
		}
	}
	t.Errorf("nothing about %s is %s and says %q: %+v", about, level, want, x.Diagnoses)
}

// TestDoctorNotifiers: what is said of notifiers, and who is sent a test.
func TestDoctorNotifiers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		plain, dead, bad, hung, unused := &inbox{}, &telling{}, &telling{}, &inbox{}, &inbox{}
		dead.says = backup.Diagnosis{Level: backup.LevelOK, Text: "answers"}
		dead.answer = func(context.Context) error { return errors.New("404") }
		bad.says = backup.Diagnosis{Level: backup.LevelError, Text: "nobody listens there"}
		hung.answer = func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }
		e := backuptest.New(t, func(c *backup.Config) {
			var names []string
			for name, n := range map[string]backup.Notifier{"plain": plain, "dead": dead, "bad": bad, "hung": hung, "unused": unused} {
				c.Notifiers = append(c.Notifiers, backup.NamedNotifier{Name: name, Kind: "fake", Notifier: n})
				if name != "unused" {
					names = append(names, name)
				}
			}
			c.Jobs[0].Notify = []backup.Subscription{{Notifiers: names, On: []backup.Event{backup.EventFailure}}}
		})
		x := must(e.Doctor(t.Context(), "tester", backup.DoctorRequest{}))(t)
		found(t, x, "notifier plain", backup.LevelNote, "cannot be examined without a notification")
		found(t, x, "notifier plain", backup.LevelNote, "caddy backup doctor --send-test")
		found(t, x, "notifier dead", backup.LevelOK, "answers")
		found(t, x, "notifier bad", backup.LevelError, "nobody listens there")
		found(t, x, "notifier unused", backup.LevelWarning, "notify unused")
		for _, n := range []*inbox{plain, &dead.inbox, &bad.inbox, hung, unused} {
			if n.attempts() > 0 {
				t.Error("somebody was told something")
			}
		}

		began := time.Now()
		x = must(e.Doctor(t.Context(), "tester", backup.DoctorRequest{SendTest: true}))(t)
		if took := time.Since(began); took > 25*time.Second {
			t.Errorf("it took %s", took)
		}
		found(t, x, "notifier plain", backup.LevelOK, "a test was taken")
		found(t, x, "notifier unused", backup.LevelOK, "a test was taken")
		found(t, x, "notifier dead", backup.LevelError, "the test was not taken: 404")
		found(t, x, "notifier bad", backup.LevelNote, "no test was sent")
		found(t, x, "notifier hung", backup.LevelError, "the test was not taken")
		if bad.attempts() > 0 || dead.attempts() != 1 || plain.events() != "test" {
			t.Errorf("attempts: bad %d, dead %d, plain %q", bad.attempts(), dead.attempts(), plain.events())
		}
		n := plain.list[0]
		if n.Job != "" || n.State != "" || !strings.Contains(n.Title, "test of notifier plain on shop-server") || !strings.Contains(n.Text, "tester") ||
			!strings.Contains(n.Text, "there is nothing to do") {
			t.Errorf("%+v", n)
		}
		x = must(e.Doctor(t.Context(), "tester", backup.DoctorRequest{}))(t)
		found(t, x, "notifier plain", backup.LevelOK, "took the last notification")
		found(t, x, "notifier dead", backup.LevelWarning, "it takes nothing since")
		dead.setAnswer(nil)
		must(e.Doctor(t.Context(), "tester", backup.DoctorRequest{SendTest: true}))(t)
		x = must(e.Doctor(t.Context(), "tester", backup.DoctorRequest{}))(t)
		found(t, x, "notifier dead", backup.LevelOK, "took the last notification")
	})
}

// TestDoctorJobs: how jobs went, and what their settings leave out.
func TestDoctorJobs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ops := &inbox{}
		e := backuptest.New(t, func(c *backup.Config) {
			c.Automatic = true
			c.Notifiers = []backup.NamedNotifier{{Name: "ops", Kind: "fake", Notifier: ops}}
			whole := c.Jobs[0]
			whole.Name = "whole"
			whole.Schedule = must(backup.ParseSchedule("daily 03:15"))(t)
			whole.OverdueAfter = 12 * time.Hour
			whole.Retention = &backup.Retention{Last: 3}
			whole.Notify = []backup.Subscription{{Notifiers: []string{"ops"}}}
			whole.Before, whole.After = []backup.Hook{idleHook{}}, []backup.Hook{knownHook{}}
			c.Jobs = append(c.Jobs, whole)
		})
		e.Cheap()
		x := must(e.Doctor(t.Context(), "tester", backup.DoctorRequest{}))(t)
		found(t, x, "server", backup.LevelOK, "Caddy's storage works")
		found(t, x, "job shop", backup.LevelNote, "was never backed up: caddy backup run shop")
		found(t, x, "job shop", backup.LevelNote, "schedule daily 03:15")
		found(t, x, "job shop", backup.LevelNote, "nobody is told when it fails: add to it the line: notify ops")
		found(t, x, "job shop", backup.LevelNote, "keeps all snapshots for ever")
		found(t, x, "job whole", backup.LevelWarning, "overdue_after 12h is not longer than the 24h")
		found(t, x, "job whole, before pause", backup.LevelNote, "cannot be examined")
		found(t, x, "job whole, after resume", backup.LevelOK, "is there")
		if n := len(slices.DeleteFunc(slices.Clone(x.Diagnoses), func(d backup.Diagnosis) bool { return !strings.Contains(d.About, "resume") })); n != 1 {
			t.Errorf("%d findings about one program", n)
		}
		e.Backed(t, "whole")
		e.Backed(t, "shop")
		x = must(e.Doctor(t.Context(), "tester", backup.DoctorRequest{}))(t)
		found(t, x, "job shop", backup.LevelOK, "last good backup")
		found(t, x, "job whole", backup.LevelOK, "next run 2000-01-01 03:15 UTC")
		for _, d := range x.Diagnoses {
			if d.About == "job whole" && d.Level == backup.LevelNote {
				t.Errorf("a whole job is given advice: %s", d.Text)
			}
		}
		e.DB.Fail(errors.New("the database is gone"))
		if run := e.RunBackup(t, "shop"); run.State != backup.StateFailed {
			t.Fatal(run.State)
		}
		x = must(e.Doctor(t.Context(), "tester", backup.DoctorRequest{}))(t)
		found(t, x, "job shop", backup.LevelWarning, "the database is gone")
		time.Sleep(48 * time.Hour) // its runs fail
		x = must(e.Doctor(t.Context(), "tester", backup.DoctorRequest{}))(t)
		found(t, x, "job whole", backup.LevelWarning, "overdue since")
		if x.Level == backup.LevelError {
			t.Errorf("what went wrong is none of what will: %+v", x.Diagnoses)
		}
	})
}

// lostStore is a storage of Caddy's that takes nothing.
type place = backup.Store

type lostStore struct{ place }

func (lostStore) Store(context.Context, string, []byte) error {
	return errors.New("read-only file system")
}

// TestDoctorServer: Caddy's storage is written to, and left as it was.
func TestDoctorServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // each part is given up after some seconds
		e := backuptest.New(t)
		x := must(e.Doctor(t.Context(), "tester", backup.DoctorRequest{}))(t)
		found(t, x, "server", backup.LevelOK, "Caddy's storage works")
		if left := must(e.Store.List(t.Context(), "backup", true))(t); strings.Contains(fmt.Sprint(left), "doctor-") {
			t.Errorf("left behind: %q", left)
		}
		lost := backuptest.New(t, func(c *backup.Config) { c.Store = lostStore{c.Store} })
		x = must(lost.Doctor(t.Context(), "tester", backup.DoctorRequest{}))(t)
		found(t, x, "server", backup.LevelError, "read-only file system")
	})
}
