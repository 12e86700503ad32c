package backup_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/caddy-backup/caddy-backup/backup"
	"github.com/caddy-backup/caddy-backup/backup/backuptest"
	"github.com/caddy-backup/caddy-backup/storage/storagetest"
)

func runSubset(t *testing.T, e *backuptest.Env, part string) backup.Run {
	t.Helper()
	run := must(e.Check(t.Context(), "tester", backup.CheckRequest{Subset: part}))(t)
	return e.Wait(t, run.ID)
}

// grown has several packs of data.
func grown(t *testing.T) *backuptest.Env {
	e := backuptest.New(t)
	for i := range 4 {
		data := make([]byte, 64<<10)
		rand.NewChaCha8([32]byte{byte(i)}).Read(data)
		e.DB.Set(string(data))
		e.Backed(t, "shop")
	}
	return e
}

// TestSubsets read everything in the end, across restarts, and say so.
func TestSubsets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := grown(t)
		for i := range 4 {
			run := runSubset(t, e, "25%")
			if run.State != backup.StateOK || !run.ReadData || run.Subset != "25%" {
				t.Fatalf("%+v", run)
			}
			if all := strings.Contains(run.Summary, "all data at least once since 2000-01-01"); i == 3 && !all {
				t.Errorf("check %d: %s", i, run.Summary)
			}
			e = reopen(t, e)
		}
		if run := runCheck(t, e, true); !strings.HasPrefix(run.Summary, "every byte was verified: 4 snapshots, ") {
			t.Errorf("%s", run.Summary)
		}
	})
}

// TestSubsetDisproves: a damaged pack that any check found stays an error until it was read again and is whole, however
// little else a check reads.
func TestSubsetDisproves(t *testing.T) {
	for _, store := range []string{"works", "was down"} {
		t.Run("the store "+store, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				e := grown(t)
				flipPack(t, e)
				failed := runCheck(t, e, true)
				if failed.State != backup.StateFailed {
					t.Fatalf("%+v", failed)
				}
				if store == "was down" { // what was remembered of the packs is lost, the history is not
					if err := e.Store.Delete(t.Context(), backup.MemoryKey("memory")); err != nil {
						t.Fatal(err)
					}
					e = reopen(t, e)
				}
				again := runSubset(t, e, "1")
				if again.State != backup.StateFailed {
					t.Fatalf("the damaged pack was not read again: %+v", again)
				}
				requireRed(t, e, again.ID)
				flipPack(t, e)
				if run := runSubset(t, e, "1"); run.State != backup.StateOK {
					t.Fatalf("%+v", run)
				}
				if h := e.Health(t.Context()); !h.OK {
					t.Errorf("%+v", h)
				}
			})
		})
	}
}

// TestSubsetFindsDamage within one round of checks, and never says that all is proven meanwhile.
func TestSubsetFindsDamage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := grown(t)
		bad := flipPack(t, e)
		found := false
		for range 10 {
			run := runSubset(t, e, "10%")
			for _, f := range run.Findings {
				found = found || f.Error && f.File == bad
			}
			if strings.Contains(run.Summary, "all data") {
				t.Errorf("%+v", run)
			}
		}
		if !found {
			t.Error("ten checks of 10% have not found it")
		}
	})
}

// TestSubsetStoreDown checks without a Store: it cannot rotate then, but it is no failure.
func TestSubsetStoreDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := grown(t)
		e.Store.Fail(errors.New("the store is down"))
		if run := runSubset(t, e, "50%"); run.State != backup.StateOK {
			t.Errorf("%+v", run)
		}
		e.Store.Fail(nil)
		storagetest.Write(t, e.Storage, "data/00/left-over", []byte("x"))
		if run := runSubset(t, e, "50%"); run.State != backup.StateOK {
			t.Errorf("%+v", run)
		}
	})
}

func TestSubsetRefused(t *testing.T) {
	e := backuptest.New(t)
	if _, err := e.Check(t.Context(), "tester", backup.CheckRequest{Subset: "half"}); !errors.Is(err, backup.ErrInvalid) {
		t.Error(err)
	} else if !strings.Contains(fmt.Sprint(err), "5%") {
		t.Error(err)
	}
}
