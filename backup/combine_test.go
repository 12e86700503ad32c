package backup_test

import (
	"fmt"
	"log/slog"
	"testing"
	"testing/synctest"

	"github.com/caddy-backup/caddy-backup/backup"
	"github.com/caddy-backup/caddy-backup/backup/backuptest"
	"github.com/caddy-backup/caddy-backup/internal/realtest"
	"github.com/caddy-backup/caddy-backup/storage"
	"github.com/caddy-backup/caddy-backup/storage/storagetest"
)

// TestCutThenGoOn has the process die at every change that one operation makes to the storage, and then others go on where
// it left: each ends well, without a hand, and nothing is lost. Which snapshots there are is known at each step.
func TestCutThenGoOn(t *testing.T) {
	type step = func(*testing.T, *backuptest.Env) backup.Run
	prune := func(t *testing.T, e *backuptest.Env) backup.Run {
		return e.Wait(t, must(e.Prune(t.Context(), "tester", backup.PruneRequest{MaxUnused: "0%"}))(t).ID)
	}
	forget := func(t *testing.T, e *backuptest.Env) backup.Run {
		return e.Wait(t, must(e.Forget(t.Context(), "tester", backup.ForgetRequest{Job: "shop", Confirm: true}))(t).ID)
	}
	repair := func(t *testing.T, e *backuptest.Env) backup.Run {
		return e.Wait(t, must(e.Repair(t.Context(), "tester", backup.RepairRequest{What: backup.RepairIndex, ReadAll: true}))(t).ID)
	}
	backUp := func(t *testing.T, e *backuptest.Env) backup.Run { return e.RunBackup(t, "shop") }
	lose := func(t *testing.T, e *backuptest.Env) backup.Run { // an index file; and then nothing is known of it
		st := e.Config.Repositories[0].Storage
		storagetest.Remove(t, st, storagetest.Names(t, st, "index")[0])
		return backup.Run{State: backup.StateOK}
	}
	tests := []struct {
		name        string
		before, cut step
		then        []step
	}{
		{"prune, then backup, prune", forget, prune, []step{backUp, prune}},
		{"prune, then repair, backup", forget, prune, []step{repair, backUp}},
		{"forget, then prune", repair, forget, []step{prune, backUp}},
		{"backup, then prune, backup", forget, backUp, []step{prune, backUp}},
		{"repair, then repair, prune", lose, repair, []step{repair, prune, backUp}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for _, how := range []storagetest.How{storagetest.Before, storagetest.After} {
				k, step := realtest.Points(t)
				for more := true; more && !t.Failed(); k += step {
					synctest.Test(t, func(t *testing.T) { more = cutThenGoOn(t, k, how, tt.before, tt.cut, tt.then) })
				}
				if t.Failed() {
					t.Fatalf("%v change %d", how, k-step)
				}
				t.Logf("%d changes at the most, %v", k-step-1, how)
			}
		})
		if testing.Short() {
			return // the race detector makes them slow
		}
	}
}

// cutThenGoOn reports whether there is a k-th change.
func cutThenGoOn(t *testing.T, k int, how storagetest.How, before, cut func(*testing.T, *backuptest.Env) backup.Run,
	then []func(*testing.T, *backuptest.Env) backup.Run) bool {
	below := new(storage.Memory)
	backuptest.InitCheaply(t, below)
	f := storagetest.NewFaulty(below)
	media := backuptest.Folder{}
	e := newPlace(t, f, func(c *backup.Config) {
		c.Logger, c.Repositories[0].Password = slog.New(slog.DiscardHandler), []byte(backuptest.Password)
		c.Jobs[0].Retention = &backup.Retention{Last: 2, Manual: true}
		c.Jobs[0].Sources = append(c.Jobs[0].Sources, backup.NamedSource{Name: "media", Kind: "fake", Source: media})
	})
	acknowledged := map[string]string{} // what was dumped, by the path that holds it in a snapshot
	backUp := func(n int) {
		for i := range 6 {
			media[fmt.Sprint(i)] = fmt.Sprint("file ", i, " version ", n/(i+1)) // packs of which a part is needed
		}
		e.DB.Set(fmt.Sprint("dump ", n))
		if run := e.RunBackup(t, "shop"); run.State == backup.StateOK {
			acknowledged[run.Snapshot] = fmt.Sprint("dump ", n)
		}
	}
	for n := range 4 {
		backUp(n)
	}
	for _, s := range must(e.Retention(t.Context(), "shop"))(t).Snapshots {
		if !s.Kept {
			delete(acknowledged, s.ID)
		}
	}
	if run := before(t, e); run.State != backup.StateOK {
		t.Fatalf("%+v", run)
	}
	f.Inject(storagetest.Fault{At: k, Times: storagetest.Forever, How: how, Err: storagetest.ErrCrashed, Only: changes})
	f.Hook(func(op storagetest.Op) error { // once it is dead it does not read either
		if f.Fired() > 0 {
			return storagetest.ErrCrashed
		}
		return nil
	})
	e.DB.Set("dump, cut off")
	cut(t, e)
	hit := f.Fired() > 0
	f.Heal()
	e = afterCrash(t, e)[0]
	for _, next := range then {
		e.DB.Set("later dump")
		if run := next(t, e); run.State != backup.StateOK {
			t.Fatalf("%s after the cut: %s %s", run.Kind, run.State, run.Error)
		}
		requireClean(t, e)
		for id, want := range acknowledged {
			if got := string(e.Read(t, id, "/shop/db.sql")); got != want {
				t.Errorf("%q, want %q", got, want)
			}
		}
	}
	requireUnlocked(t, below)
	return hit
}

// changes passes what changes a storage.
func changes(op storagetest.Op) bool {
	return op.Kind == storagetest.Put || op.Kind == storagetest.Delete
}
