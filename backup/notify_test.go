package backup_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-backup/caddy-backup/backup"
	"github.com/caddy-backup/caddy-backup/backup/backuptest"
)

// inbox is a notifier that keeps what it takes, when it takes it.
type inbox struct {
	mu     sync.Mutex
	list   []backup.Notification
	times  []time.Time // of attempts
	answer func(ctx context.Context) error
}

func (b *inbox) Deliver(ctx context.Context, n backup.Notification) error {
	b.mu.Lock()
	b.times = append(b.times, time.Now())
	answer := b.answer
	b.mu.Unlock()
	if answer != nil {
		if err := answer(ctx); err != nil {
			return err
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.list = append(b.list, n)
	return nil
}

func (b *inbox) setAnswer(f func(context.Context) error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.answer = f
}

func (b *inbox) events() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	var all []string
	for _, n := range b.list {
		all = append(all, string(n.Event))
	}
	return strings.Join(all, " ")
}

func (b *inbox) attempts() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.times)
}

// chooser is one that wants to know everything, as a dead man's switch does.
type chooser struct{ inbox }

func (*chooser) Events() []backup.Event {
	return []backup.Event{backup.EventStart, backup.EventSuccess, backup.EventFailure, backup.EventSuspect}
}

// told makes a configuration tell a notifier of the job "shop".
func told(to backup.Notifier, on ...backup.Event) func(*backup.Config) {
	return func(c *backup.Config) {
		c.Notifiers = append(c.Notifiers, backup.NamedNotifier{Name: "ops", Kind: "inbox", Notifier: to})
		c.Jobs[0].Notify = append(c.Jobs[0].Notify, backup.Subscription{Notifiers: []string{"ops"}, On: on})
	}
}

// TestNotify: one notification an event, and who wants several events of one run is told of the first.
func TestNotify(t *testing.T) {
	for _, c := range []struct {
		name string
		to   interface {
			backup.Notifier
			events() string
		}
		on   []backup.Event
		want string
	}{
		{"default", &inbox{}, nil, "failure failure recovered"},
		{"all", &inbox{}, backup.Events, "start success start failure start failure start recovered start success"},
		{"success", &inbox{}, []backup.Event{backup.EventSuccess}, "success success success"},
		{"chooser", &chooser{}, nil, "start success start failure start failure start success start success"},
		{"chooser told otherwise", &chooser{}, []backup.Event{backup.EventRecovered}, "recovered"},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				e := backuptest.New(t, told(c.to, c.on...))
				e.Backed(t, "shop")
				e.DB.Fail(errors.New("the database is gone"))
				e.RunBackup(t, "shop")
				e.RunBackup(t, "shop")
				e.DB.Set("data")
				e.Backed(t, "shop")
				e.Backed(t, "shop")
				synctest.Wait()
				if got := c.to.events(); got != c.want {
					t.Errorf("told of %s\nwant    %s", got, c.want)
				}
			})
		})
	}
}

// TestNotificationText: which job, what happened, since when, what to do.
func TestNotificationText(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var box inbox
		e := backuptest.New(t, told(&box), func(c *backup.Config) { c.PublicURL = "https://backups.example.com/" })
		e.Backed(t, "shop")
		time.Sleep(24 * time.Hour)
		e.DB.Fail(errors.New("the database is gone"))
		e.RunBackup(t, "shop")
		time.Sleep(24 * time.Hour)
		failed := e.RunBackup(t, "shop")
		e.DB.Set("data")
		e.Backed(t, "shop")
		synctest.Wait()
		n := box.list[1]
		if n.Title != "backup of shop on shop-server FAILED" || n.Link != "https://backups.example.com/runs/"+failed.ID {
			t.Errorf("%q, link %s", n.Title, n.Link)
		}
		for _, want := range []string{
			"The backup of shop on shop-server FAILED.\n", "Reason:      db.sql (source db): the database is gone\n",
			"Began:       2000-01-03 00:00:00 UTC\n", "Bad since:   2000-01-02 00:00:00 UTC, 2 backups\n",
			"Last good:   2000-01-01 00:00:00 UTC\n", "caddy backup doctor", "caddy backup run shop",
		} {
			if !strings.Contains(n.Text, want) {
				t.Errorf("the text does not have %q:\n%s", want, n.Text)
			}
		}
		if good := box.list[2]; good.Title != "backup of shop on shop-server works again" ||
			!strings.Contains(good.Text, "Bad since:   2000-01-02 00:00:00 UTC, 2 backups\n") || !strings.Contains(good.Text, "Snapshot:") {
			t.Errorf("%s:\n%s", good.Title, good.Text)
		}
	})
}

// TestDeadNotifier: it is tried again, bounded, in order, and shown; runs end as without it.
func TestDeadNotifier(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var box inbox
		box.setAnswer(func(context.Context) error { return errors.New("nobody is at home") })
		e := backuptest.New(t, told(&box, backup.EventSuccess))
		e.Backed(t, "shop")
		e.Backed(t, "shop")
		time.Sleep(10 * time.Second)
		status := must(e.Notifiers(t.Context()))(t)[0]
		if status.Waiting != 2 || status.Error != "nobody is at home" || status.FailingSince.IsZero() || status.Jobs[0] != "shop" {
			t.Errorf("%+v", status)
		}
		time.Sleep(24 * time.Hour)
		if n := box.attempts(); n != 14 {
			t.Errorf("%d attempts for two notifications, want 7 each", n)
		}
		if status = must(e.Notifiers(t.Context()))(t)[0]; status.Waiting != 0 || status.Lost != 2 {
			t.Errorf("%+v", status)
		}
		e.Backed(t, "shop")
		time.Sleep(time.Minute)
		box.setAnswer(nil)
		time.Sleep(time.Hour)
		if status = must(e.Notifiers(t.Context()))(t)[0]; status.Waiting != 0 || status.Error != "" || !status.FailingSince.IsZero() || status.Delivered.IsZero() {
			t.Errorf("%+v", status)
		}
		if box.events() != "success" {
			t.Errorf("took %s", box.events())
		}
	})
}

// TestNotifierHangsOrPanics: each attempt has an end, and the other notifiers hear at once.
func TestNotifierHangsOrPanics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var hangs, panics, well inbox
		release := make(chan struct{})
		hangs.setAnswer(func(context.Context) error { <-release; return errors.New("too late") })
		panics.setAnswer(func(context.Context) error { panic("a mistake") })
		e := backuptest.New(t, told(&hangs, backup.EventSuccess), func(c *backup.Config) {
			c.Notifiers = append(c.Notifiers, backup.NamedNotifier{Name: "b", Notifier: &panics}, backup.NamedNotifier{Name: "c", Notifier: &well})
			c.Jobs[0].Notify[0].Notifiers = []string{"ops", "b", "c"}
		})
		e.Backed(t, "shop")
		synctest.Wait()
		if well.events() != "success" {
			t.Errorf("beside a notifier that hangs another heard %q", well.events())
		}
		time.Sleep(3 * time.Hour)
		all := must(e.Notifiers(t.Context()))(t)
		if all[0].Lost != 1 || !strings.Contains(all[0].Error, "no answer in time") || all[1].Lost != 1 || all[1].Error != "panic: a mistake" {
			t.Errorf("%+v", all)
		}
		close(release)
	})
}

// TestNotifyAtTheEnd: when the Service is closed, what waits has its last attempt, and what hangs does not keep it.
func TestNotifyAtTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var box, stuck inbox
		box.setAnswer(func(context.Context) error { return errors.New("not yet") })
		stuck.setAnswer(func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() })
		e := backuptest.New(t, told(&box, backup.EventSuccess, backup.EventFailure), func(c *backup.Config) {
			c.Notifiers = append(c.Notifiers, backup.NamedNotifier{Name: "stuck", Notifier: &stuck})
			c.Jobs[0].Notify[0].Notifiers = []string{"ops", "stuck"}
		})
		e.Backed(t, "shop")
		synctest.Wait()
		box.setAnswer(nil)
		entered, _ := e.DB.Hold("data")
		if _, err := e.Backup(t.Context(), "alice", "shop"); err != nil {
			t.Fatal(err)
		}
		<-entered
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		start := time.Now()
		if err := e.Close(ctx); err == nil {
			t.Error("closed as if all had been told")
		}
		if took := time.Since(start); took > 3*time.Second {
			t.Errorf("it took %v", took)
		}
		if box.events() != "success failure" {
			t.Errorf("took %q", box.events())
		}
	})
}

// TestNotifierMendedByReload: a later attempt uses what is configured by then; what is gone gets nothing.
func TestNotifierMendedByReload(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var wrong, right inbox
		wrong.setAnswer(func(context.Context) error { return errors.New("wrong address") })
		e := backuptest.New(t, told(&wrong, backup.EventSuccess))
		e.Backed(t, "shop")
		synctest.Wait()
		next := e.Config
		next.Notifiers = []backup.NamedNotifier{{Name: "ops", Kind: "inbox", Notifier: &right}}
		detach, err := e.Attach(next)
		if err != nil {
			t.Fatal(err)
		}
		defer detach()
		e.Detach()
		time.Sleep(time.Minute)
		if right.events() != "success" || wrong.attempts() != 1 {
			t.Errorf("the new one took %q, the old one had %d attempts", right.events(), wrong.attempts())
		}
	})
}

func TestNotifiersRefused(t *testing.T) {
	for _, c := range []struct {
		change func(*backup.Config)
		want   string
	}{
		{func(c *backup.Config) { c.Jobs[0].Notify = []backup.Subscription{{Notifiers: []string{"ops"}}} }, `there is no notifier "ops"`},
		{told(&inbox{}, "sunrise"), `there is no event "sunrise"`},
		{func(c *backup.Config) { told(&inbox{})(c); told(&inbox{})(c) }, `two notifiers are named "ops"`},
		{told(nil), `notifier "ops" can do nothing`},
	} {
		e := backuptest.New(t)
		next := e.Config
		next.Jobs = append([]backup.Job(nil), next.Jobs...)
		c.change(&next)
		if _, err := e.Attach(next); !errors.Is(err, backup.ErrInvalid) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("got %v, want %s", err, c.want)
		}
	}
}
