package backup

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

// slowStore is a mapStore that takes a second for each value.
type slowStore struct{ mapStore }

func (s slowStore) Store(ctx context.Context, key string, value []byte) error {
	time.Sleep(time.Second)
	return s.mapStore.Store(ctx, key, value)
}

// leasing is a run in a cluster, whose lease is in the Store.
func leasing(t *testing.T, store Store) *runner {
	t.Helper()
	s := New()
	s.journal = newJournal("", quiet)
	s.history.use(store, "h", "home")
	run := Run{ID: "x", Kind: KindBackup, State: StateRunning}
	r := &runner{service: s, setup: &setup{Config: Config{Host: "h", Cluster: true}}, run: run, lease: lease{writing: make(turns, 1)}}
	r.log = quiet
	r.ctx, r.cancel = context.WithCancelCause(t.Context())
	if err := r.takeLease(); err != nil {
		t.Fatal(err)
	}
	return r
}

// TestLeaseDropped: what is told of a lock just when the lease is dropped, or later, does not leave it there for ever.
func TestLeaseDropped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := slowStore{mapStore{}}
		r := leasing(t, store)
		if store.mapStore[leaseKey("h", "x")] == "" {
			t.Fatal("there is no lease")
		}
		go r.tellLocks(t.Context())
		synctest.Wait()
		r.dropLease()
		r.tellLocks(t.Context())
		if store.mapStore[leaseKey("h", "x")] != "" {
			t.Error("the lease is still there")
		}
	})
}

// TestLeaseTakenOver: a run that others took for dead while it stood still is not sure of itself again when a lock is told of.
func TestLeaseTakenOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := mapStore{}
		r := leasing(t, store)
		time.Sleep(2 * time.Minute)
		others := newHistory(&liveLog{}, time.Now)
		others.use(store, "h", "elsewhere")
		run := r.snapshot()
		run.State, run.Ended = StateInterrupted, time.Now()
		if err := others.save(run, ""); err != nil {
			t.Fatal(err)
		}
		delete(store, leaseKey("h", "x"))
		r.tellLocks(t.Context())
		if _, found := store[leaseKey("h", "x")]; found || r.ours() || context.Cause(r.ctx) != errTakenOver {
			t.Errorf("lease: %v, ours: %v, %v", found, r.ours(), context.Cause(r.ctx))
		}
	})
}
