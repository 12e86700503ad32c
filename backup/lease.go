package backup

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"path"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddy-backup/caddy-backup/repo"
)

// errTakenOver ends a run that the other members hold for dead, and may have begun again.
var errTakenOver = errors.New("another member has taken this run for dead: this process had stopped, or could not reach Caddy's storage")

const (
	leaseRoot = "backup/leases"
	// beat is how often a lease is renewed, and looked at.
	beat = 10 * time.Second
	// silent is after how many looks at a lease that did not change its holder is taken for dead: about a minute.
	silent = 6
	// assured is for how long after a renewal nobody can have taken the holder for dead.
	assured = 3 * beat
)

// pulse is what a lease says: how the run stands, and a beat that changes each time. It is a file beside the record of the
// run, which only its member writes, so that nobody writes over the verdict of another.
type pulse struct {
	Beat     time.Time `json:"beat"` // nobody compares it with another clock
	Step     string    `json:"step,omitempty"`
	Progress Progress  `json:"progress"`
	Locks    []repo.ID `json:"locks,omitempty"` // of the process, in the repository of the run
}

func leaseKey(host, id string) string { return path.Join(leaseRoot, safeName(host), id+".json") }

func loadPulse(ctx context.Context, store Store, key string) (p pulse, err error) {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	data, err := store.Load(ctx, key)
	if err == nil {
		err = json.Unmarshal(data, &p)
	}
	return p, err
}

// lease is held by a run of this process in a cluster.
type lease struct {
	writing turns // so that what is written last tells of all locks
	dropped atomic.Bool
	mu      sync.Mutex
	renewed time.Time
}

// takeLease writes down a run that is about to begin: the lease first, so that nobody finds the run without.
func (r *runner) takeLease() error {
	if err := r.renew(r.ctx); err != nil {
		return err
	}
	return r.service.history.save(r.snapshot(), r.service.journal.id())
}

// withdraw removes what takeLease wrote.
func (r *runner) withdraw() {
	r.lease.mu.Lock()
	taken := !r.lease.renewed.IsZero()
	r.lease.mu.Unlock()
	if taken {
		r.service.history.remove(r.run.ID)
		r.dropLease()
	}
}

// renew writes the lease, unless it was dropped.
func (r *runner) renew(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	leave, err := r.lease.writing.enter(ctx)
	if err != nil {
		return err
	}
	defer leave()
	if r.lease.dropped.Load() {
		return nil
	}
	now, run := r.service.now(), r.snapshot()
	data, err := json.Marshal(pulse{now.UTC(), run.Step, run.Progress, r.locks()})
	if err == nil {
		err = r.service.history.usedStore().Store(ctx, leaseKey(r.setup.Host, run.ID), data)
	}
	if err != nil {
		return err
	}
	r.lease.mu.Lock()
	defer r.lease.mu.Unlock()
	r.lease.renewed = now.Round(0) // by the clock on the wall, which goes on while the machine sleeps
	return nil
}

// tellLocks has the others of a cluster know of a lock before it is written: should this process die with it, they remove it.
// What is wrong the next beat tells. A run that others took for dead has no lease any more, and must not be sure of
// itself again by getting one.
func (r *runner) tellLocks(ctx context.Context) {
	if r.setup.Cluster && r.ours() {
		_ = r.renew(context.WithoutCancel(ctx)) // a run that ends may still hold it
	}
}

// locks lists the locks that this process has in the repository of the run.
func (r *runner) locks() []repo.ID {
	c, err := r.setup.repository(r.run.Repository)
	if err != nil {
		return nil
	}
	return r.service.journal.locksAt(c.Storage.Location())
}

// dropLease removes the lease for good. Another run of this process may be about to tell of a lock in it: what it wrote behind us
// nobody would remove.
func (r *runner) dropLease() {
	r.lease.dropped.Store(true)
	ctx, cancel := context.WithTimeout(context.Background(), storeTimeout)
	defer cancel()
	if leave, err := r.lease.writing.enter(ctx); err == nil {
		defer leave()
	}
	r.service.history.delete(leaseKey(r.setup.Host, r.run.ID), "cannot remove a lease", r.run.ID)
}

// hold renews the lease until the func that it returns is called, and then removes it.
func (r *runner) hold() (release func()) {
	if !r.setup.Cluster {
		return func() {}
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			timer := r.service.newTimer(beat)
			select {
			case <-timer.C:
				r.beat(ctx)
			case <-ctx.Done():
				timer.Stop()
				return
			}
		}
	}()
	return func() {
		stop()
		<-ended
		r.dropLease()
	}
}

func (r *runner) beat(ctx context.Context) {
	if r.lost(ctx) {
		return
	}
	if err := r.renew(ctx); err != nil && ctx.Err() == nil {
		r.log.Warn("cannot renew the lease of this run; the other members will take it for dead", "error", err)
	}
}

// ours reports whether the run is still this process's to make, and ends it if it is not. In doubt it is: a snapshot too many
// costs less than one too few.
func (r *runner) ours() bool {
	if !r.setup.Cluster {
		return true
	}
	r.lease.mu.Lock()
	age := r.service.now().Round(0).Sub(r.lease.renewed)
	r.lease.mu.Unlock()
	return age >= 0 && age < assured || !r.lost(context.Background())
}

// lost looks whether another member has written down the end of this run.
func (r *runner) lost(ctx context.Context) bool {
	h := r.service.history
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	rec, err := loadRecord(ctx, h.usedStore(), h.newRecord(r.snapshot(), "").key)
	if err != nil || !rec.State.Done() {
		return false
	}
	h.put(rec)
	r.cancel(errTakenOver)
	return true
}

// isMissing tells what is not there from what cannot be read.
func isMissing(err error) bool { return errors.Is(err, fs.ErrNotExist) }
