package backup_test

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/caddy-backup/caddy-backup/backup"
	"github.com/caddy-backup/caddy-backup/backup/backuptest"
)

// when is at which times of January 2000 a notifier was told of what: "02 04:30 overdue".
func (b *inbox) when(events ...backup.Event) string {
	b.mu.Lock()
	defer b.mu.Unlock()
	var all []string
	for i, n := range b.list {
		for _, event := range events {
			if n.Event == event {
				all = append(all, b.times[i].UTC().Format("02 15:04 ")+string(n.Event))
			}
		}
	}
	return strings.Join(all, ", ")
}

func (b *inbox) last() backup.Notification {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.list) == 0 {
		return backup.Notification{}
	}
	return b.list[len(b.list)-1]
}

// watched are the events that a notifier hears of by default.
var watched = backup.DefaultEvents

// watcher is a machine whose job "shop" tells an inbox.
func watcher(t *testing.T, change ...func(*backup.Config)) (*machine, *inbox) {
	t.Helper()
	box := &inbox{}
	return newMachine(t, func(c *backup.Config) {
		told(box)(c)
		for _, f := range change {
			f(c)
		}
	}), box
}

func (b *inbox) want(t *testing.T, want string) {
	t.Helper()
	if got := b.when(watched...); got != want {
		t.Errorf("%v: told of\n%q, want\n%q", time.Now().UTC(), got, want)
	}
}

// TestOverdueTold: once, again while it lasts, and when it is over; whatever becomes of the configuration and the process.
func TestOverdueTold(t *testing.T) {
	inBubble(t, "once, and every day", func(t *testing.T) {
		m, box := watcher(t, func(c *backup.Config) { c.Jobs[0].Stall = -1 })
		m.start()
		m.sleepUntil(dayAt(1, 12, 0))
		m.DB.Hold("data") // no backup is made any more, and none fails
		m.sleepUntil(dayAt(2, 4, 29))
		box.want(t, "")
		m.sleepUntil(dayAt(2, 4, 31))
		box.want(t, "02 04:30 overdue")
		n := box.last()
		if n.Title != "backup of shop on shop-server is OVERDUE" || n.Job != "shop" || n.Repository != "default" || n.Told != 1 ||
			!n.Since.Truncate(time.Minute).Equal(dayAt(2, 4, 30)) || !n.LastGood.Truncate(time.Minute).Equal(dayAt(1, 2, 30)) {
			t.Errorf("%+v", n)
		}
		for _, want := range []string{"The backup of shop on shop-server is OVERDUE.\n", "Reason:      the last good backup was made 1 day ago\n",
			"Since:       2000-01-02 04:30:00 UTC\n", "Last good:   2000-01-01 02:30:00 UTC\n", "Now:         a run is running since 2000-01-02 02:30:00 UTC",
			"caddy backup run shop"} {
			if !strings.Contains(n.Text, want) {
				t.Errorf("the text does not have %q:\n%s", want, n.Text)
			}
		}
		for range 20 {
			m.reload(false)
			m.sleep(time.Hour)
			m.reload(true)
		}
		box.want(t, "02 04:30 overdue")
		m.sleepUntil(dayAt(4, 2, 0)) // before its timeout the run goes on
		if got := box.when(backup.EventOverdue); got != "02 04:30 overdue, 03 04:30 overdue" || box.last().Title != "backup of shop on shop-server is still OVERDUE" {
			t.Errorf("told of %s, at last %s", got, box.last().Title)
		}
		m.DB.Set("data")
		m.sleepUntil(dayAt(6, 12, 0))
		if got := box.when(backup.EventRecovered, backup.EventOverdue); !strings.HasSuffix(got, "04 02:30 recovered") {
			t.Errorf("told of %s", got)
		}
		if n := box.last(); n.Since.IsZero() || !strings.Contains(n.Text, "Was overdue: 2000-01-02 04:30:00 UTC\n") {
			t.Errorf("%+v", n)
		}
	})
	inBubble(t, "a restart neither repeats nor forgets", func(t *testing.T) {
		m, box := watcher(t, func(c *backup.Config) { c.Jobs[0].Schedule, c.Jobs[0].OverdueAfter = backup.Schedule{}, 5*time.Hour })
		m.start()
		m.RunBackup(t, "shop")
		m.sleepUntil(dayAt(1, 6, 0))
		box.want(t, "01 05:00 overdue")
		for range 5 {
			m.stop()
			m.sleep(time.Hour)
			m.start()
			m.sleep(time.Hour)
		}
		box.want(t, "01 05:00 overdue")
		m.sleepUntil(dayAt(2, 6, 0))
		box.want(t, "01 05:00 overdue, 02 05:00 overdue")
		m.stop()
		m.start()
		m.sleep(time.Minute)
		m.RunBackup(t, "shop")
		m.sleep(time.Minute)
		box.want(t, "01 05:00 overdue, 02 05:00 overdue, 02 06:01 recovered")
		if n := box.last(); !n.BadSince.IsZero() || !n.Since.Truncate(time.Minute).Equal(dayAt(1, 5, 0)) {
			t.Errorf("%+v", n)
		}
	})
	inBubble(t, "what nobody took is told after a restart", func(t *testing.T) {
		m, box := watcher(t, func(c *backup.Config) { c.Jobs[0].Schedule, c.Jobs[0].OverdueAfter = backup.Schedule{}, 5*time.Hour })
		box.setAnswer(func(context.Context) error { return errors.New("no network") })
		m.start()
		m.RunBackup(t, "shop")
		m.sleepUntil(dayAt(1, 6, 0))
		m.stop()
		box.setAnswer(nil)
		m.start()
		m.sleep(2 * time.Minute)
		if n := box.last(); n.Event != backup.EventOverdue || n.Told != 1 {
			t.Errorf("told of %+v", n)
		}
		m.sleep(10 * time.Hour)
		if box.events() != "overdue" {
			t.Errorf("told of %s", box.events())
		}
	})
	inBubble(t, "as often as wanted", func(t *testing.T) {
		for remind, want := range map[time.Duration]string{
			-1:            "01 05:00 overdue",
			8 * time.Hour: "01 05:00 overdue, 01 13:00 overdue, 01 21:00 overdue",
		} {
			m, box := watcher(t, func(c *backup.Config) {
				c.Remind, c.Jobs[0].Schedule, c.Jobs[0].OverdueAfter = remind, backup.Schedule{}, 5*time.Hour
			})
			from := time.Now().Truncate(24 * time.Hour)
			m.start()
			m.RunBackup(t, "shop")
			m.sleepUntil(from.Add(23 * time.Hour))
			if got := box.when(watched...); !strings.HasSuffix(strings.ReplaceAll(got, "02 ", "01 "), want) {
				t.Errorf("reminded after %v: told of %s", remind, got)
			}
			m.stop()
			m.sleepUntil(from.Add(24 * time.Hour))
		}
	})
	inBubble(t, "a job that never ran", func(t *testing.T) {
		for _, by := range []func(*backup.Config){
			func(c *backup.Config) { c.Jobs[0].Stall, c.Jobs[0].Timeout = -1, 100*time.Hour },
			func(c *backup.Config) { c.Jobs[0].Schedule, c.Jobs[0].OverdueAfter = backup.Schedule{}, 28*time.Hour },
		} {
			m, box := watcher(t, by)
			from := time.Now()
			m.DB.Hold("data")
			m.start()
			m.sleepUntil(from.Add(40 * time.Hour))
			n := box.last()
			if box.events() != "overdue" || !n.LastGood.IsZero() || !strings.Contains(n.Text, "Reason:      there is no good backup\n") {
				t.Errorf("told of %s: %s", box.events(), n.Text)
			}
			m.stop()
		}
	})
}

// TestOverdueAfterOff: what was missed is caught up before anybody is alarmed; when that fails, it is told.
func TestOverdueAfterOff(t *testing.T) {
	for _, c := range []struct {
		name string
		db   func(*machine)
		want string
	}{
		{"it works", func(m *machine) {}, ""},
		{"it takes an hour", func(m *machine) {
			_, release := m.DB.Hold("data")
			time.AfterFunc(time.Hour, release)
		}, ""},
		{"it fails", func(m *machine) { m.DB.Fail(errors.New("no such database")) }, "05 12:00 failure, 05 12:01 overdue"},
		{"it fails late", func(m *machine) {
			m.DB.Do(failAfter(time.Hour))
		}, "05 13:00 failure, 05 13:00 overdue"},
		{"it does not end", func(m *machine) { m.DB.Hold("data") }, "05 13:00 failure, 05 13:00 overdue"},
	} {
		inBubble(t, c.name, func(t *testing.T) {
			m, box := watcher(t)
			m.start()
			m.sleepUntil(dayAt(1, 12, 0))
			m.stop()
			m.sleepUntil(dayAt(5, 12, 0))
			c.db(m)
			m.start()
			m.sleepUntil(dayAt(5, 23, 0))
			box.want(t, c.want)
		})
	}
}

func failAfter(d time.Duration) func(context.Context, io.Writer, *backup.Task) error {
	return func(ctx context.Context, w io.Writer, _ *backup.Task) error {
		time.Sleep(d)
		return errors.New("no such database")
	}
}

// TestOverdueInCluster: the members tell it once together, go on when the one that told is gone, and tell the end once.
func TestOverdueInCluster(t *testing.T) {
	inBubble(t, "three members", func(t *testing.T) {
		var box inbox
		db := backuptest.NewSource("data")
		c := newCluster(t, 1)
		c.change = func(config *backup.Config) {
			told(&box)(config)
			config.Jobs = config.Jobs[:1]
			config.Jobs[0].Sources[0].Source, config.Jobs[0].Stall = db, -1
		}
		members := []*member{c.join("a", 0), c.join("b", time.Minute), c.join("c", -time.Minute)}
		time.Sleep(90 * time.Minute)
		_, release := db.Hold("data")
		time.Sleep(24*time.Hour + 30*time.Minute - 90*time.Minute)
		if box.events() != "overdue" {
			t.Errorf("told of %s", box.events())
		}
		for _, m := range members[:2] { // those that have no run, or the one that has
			backuptest.Close(t, m.Service)
		}
		time.Sleep(24 * time.Hour)
		db.Set("data")
		release()
		time.Sleep(2 * time.Hour)
		if got := strings.ReplaceAll(box.events(), "failure ", ""); got != "overdue overdue recovered" && got != "overdue overdue overdue recovered" {
			t.Errorf("told of %s", box.events())
		}
		backuptest.Close(t, members[2].Service)
	})
}
