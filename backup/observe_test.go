package backup_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-backup/caddy-backup/backup"
	"github.com/caddy-backup/caddy-backup/backup/backuptest"
)

// heard collects what an observer is told.
type heard struct {
	mu   sync.Mutex
	list []backup.Ending
}

func (h *heard) add(e backup.Ending) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.list = append(h.list, e)
}

func (h *heard) all() []backup.Ending {
	h.mu.Lock()
	defer h.mu.Unlock()
	return append([]backup.Ending(nil), h.list...)
}

// TestObserve: each run is told of once, in the order of their ends, with what was before it.
func TestObserve(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var h heard
		e := backuptest.New(t, func(c *backup.Config) { c.Observe = h.add })
		var ids []string
		run := func() {
			ids = append(ids, e.RunBackup(t, "shop").ID)
			time.Sleep(time.Hour)
		}
		e.Backed(t, "shop")
		time.Sleep(time.Hour)
		e.DB.Fail(errors.New("the database is gone"))
		run()
		run()
		e.DB.Set("data")
		run()
		run()
		synctest.Wait()
		got := h.all()
		if len(got) != 5 {
			t.Fatalf("told of %d runs, want 5", len(got))
		}
		for i, id := range ids {
			if got[i+1].Run.ID != id || got[i+1].Run.Log != nil {
				t.Errorf("%d: told of %s, want %s without its log", i+1, got[i+1].Run.ID, id)
			}
		}
		for i, want := range []struct {
			bad       int
			recovered bool
		}{{0, false}, {1, false}, {2, false}, {2, true}, {0, false}} {
			if got[i].Bad != want.bad || got[i].Recovered() != want.recovered {
				t.Errorf("run %d: %d bad ones, recovered %v; want %+v", i, got[i].Bad, got[i].Recovered(), want)
			}
		}
		if since := got[3].BadSince; !since.Equal(got[1].Run.Ended) || !got[2].LastGood.Equal(got[0].Run.Ended) {
			t.Errorf("bad since %v, last good %v", since, got[2].LastGood)
		}
	})
}

// TestObserverHangsAndPanics: neither changes what becomes of a run, nor keeps one waiting; the end of the Service waits for
// the observer, but not for ever.
func TestObserverHangsAndPanics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hang, calls := make(chan struct{}), 0
		e := backuptest.New(t, func(c *backup.Config) {
			c.Observe = func(backup.Ending) {
				if calls++; calls == 1 {
					panic("a mistake")
				}
				<-hang
			}
		})
		for range 4 {
			e.Backed(t, "shop")
		}
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		if err := e.Close(ctx); err == nil {
			t.Error("closed as if all had been told")
		}
		close(hang)
		synctest.Wait()
		if calls != 4 {
			t.Errorf("told of %d runs, want 4", calls)
		}
	})
}

// TestObserveInterrupted: what is cut off by the end of the Service is told before it is over.
func TestObserveInterrupted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var h heard
		e := backuptest.New(t, func(c *backup.Config) { c.Observe = h.add })
		entered, _ := e.DB.Hold("data")
		if _, err := e.Backup(t.Context(), "alice", "shop"); err != nil {
			t.Fatal(err)
		}
		<-entered
		if err := e.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := h.all(); len(got) != 1 || got[0].Run.State != backup.StateInterrupted || got[0].Bad != 1 {
			t.Errorf("told: %+v", got)
		}
	})
}

// TestObserveAfterReload: a run that was started before a change of the configuration is told to the new one.
func TestObserveAfterReload(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var before, after heard
		e := backuptest.New(t, func(c *backup.Config) { c.Observe = before.add })
		entered, release := e.DB.Hold("data")
		run, err := e.Backup(t.Context(), "alice", "shop")
		if err != nil {
			t.Fatal(err)
		}
		<-entered
		next := e.Config
		next.Observe = after.add
		detach, err := e.Attach(next)
		if err != nil {
			t.Fatal(err)
		}
		defer detach()
		e.Detach()
		release()
		e.Wait(t, run.ID)
		synctest.Wait()
		if len(before.all()) != 0 || len(after.all()) != 1 {
			t.Errorf("told the old one %d, the new one %d times", len(before.all()), len(after.all()))
		}
	})
}

// TestObserveCrashed: a run whose process died is told at the next start, once, and to people too.
func TestObserveCrashed(t *testing.T) {
	store := &backuptest.Store{}
	const key = "backup/runs/shop-server/20240506t000000z-0000.json"
	record := `{"id":"20240506t000000z-0000","kind":"backup","job":"shop","repository":"default","state":"running","created":"2024-05-06T00:00:00Z","owner":"7-dead"}`
	if err := store.Store(t.Context(), key, []byte(record)); err != nil {
		t.Fatal(err)
	}
	for start, want := range []int{1, 0} {
		synctest.Test(t, func(t *testing.T) {
			var h heard
			var box inbox
			backuptest.New(t, told(&box), func(c *backup.Config) { c.Store, c.Observe = store, h.add })
			synctest.Wait()
			if got := h.all(); len(got) != want || want == 1 && got[0].Run.State != backup.StateInterrupted {
				t.Errorf("start %d: told %+v", start, got)
			}
			if want == 1 && (box.events() != "failure" || box.list[0].Title != "backup of shop on shop-server was interrupted") {
				t.Errorf("told people %q", box.events())
			}
		})
	}
}
