package backup_test

import (
	"path/filepath"
	"testing"

	"github.com/caddy-backup/caddy-backup/backup"
	"github.com/caddy-backup/caddy-backup/backup/backuptest"
	"github.com/caddy-backup/caddy-backup/storage/storagetest"
)

// TestDamagedIndexStopsOnlyWhatNeedsIt flips a bit of the index file of the second snapshot: the first one can be
// downloaded and restored, and backups are refused, since restic could not read on either.
func TestDamagedIndexStopsOnlyWhatNeedsIt(t *testing.T) {
	e := backuptest.New(t)
	first := e.Backed(t, "shop")
	needed := storagetest.Names(t, e.Storage, "index")[0]
	e.DB.Set("something else")
	e.Backed(t, "shop")
	for _, name := range storagetest.Names(t, e.Storage, "index") {
		if name != needed {
			storagetest.Flip(t, e.Storage, name, 100)
		}
	}
	later := reopen(t, e)
	o, err := later.Open(t.Context(), "", first.ID, "db.sql")
	if err != nil {
		t.Fatal(err)
	}
	o.Close()
	run, err := later.Restore(t.Context(), "a", backup.RestoreRequest{
		Snapshot: first.ID, Path: "db.sql", Target: filepath.Join(t.TempDir(), "new"),
	})
	if err != nil {
		t.Fatal(err)
	}
	if run = later.Wait(t, run.ID); run.State != backup.StateOK {
		t.Errorf("restore: %s %s", run.State, run.Error)
	}
	if run := later.RunBackup(t, "shop"); run.State != backup.StateFailed {
		t.Errorf("a backup over a damaged index: %s", run.State)
	}
}
