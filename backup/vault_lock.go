package backup

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/caddy-backup/caddy-backup/repo"
)

// lock takes a lock, once own leftovers are away, and returns the func that gives it up. While somebody else is in the
// way it waits, and says so in the run's step.
func (v *vault) lock(ctx context.Context, r *repo.Repository, run *runner, exclusive bool) (_ *repo.Lock, unlock func(), err error) {
	journal := v.service.journal
	left, leave := journal.enter(v.location, func() { run.tellLocks(ctx) })
	defer func() {
		if err != nil {
			leave()
		}
	}()
	if err := (lockJournal{journal, v.location}).removeLeft(ctx, r, left); err != nil {
		run.log.Warn("cannot remove an own lock that was left", "error", err)
	}
	if err := journal.sweep(v.location, func(ids []repo.ID) error { return r.RemoveLocks(ctx, ids) }); err != nil {
		run.log.Warn("cannot clean up behind a dead process", "error", err)
	}
	v.sweepMembers(ctx, r, run)
	lock, err := v.await(ctx, r, run, exclusive)
	if err != nil {
		return nil, nil, v.explain(err)
	}
	return lock, func() {
		if err := lock.Unlock(); err != nil {
			run.log.Warn("cannot remove the own lock; the next run will", "error", err)
		}
		leave()
	}, nil
}

// reading opens the repository for a run and works under readLock.
func (v *vault) reading(ctx context.Context, run *runner, work func(ctx context.Context, r *repo.Repository) error) error {
	run.setStep("opening the repository")
	r, err := v.open(ctx, run.setup, createNever)
	if err != nil {
		return because(ctx, err)
	}
	ctx, unlock, err := v.readLock(ctx, r, run)
	if err != nil {
		return because(ctx, err)
	}
	defer unlock()
	return because(ctx, work(ctx, r))
}

// readLock is lock for what only reads; it returns the context to work under, never nil. A recovery goes on without a lock, from a
// medium that cannot be written to, or beside the lock of a machine that is gone: everything it reads is verified, so the
// worst that a prune of others does to it is that something is missing, and named.
func (v *vault) readLock(ctx context.Context, r *repo.Repository, run *runner) (context.Context, func(), error) {
	lock, unlock, err := v.lock(ctx, r, run, false)
	if err == nil {
		return lock.Context(), unlock, nil
	}
	switch {
	case ctx.Err() != nil, !v.readOnly && errors.Is(err, repo.ErrLocked):
		return ctx, nil, err
	case !v.readOnly:
		return ctx, nil, fmt.Errorf("%w; what restores without a lock is: caddy backup recover %s", err, shellWord(v.location))
	}
	run.log.Warn("the repository cannot be locked, and is read without a lock", "error", err)
	return ctx, func() {}, nil
}

// await takes the lock as soon as nobody is in the way, for a while.
func (v *vault) await(ctx context.Context, r *repo.Repository, run *runner, exclusive bool) (*repo.Lock, error) {
	s := v.service
	for waited := time.Duration(0); ; waited += s.lockPoll {
		lock, err := r.Lock(ctx, exclusive)
		locked, isLocked := errors.AsType[*repo.LockedError](err)
		if !isLocked || waited >= s.lockWait && !s.othersWork(run.setup, v.name) {
			return lock, err
		}
		run.life.answers.Add(1) // the storage does answer; how long others need is no matter of this run
		if waited == 0 {
			run.log.Info("waiting for a lock of others", "reason", locked.Error())
		}
		run.setStep("waiting: " + locked.Error())
		if err := sleep(ctx, s.lockPoll+rand.N(s.lockPoll/2+1)); err != nil { // two that wait must not meet each time
			return nil, fmt.Errorf("%w, waiting: %w", err, locked)
		}
	}
}

func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
