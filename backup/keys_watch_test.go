package backup_test

import (
	"strings"
	"testing"
	"testing/synctest"

	"github.com/caddy-backup/caddy-backup/backup"
	"github.com/caddy-backup/caddy-backup/backup/backuptest"
	"github.com/caddy-backup/caddy-backup/internal/realtest"
	"github.com/caddy-backup/caddy-backup/repo"
	"github.com/caddy-backup/caddy-backup/storage/storagetest"
)

// TestForeignKeys tells keys that others added or removed from our own changes, also when both come together.
func TestForeignKeys(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := backuptest.New(t)
		e.Cheap()
		alarms := func(want ...string) {
			t.Helper()
			e.Backed(t, "shop")
			got := must(e.Repositories(t.Context()))(t)[0].Alarms
			if len(got) != len(want) {
				t.Fatalf("%q, want %q", got, want)
			}
			for i := range want {
				if !strings.Contains(got[i], want[i]+" by another program") {
					t.Errorf("%q, want %q", got[i], want[i])
				}
			}
		}
		alarms()
		done := keysChanged(t, e)
		done(e.AddKey(t.Context(), "tester", "", []byte("spare")))
		alarms()
		foreign := repo.Hash([]byte("foreign"))
		storagetest.Write(t, e.Storage, "keys/"+foreign.String(), []byte("foreign"))
		added := "the key " + foreign.Short() + " was added"
		alarms(added)
		done(e.AddKey(t.Context(), "tester", "", []byte("another")))
		alarms(added)
		for _, k := range must(e.Keys(t.Context(), ""))(t) {
			if !k.Current && k.ID != foreign {
				done(e.RemoveKey(t.Context(), "tester", "", k.ID.String()))
			}
		}
		alarms(added)
		storagetest.Remove(t, e.Storage, "keys/"+foreign.String())
		alarms()
		storagetest.Write(t, e.Storage, "keys/"+foreign.String(), []byte("foreign"))
		e.Wait(t, must(e.Check(t.Context(), "tester", backup.CheckRequest{AcceptFewer: true}))(t).ID)
		alarms()
		storagetest.Remove(t, e.Storage, "keys/"+foreign.String())
		alarms("the key " + foreign.Short() + " was removed")
	})
}

// TestKeyChangeCut dies at every operation of a change of the keys: what it got to is never taken for somebody else's
// doing, neither by the next backup nor behind another change.
func TestKeyChangeCut(t *testing.T) {
	if !testing.Short() { // the race detector makes them slow
		t.Run("then a backup", func(t *testing.T) { cutKeyChanges(t, false) })
	}
	t.Run("then another change", func(t *testing.T) { cutKeyChanges(t, true) })
}

func cutKeyChanges(t *testing.T, again bool) {
	k, step := realtest.Points(t)
	for more := true; more; k += step {
		synctest.Test(t, func(t *testing.T) {
			f := storagetest.NewFaulty(backuptest.Repository(t))
			e := newPlace(t, f, func(c *backup.Config) { c.Repositories[0].Password = []byte(backuptest.Password) })
			e.Backed(t, "shop")
			at := f.Count() + k
			f.Hook(func(op storagetest.Op) error {
				if op.N == at {
					e.Store.Fail(storagetest.ErrCrashed)
				}
				return nil
			})
			f.Crash(k, storagetest.After)
			e.Wait(t, must(e.AddKey(t.Context(), "tester", "", []byte("spare")))(t).ID)
			more = f.Fired() > 0
			f.Heal()
			f.Hook(nil)
			e.Store.Fail(nil)
			e = afterCrash(t, e)[0]
			if again {
				keysChanged(t, e)(e.AddKey(t.Context(), "tester", "", []byte("another")))
			}
			e.Backed(t, "shop")
			if h := e.Health(t.Context()); !h.OK {
				t.Errorf("at operation %d: %v", k, h.Reasons)
			}
		})
	}
}
