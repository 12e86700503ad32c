package backup_test

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/caddy-backup/caddy-backup/backup"
	"github.com/caddy-backup/caddy-backup/backup/backuptest"
	"github.com/caddy-backup/caddy-backup/internal/realtest"
	"github.com/caddy-backup/caddy-backup/storage"
	"github.com/caddy-backup/caddy-backup/storage/storagetest"
)

// TestDamagedIndexIsMended flips a bit of the index file of the second snapshot: the first one can be
// downloaded and restored, the other one too, from what the packs say; and the next backup first replaces the file, since
// restic could read nothing while it is there.
func TestDamagedIndexIsMended(t *testing.T) {
	e := backuptest.New(t)
	first := e.Backed(t, "shop")
	needed := storagetest.Names(t, e.Storage, "index")[0]
	e.DB.Set("something else")
	second := e.Backed(t, "shop")
	for _, name := range storagetest.Names(t, e.Storage, "index") {
		if name != needed {
			storagetest.Flip(t, e.Storage, name, 100)
		}
	}
	later := reopen(t, e)
	for id, want := range map[string]string{first.ID: "create table customer;\n", second.ID: "something else"} {
		if got := string(later.Read(t, id, "db.sql")); got != want {
			t.Errorf("%q", got)
		}
	}
	run, err := later.Restore(t.Context(), "a", backup.RestoreRequest{
		Snapshot: first.ID, Path: "db.sql", Target: filepath.Join(t.TempDir(), "new"),
	})
	if err != nil {
		t.Fatal(err)
	}
	if run = later.Wait(t, run.ID); run.State != backup.StateOK {
		t.Errorf("restore: %s %s", run.State, run.Error)
	}
	mended := later.RunBackup(t, "shop")
	if mended.State != backup.StateOK || !slices.ContainsFunc(mended.Log, func(l backup.LogLine) bool {
		return l.Level == "WARN" && strings.HasPrefix(l.Text, "index files were damaged or missing and were replaced")
	}) {
		t.Errorf("%+v", mended)
	}
	if run := runCheck(t, later, true); run.State != backup.StateOK || len(run.Findings) > 0 {
		t.Errorf("%+v", run)
	}
	dir := filepath.Join(t.TempDir(), "repo")
	storagetest.Copy(t, storage.NewLocal(dir), e.Storage)
	realtest.Restic(t, dir, backuptest.Password, "check", "--read-data")
}

// TestMissingIndexIsMended takes the index away: the next backup lists again what is there, rather than store it once more
// beside snapshots that nobody can read.
func TestMissingIndexIsMended(t *testing.T) {
	e := backuptest.New(t)
	e.Backed(t, "shop")
	e.DB.Set("something else")
	e.Backed(t, "shop")
	packs := len(storagetest.Names(t, e.Storage, "data"))
	for _, name := range storagetest.Names(t, e.Storage, "index") {
		storagetest.Remove(t, e.Storage, name)
	}
	later := reopen(t, e)
	if run := later.RunBackup(t, "shop"); run.State != backup.StateOK || !run.Unchanged {
		t.Errorf("%+v", run)
	}
	if run := runCheck(t, later, true); run.State != backup.StateOK || len(run.Findings) > 0 {
		t.Errorf("%+v", run)
	}
	if n := len(storagetest.Names(t, e.Storage, "data")); n > packs+2 {
		t.Errorf("%d packs became %d", packs, n)
	}
}
