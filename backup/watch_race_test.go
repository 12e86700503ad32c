package backup_test

import (
	"context"
	"iter"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-backup/caddy-backup/backup"
	"github.com/caddy-backup/caddy-backup/backup/backuptest"
	"github.com/caddy-backup/caddy-backup/repo"
)

// disturbed is a storage in which something happens before a folder is listed.
type disturbed struct {
	backup.Storage
	before func(dir string)
}

func (d *disturbed) List(ctx context.Context, dir string) iter.Seq2[repo.FileInfo, error] {
	d.before(dir)
	return d.Storage.List(ctx, dir)
}

// TestWatchBesideBackup: a check that looked before a backup ended neither misses its snapshot nor makes the watch forget it.
func TestWatchBesideBackup(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := &disturbed{before: func(string) {}}
		e := backuptest.New(t, func(c *backup.Config) {
			st.Storage = c.Repositories[0].Storage
			c.Repositories[0].Storage = st
		})
		e.Backed(t, "shop")
		time.Sleep(time.Hour)
		var made backup.Snapshot
		st.before = func(dir string) {
			if dir == "keys" { // the check has listed the snapshots
				st.before = func(string) {}
				made = e.Backed(t, "shop")
			}
		}
		if run := runCheck(t, e, false); run.Seen == nil || len(run.Seen.Alarms) != 0 {
			t.Errorf("nothing is gone: %+v", run.Seen)
		}
		if err := e.Storage.Delete(t.Context(), "snapshots/"+made.ID); err != nil {
			t.Fatal(err)
		}
		if run := runCheck(t, e, false); run.Seen == nil || len(run.Seen.Alarms) != 1 {
			t.Errorf("nobody noticed that snapshot %s is gone: %+v", made.ID, run.Seen)
		}
	})
}
