package backup_test

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddy-backup/caddy-backup/backup"
	"github.com/caddy-backup/caddy-backup/backup/backuptest"
	"github.com/caddy-backup/caddy-backup/storage"
)

// farDisk is a storage that cannot be reached for a while.
type farDisk struct {
	*storage.Memory
	away atomic.Bool
}

func (d *farDisk) Get(ctx context.Context, name string, off, n int64) ([]byte, error) {
	if d.away.Load() {
		return nil, errors.New("no route to the disk")
	}
	return d.Memory.Get(ctx, name, off, n)
}

// TestUpkeepTold: a check, or a prune, that its schedule asked for and that cannot be done is in health and told once, again
// every day, and when it is over.
func TestUpkeepTold(t *testing.T) {
	for _, kind := range []backup.Kind{backup.KindCheck, backup.KindPrune} {
		inBubble(t, string(kind), func(t *testing.T) {
			disk := &farDisk{Memory: backuptest.Repository(t)}
			var seen alarms
			m, box := watcher(t, func(c *backup.Config) {
				c.Repositories[0].Storage, c.Alarm = disk, seen.add
				c.Jobs[0].Schedule = schedule(t, "30 2 31 * *")
				if kind == backup.KindCheck {
					c.Repositories[0].Check.Schedule = schedule(t, "every 6h")
				} else {
					c.Repositories[0].Prune.Schedule = schedule(t, "every 6h")
				}
			})
			m.start()
			m.RunBackup(t, "shop")
			m.sleepUntil(dayAt(1, 7, 0))
			box.want(t, "")
			disk.away.Store(true)
			m.stop()
			m.start() // and opens the repository anew
			m.sleepUntil(dayAt(1, 19, 0))
			box.want(t, "01 12:00 maintenance_failed")
			if n := box.last(); n.Title != string(kind)+" of repository default on shop-server is FAILING" || n.Repository != "default" ||
				len(n.Reasons) != 1 || !strings.Contains(n.Reasons[0], "no route to the disk") || !strings.Contains(n.Text, "caddy backup "+string(kind)+" --repository default") {
				t.Errorf("%+v", n)
			}
			if h := m.Health(t.Context()); h.OK || len(h.Reasons) != 1 || !strings.HasPrefix(h.Reasons[0], "repository default: the last "+string(kind)+" failed 1 hour ago: ") {
				t.Errorf("%+v", h)
			}
			if _, err := m.Check(t.Context(), "alice", backup.CheckRequest{}); err != nil { // fails too, and changes nothing
				t.Fatal(err)
			}
			m.reload(false)
			m.stop()
			m.start()
			m.sleepUntil(dayAt(2, 13, 0))
			box.want(t, "01 12:00 maintenance_failed, 02 12:00 maintenance_failed")
			disk.away.Store(false)
			m.sleepUntil(dayAt(4, 13, 0))
			box.want(t, "01 12:00 maintenance_failed, 02 12:00 maintenance_failed, 02 18:00 recovered")
			if n := box.last(); n.Title != string(kind)+" of repository default on shop-server works again" || !strings.Contains(n.Text, "It was: ") {
				t.Errorf("%+v", n)
			}
			if h := m.Health(t.Context()); !h.OK {
				t.Errorf("%+v", h)
			}
			if got := seen.all(); got != "default maintenance_failed, default maintenance_failed, default recovered" {
				t.Errorf("observed: %s", got)
			}
		})
	}
}

// TestUpkeepOfNothing: what is not planned any more, what a person asked for, and a repository that was never made, are no trouble.
func TestUpkeepOfNothing(t *testing.T) {
	inBubble(t, "by hand", func(t *testing.T) {
		disk := &farDisk{Memory: backuptest.Repository(t)}
		disk.away.Store(true)
		m, box := watcher(t, func(c *backup.Config) {
			c.Repositories[0].Storage, c.Jobs[0].Schedule = disk, schedule(t, "30 2 31 * *")
		})
		m.start()
		run, err := m.Check(t.Context(), "alice", backup.CheckRequest{})
		if err != nil {
			t.Fatal(err)
		}
		if run = m.Wait(t, run.ID); run.State != backup.StateFailed {
			t.Fatal(run.State)
		}
		m.sleep(time.Hour)
		box.want(t, "")
	})
	inBubble(t, "no longer planned", func(t *testing.T) {
		disk := &farDisk{Memory: backuptest.Repository(t)}
		disk.away.Store(true)
		m, box := watcher(t, func(c *backup.Config) {
			c.Repositories[0].Storage, c.Jobs[0].Schedule = disk, schedule(t, "30 2 31 * *")
			c.Repositories[0].Check.Schedule = schedule(t, "every 6h")
		})
		m.start()
		m.sleepUntil(dayAt(1, 7, 0))
		box.want(t, "01 06:00 maintenance_failed")
		m.Config.Repositories = append([]backup.RepositoryConfig(nil), m.Config.Repositories...)
		m.Config.Repositories[0].Check = backup.CheckPlan{}
		m.reload(false)
		m.sleepUntil(dayAt(5, 7, 0))
		box.want(t, "01 06:00 maintenance_failed")
		if h := m.Health(t.Context()); len(h.Reasons) != 1 { // that there is no backup yet
			t.Errorf("%+v", h)
		}
	})
	inBubble(t, "never made", func(t *testing.T) {
		m, box := watcher(t, func(c *backup.Config) {
			c.Repositories[0].Storage = new(storage.Memory)
			c.Jobs[0].Schedule, c.Repositories[0].Check.Schedule = schedule(t, "30 2 31 * *"), schedule(t, "every 6h")
		})
		m.start()
		m.sleepUntil(dayAt(2, 7, 0))
		box.want(t, "")
	})
}
