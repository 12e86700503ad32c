package repo

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"sync"

	"golang.org/x/sync/errgroup"
)

// Forget deletes snapshot files, named by their IDs (not by stable ones), under an exclusive lock. It returns those that
// are gone, also beside an error; one that was gone already is no error. What they alone needed stays until Prune.
func (r *Repository) Forget(ctx context.Context, lock *Lock, ids []ID) ([]ID, error) {
	ctx, stop, err := r.exclusively(ctx, lock)
	if err != nil {
		return nil, fmt.Errorf("cannot delete snapshots%s: %w", r.at(), err)
	}
	defer stop()
	var mu sync.Mutex
	var gone []ID
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(loads)
	for _, id := range ids {
		group.Go(func() error {
			if err := r.deleteSnapshot(ctx, id); err != nil {
				return err
			}
			mu.Lock()
			defer mu.Unlock()
			gone = append(gone, id)
			return nil
		})
	}
	err = group.Wait() // before gone is looked at
	return gone, err
}

// deleteSnapshot is nil when the file is gone. An answer that was lost is not taken for a failure: people are told what
// is left.
func (r *Repository) deleteSnapshot(ctx context.Context, id ID) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	name := "snapshots/" + id.String()
	err := r.storage.Delete(ctx, name)
	if err == nil || errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if _, gone := r.storage.Get(ctx, name, 0, 0); errors.Is(gone, fs.ErrNotExist) {
		return nil
	}
	return fmt.Errorf("cannot delete the snapshot %s%s: %w", id.Short(), r.at(), err)
}

// exclusively proves that lock keeps everybody else out of this repository, now, and gives a context for the work under
// it, which ends with ctx and with the lock: whoever deletes must not do so a moment after the lock was lost.
func (r *Repository) exclusively(ctx context.Context, lock *Lock) (context.Context, context.CancelFunc, error) {
	if lock == nil || lock.repo != r || !lock.exclusive {
		return nil, nil, errors.New("this needs an exclusive lock of the same open repository")
	}
	ctx, cancel := context.WithCancelCause(ctx)
	detach := context.AfterFunc(lock.Context(), func() { cancel(context.Cause(lock.Context())) })
	stop := func() { detach(); cancel(nil) }
	if err := context.Cause(lock.Context()); err != nil { // AfterFunc tells it a little later
		stop()
		return nil, nil, err
	}
	if err := lock.verify(ctx); err != nil {
		stop()
		return nil, nil, err
	}
	return ctx, stop, nil
}
