package backup_test

import (
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/caddy-backup/caddy-backup/backup"
	"github.com/caddy-backup/caddy-backup/backup/backuptest"
	"github.com/caddy-backup/caddy-backup/storage/storagetest"
)

// runCheck checks the repository and returns the ended run.
func runCheck(t *testing.T, e *backuptest.Env, readData bool) backup.Run {
	t.Helper()
	run := must(e.Check(t.Context(), "tester", backup.CheckRequest{ReadData: readData}))(t)
	return e.Wait(t, run.ID)
}

// dump is large enough that the pack which holds it is larger than the one of the trees.
var dump = func() string {
	data := make([]byte, 64<<10)
	rand.NewChaCha8([32]byte{}).Read(data)
	return string(data)
}()

// flipPack changes a bit in the largest pack, and names it.
func flipPack(t *testing.T, e *backuptest.Env) string {
	t.Helper()
	name := slices.MaxFunc(storagetest.Names(t, e.Storage, "data"), func(a, b string) int {
		return len(storagetest.Read(t, e.Storage, a)) - len(storagetest.Read(t, e.Storage, b))
	})
	storagetest.Flip(t, e.Storage, name, 20*8)
	return name
}

// TestDamagedPack has a bit flip in a stored pack. Once a check of all data has found it, backups store again what it
// held, in this process and in the next, and health stays red until a check of all data is ok.
func TestDamagedPack(t *testing.T) {
	for name, life := range map[string]func(*testing.T, *backuptest.Env) *backuptest.Env{
		"same process":    func(_ *testing.T, e *backuptest.Env) *backuptest.Env { return e },
		"after a restart": func(t *testing.T, e *backuptest.Env) *backuptest.Env { return reopen(t, e) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { damagedPack(t, life) })
		})
	}
}

func damagedPack(t *testing.T, life func(*testing.T, *backuptest.Env) *backuptest.Env) {
	e := backuptest.New(t)
	e.DB.Set(dump)
	first := e.Backed(t, "shop")
	bad := flipPack(t, e)
	if run := runCheck(t, e, false); run.State != backup.StateOK || run.ReadData ||
		!strings.HasPrefix(run.Summary, "the structure is whole; the data were not read: 1 snapshot, ") {
		t.Fatalf("a check of the structure cannot see it: %+v", run)
	}
	failed := runCheck(t, e, true)
	if failed.State != backup.StateFailed || !failed.ReadData || failed.Summary != "" ||
		!strings.Contains(failed.Error, ": 1 error was found, the first: data/") ||
		!strings.HasSuffix(failed.Error, "caddy backup repair index --repository default, then caddy backup repair snapshots --repository default") {
		t.Fatalf("%+v", failed)
	}
	e = life(t, e)
	if job := must(e.Job(t.Context(), "shop"))(t); job.Standing != backup.StandingDamaged {
		t.Errorf("%s %q", job.Standing, job.Reasons)
	}
	for _, s := range []backup.Snapshot{e.Backed(t, "shop"), e.Backed(t, "shop"), first} {
		if got := string(e.Read(t, s.ID, "db.sql")); got != dump {
			t.Errorf("snapshot %s has %d bytes", s.ID, len(got))
		}
		target := t.TempDir()
		run := must(e.Restore(t.Context(), "tester", backup.RestoreRequest{Snapshot: s.ID, Path: "db.sql", Target: target}))(t)
		if run = e.Wait(t, run.ID); run.State != backup.StateOK ||
			run.Summary != "/shop/db.sql of snapshot "+s.ID[:8]+" restored: 64 KiB" {
			t.Errorf("%+v", run)
		}
		if got := must(os.ReadFile(filepath.Join(target, "db.sql")))(t); string(got) != dump {
			t.Errorf("restored %d bytes", len(got))
		}
	}
	if run := runCheck(t, e, false); run.State != backup.StateOK {
		t.Fatalf("%+v", run)
	}
	requireRed(t, e, failed.ID)
	if job := must(e.Job(t.Context(), "shop"))(t); job.Standing != backup.StandingOK {
		t.Errorf("the backup stored again what it needed: %s %q", job.Standing, job.Reasons)
	}
	again := runCheck(t, e, true)
	if again.State != backup.StateFailed {
		t.Errorf("the pack is still there: %+v", again)
	}
	for _, f := range again.Findings {
		if f.Error && f.File != bad {
			t.Errorf("%+v", f)
		}
	}
	requireRed(t, life(t, e), again.ID)
}

func requireRed(t *testing.T, e *backuptest.Env, check string) {
	t.Helper()
	if h := e.Health(t.Context()); h.OK || !strings.Contains(strings.Join(h.Reasons, " "), "repository default: the last check failed") {
		t.Errorf("%+v", h)
	}
	if last := must(e.Repositories(t.Context()))(t)[0].LastCheck; last == nil || last.ID != check {
		t.Errorf("%+v", last)
	}
}

// TestRepairedPack brings the damaged pack back: a check of all data clears what was remembered.
func TestRepairedPack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := backuptest.New(t)
		e.DB.Set(dump)
		e.Backed(t, "shop")
		flipPack(t, e)
		failed := runCheck(t, e, true)
		requireRed(t, e, failed.ID)
		flipPack(t, e)
		if run := runCheck(t, e, false); run.State != backup.StateOK {
			t.Fatalf("%+v", run)
		}
		requireRed(t, e, failed.ID)
		if memory := must(e.Store.Load(t.Context(), backup.MemoryKey("memory")))(t); !strings.Contains(string(memory), `"damaged":["`) {
			t.Errorf("%s", memory)
		}
		if run := runCheck(t, e, true); run.State != backup.StateOK || !strings.HasPrefix(run.Summary, "every byte was verified: 1 snapshot, ") {
			t.Fatalf("%+v", run)
		}
		if h := e.Health(t.Context()); !h.OK {
			t.Errorf("%+v", h)
		}
		if memory := must(e.Store.Load(t.Context(), backup.MemoryKey("memory")))(t); strings.Contains(string(memory), "damaged") {
			t.Errorf("%s", memory)
		}
	})
}

// TestMissingPack loses a pack: a check of the structure sees that, and the next backup stores what it held again.
func TestMissingPack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := backuptest.New(t)
		e.Backed(t, "shop")
		for _, name := range storagetest.Names(t, e.Storage, "data") {
			storagetest.Remove(t, e.Storage, name)
		}
		if run := runCheck(t, e, false); run.State != backup.StateFailed {
			t.Fatalf("%+v", run)
		}
		second := e.Backed(t, "shop")
		if got := string(e.Read(t, second.ID, "db.sql")); got != "create table customer;\n" {
			t.Errorf("%q", got)
		}
	})
}

// TestDamagedPackStoreDown cannot remember what a check found. This process knows it all the same.
func TestDamagedPackStoreDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := backuptest.New(t)
		e.DB.Set(dump)
		e.Backed(t, "shop")
		flipPack(t, e)
		e.Store.Fail(errors.New("the store is down"))
		if run := runCheck(t, e, true); run.State != backup.StateFailed {
			t.Fatalf("%+v", run)
		}
		e.Store.Fail(nil)
		if s := e.Backed(t, "shop"); string(e.Read(t, s.ID, "db.sql")) != dump {
			t.Error("it was not stored again")
		}
	})
}
