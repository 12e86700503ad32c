package repo

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/signal"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

const (
	// lockSettle is waited between writing the own lock and looking again, so that of two that write at once at least
	// one sees the other.
	lockSettle = 200 * time.Millisecond

	lockRefresh = 5 * time.Minute  // a lock is written anew this often
	lockTick    = 15 * time.Second // how often it is looked at whether that is due, by both clocks
	lockTimeout = time.Minute      // for one refresh, and for deleting at the end

	// lockExpiry is when a lock that could not be refreshed is given up. Others take it for dead after 30 minutes; by
	// then no work under it may be going on.
	lockExpiry = 20 * time.Minute
)

// Lock is a lock in the repository that is being kept fresh. It interoperates with restic's.
//
// It must be unlocked. Until then a goroutine writes the lock file anew every five minutes. When that has not worked
// for 20 minutes, or the own lock file turns out to have been removed by somebody, the lock is lost.
//
// restic tests whether the process of a lock is alive by sending it SIGHUP; while a lock is held that signal does nothing.
type Lock struct {
	repo      *Repository
	exclusive bool
	ctx       context.Context // of the work under the lock
	cancel    context.CancelCauseFunc
	keeping   context.Context // of the refreshing, which outlives the work: it ends with Unlock only
	stopKeep  context.CancelFunc
	kept      chan struct{} // closed when the refreshing has ended
	hangup    chan os.Signal
	unlocking sync.Mutex
	latest    atomic.Pointer[lockState]

	// Of the goroutine that keeps the lock, then of Unlock.
	current ID          // the lock file that stands for us
	files   map[ID]bool // all lock files of ours that may be in the storage, current included
	written time.Time   // what current says, by the clock on the wall
	fresh   time.Time   // the same moment, by the clock that is never set
}

// Lock takes a lock that restic respects, and refreshes it until Unlock. A conflict is a *LockedError: an exclusive
// lock conflicts with any other, a shared one with an exclusive one, and both with a lock file that cannot be read,
// since that may be an exclusive one. Stale locks are in the way too, as they are for restic.
func (r *Repository) Lock(ctx context.Context, exclusive bool) (*Lock, error) {
	if err := r.conflict(ctx, exclusive, ID{}); err != nil {
		return nil, err
	}
	l := &Lock{
		repo: r, exclusive: exclusive,
		kept:   make(chan struct{}),
		hangup: make(chan os.Signal, 1), // nobody reads it: being registered is what keeps the process alive
		files:  make(map[ID]bool),
	}
	l.ctx, l.cancel = context.WithCancelCause(ctx)
	l.keeping, l.stopKeep = context.WithCancel(context.WithoutCancel(ctx))
	signal.Notify(l.hangup, syscall.SIGHUP)
	if err := l.acquire(ctx); err != nil {
		close(l.kept)
		if left := l.Unlock(); left != nil {
			err = errorList{err, left}
		}
		return nil, err
	}
	go l.keep()
	return l, nil
}

// acquire writes the own lock and makes sure that nobody else did at the same time.
func (l *Lock) acquire(ctx context.Context) error {
	if err := l.write(ctx); err != nil {
		return err
	}
	select {
	case <-time.After(lockSettle):
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	return l.repo.conflict(ctx, l.exclusive, l.current)
}

// Context is done when the lock is lost (cause ErrLockLost), when it is unlocked, or when the context of Repository.Lock
// is done: all work under the lock uses it, so that a late refresh stops the work before its next write.
func (l *Lock) Context() context.Context { return l.ctx }

// write stores a new lock file with the time of now. The journal knows it before the storage does.
func (l *Lock) write(ctx context.Context) error {
	r := l.repo
	me := currentUser()
	now := time.Now()
	wall := r.opt.Now().Round(0)
	text, err := json.Marshal(lockFile{wall, l.exclusive, r.opt.Hostname, me.Username, os.Getpid(), me.UID, me.GID})
	if err != nil {
		return fmt.Errorf("lock: %w", err)
	}
	id, sealed, err := r.sealUnpacked(text)
	if err != nil {
		return fmt.Errorf("lock: %w", err)
	}
	if j := r.opt.Journal; j != nil {
		if err := j.Add(id); err != nil {
			return fmt.Errorf("cannot lock the repository%s, since the lock could not be recorded: %w", r.at(), err)
		}
	}
	l.files[id] = true // even if Put fails: the file may be there
	if err := r.storage.Put(ctx, lockName(id), sealed); err != nil {
		return fmt.Errorf("cannot lock the repository%s: %w", r.at(), err)
	}
	l.current, l.written, l.fresh = id, wall, now
	l.latest.Store(&lockState{id, wall, now})
	return nil
}

// lockState is a lock file that stands for us, and when it was written by either clock.
type lockState struct {
	id    ID
	wall  time.Time
	fresh time.Time
}

// verify proves that the lock holds now, just before something is written that relies on it: after a suspend hours may
// have gone by before the refreshing notices. When it does not, the lock is lost.
func (l *Lock) verify(ctx context.Context) error {
	for {
		if err := context.Cause(l.ctx); errors.Is(err, ErrLockLost) {
			return err
		}
		s := l.latest.Load()
		_, err := l.repo.storage.Get(ctx, lockName(s.id), 0, 0)
		switch {
		case s != l.latest.Load(): // it was refreshed meanwhile
			continue
		case errors.Is(err, fs.ErrNotExist):
			l.lose(errors.New("somebody has removed its file"))
		case err != nil:
			return fmt.Errorf("cannot see whether the lock holds: %w", err)
		case time.Since(s.fresh) >= lockExpiry || l.repo.opt.Now().Round(0).Sub(s.wall) >= lockExpiry:
			l.lose(fmt.Errorf("it could not be refreshed for %s", lockExpiry))
		default:
			return nil
		}
	}
}

// keep refreshes the lock until it is unlocked or lost.
func (l *Lock) keep() {
	defer close(l.kept)
	expiry := time.AfterFunc(lockExpiry-time.Since(l.fresh), func() {
		l.lose(fmt.Errorf("it could not be refreshed for %s", lockExpiry))
	})
	defer expiry.Stop()
	tick := time.NewTicker(lockTick)
	defer tick.Stop()
	for !errors.Is(context.Cause(l.ctx), ErrLockLost) {
		select {
		case <-l.keeping.Done():
			return
		case <-tick.C:
		}
		if !l.due() {
			continue
		}
		switch err := l.refresh(); {
		case err == nil:
			expiry.Reset(lockExpiry - time.Since(l.fresh))
		case errors.Is(err, fs.ErrNotExist):
			l.lose(errors.New("somebody has removed its file"))
		case l.keeping.Err() == nil:
			l.repo.opt.Logger.Warn("cannot refresh the lock", "location", l.repo.opt.Location, "error", err)
		}
	}
}

// due tells whether the lock file is old by either clock: the one on the wall also counts the hours that a suspended
// machine sleeps.
func (l *Lock) due() bool {
	return time.Since(l.fresh) >= lockRefresh || l.repo.opt.Now().Round(0).Sub(l.written) >= lockRefresh
}

// refresh writes a new lock file and then deletes the old one. fs.ErrNotExist means that the old one was gone: then
// somebody has taken us for dead, and may have pruned what we count on.
func (l *Lock) refresh() error {
	ctx, cancel := context.WithTimeout(l.keeping, lockTimeout)
	defer cancel()
	old := l.current
	if _, err := l.repo.storage.Get(ctx, lockName(old), 0, 0); err != nil {
		return err
	}
	if err := l.write(ctx); err != nil {
		return err
	}
	for id := range l.files {
		if id == l.current {
			continue
		}
		err := l.remove(ctx, id)
		if id == old && errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) { // the next refresh tries again
			l.repo.opt.Logger.Warn("cannot delete an old lock file", "location", l.repo.opt.Location, "error", err)
		}
	}
	return nil
}

// lose ends the work under the lock.
func (l *Lock) lose(why error) {
	l.cancel(fmt.Errorf("%w%s: %w", ErrLockLost, l.repo.at(), why))
}

// remove deletes one of the own lock files. The journal forgets it after the storage did.
func (l *Lock) remove(ctx context.Context, id ID) error {
	err := l.repo.storage.Delete(ctx, lockName(id))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("cannot delete the lock %s%s: %w", id, l.repo.at(), err)
	}
	delete(l.files, id)
	if j := l.repo.opt.Journal; j != nil {
		if err := j.Remove(id); err != nil {
			l.repo.opt.Logger.Warn("cannot strike out a deleted lock", "lock", id.String(), "error", err)
		}
	}
	return err
}

// Unlock stops refreshing and deletes the lock file. It works also when the lock's context is done already; it is
// idempotent, and after an error it may be tried again.
func (l *Lock) Unlock() error {
	l.unlocking.Lock()
	defer l.unlocking.Unlock()
	l.cancel(errUnlocked)
	l.stopKeep()
	<-l.kept
	ctx, cancel := context.WithTimeout(context.WithoutCancel(l.ctx), lockTimeout)
	defer cancel()
	var failed errorList
	for id := range l.files {
		if err := l.remove(ctx, id); err != nil && !errors.Is(err, fs.ErrNotExist) {
			failed = append(failed, err)
		}
	}
	if len(failed) == 0 {
		signal.Stop(l.hangup)
	}
	return failed.orNil()
}

// errUnlocked is the cause of the context after Unlock.
var errUnlocked = fmt.Errorf("the repository was unlocked: %w", context.Canceled)
