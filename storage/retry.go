package storage

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"log/slog"
	"path/filepath"
	"syscall"
	"time"

	"github.com/cenkalti/backoff/v5"

	"github.com/caddy-backup/caddy-backup/backup"
	"github.com/caddy-backup/caddy-backup/repo"
)

// Reliable returns st itself when it is a folder of this machine, and else st with retries around it: over a network
// things fail for a moment that would cost a whole backup. A disk that answers with an error has tried again itself,
// and after a failed fsync a second one would lie: local errors are final.
//
// What is tried again is every error but those that the contract of repo.Storage gives a meaning, those about rights
// and space, and the end of the caller's context. A storage that knows better says so: the first error in the chain
// with a method Permanent() bool decides. A storage whose connection breaks inside a file must not return
// io.ErrUnexpectedEOF, which means a file that is too short, or must wrap it into an error that is not permanent.
//
// A try in which nothing moves for two minutes is given up: connections can die without a word. Storages call Alive
// whenever bytes have moved, since a large file takes longer than that on a slow line.
func Reliable(st backup.Storage, log *slog.Logger) backup.Storage {
	if _, memory := st.(*Memory); memory || filepath.IsAbs(st.Location()) {
		return st
	}
	return newRetrying(st, log)
}

// Alive tells whoever waits for an operation on a storage, whose context is ctx, that it moves on.
func Alive(ctx context.Context) {
	if w, ok := ctx.Value(watchKey{}).(watch); ok {
		w.timer.Reset(w.limit)
	}
}

// watch ends a try when its timer runs out.
type watch struct {
	timer *time.Timer
	limit time.Duration
}

type watchKey struct{}

// retrying is a storage that is tried again. The operations allow it: Put replaces, and a Delete that finds nothing at
// its second try was done by the first, whose answer was lost.
type retrying struct {
	below backup.Storage
	log   *slog.Logger

	first    time.Duration // wait after the first failure; doubled each time
	longest  time.Duration // wait
	patience time.Duration // from the first failure on
	tries    int
	stall    time.Duration // without a sign of life, until a try is given up
}

// newRetrying has patience for a router that restarts, and for a quarter of an hour of maintenance. Locks last longer.
func newRetrying(below backup.Storage, log *slog.Logger) *retrying {
	return &retrying{
		below: below, log: log.With("location", below.Location()),
		first: 500 * time.Millisecond, longest: time.Minute, patience: 15 * time.Minute, tries: 25, stall: 2 * time.Minute,
	}
}

// Location is that of the storage below.
func (r *retrying) Location() string { return r.below.Location() }

// Put implements repo.Storage.
func (r *retrying) Put(ctx context.Context, name string, data []byte) error {
	return r.try(ctx, "put", name, func(ctx context.Context, _ int) error { return r.below.Put(ctx, name, data) })
}

// Get implements repo.Storage.
func (r *retrying) Get(ctx context.Context, name string, off, n int64) (data []byte, err error) {
	err = r.try(ctx, "get", name, func(ctx context.Context, _ int) error {
		data, err = r.below.Get(ctx, name, off, n)
		return err
	})
	return data, err
}

// Delete implements repo.Storage.
func (r *retrying) Delete(ctx context.Context, name string) error {
	return r.try(ctx, "delete", name, func(ctx context.Context, try int) error {
		err := r.below.Delete(ctx, name)
		if try > 1 && errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	})
}

// List implements repo.Storage. A listing that breaks off is read again from its beginning, and goes on with what was
// not named yet. The names are the caller's own strings: remembering them costs little.
func (r *retrying) List(ctx context.Context, dir string) iter.Seq2[repo.FileInfo, error] {
	return func(yield func(repo.FileInfo, error) bool) {
		seen := map[string]bool{}
		stopped := false
		err := r.try(ctx, "list", dir, func(ctx context.Context, _ int) error {
			w := ctx.Value(watchKey{}).(watch)
			for fi, err := range r.below.List(ctx, dir) {
				if err != nil {
					return err
				}
				w.timer.Stop() // the caller may take his time
				if !seen[fi.Name] && !yield(fi, nil) {
					stopped = true
					return nil
				}
				seen[fi.Name] = true
				w.timer.Reset(w.limit)
			}
			return nil
		})
		if err != nil && !stopped {
			yield(repo.FileInfo{}, err)
		}
	}
}

// Sweep has the storage below sweep, where it can. What fails is left for the next time.
func (r *retrying) Sweep(ctx context.Context, before time.Time) (files int, bytes int64, err error) {
	if sweeper, ok := r.below.(backup.Sweeper); ok {
		return sweeper.Sweep(ctx, before)
	}
	return 0, 0, nil
}

// try does an operation until it works, or cannot be expected to.
func (r *retrying) try(ctx context.Context, what, name string, once func(ctx context.Context, try int) error) error {
	var last error
	var failing time.Time
	try := 0
	_, err := backoff.Retry(ctx, func() (struct{}, error) {
		try++
		last = r.attempt(ctx, func(ctx context.Context) error { return once(ctx, try) })
		if try == 1 {
			failing = time.Now()
		}
		if last != nil && (ctx.Err() != nil || final(last) || time.Since(failing) > r.patience) {
			return struct{}{}, backoff.Permanent(last)
		}
		return struct{}{}, last
	},
		backoff.WithBackOff(&backoff.ExponentialBackOff{
			InitialInterval: r.first, MaxInterval: r.longest, Multiplier: 2, RandomizationFactor: 0.5}),
		backoff.WithMaxTries(uint(r.tries)), backoff.WithMaxElapsedTime(0),
		backoff.WithNotify(func(err error, wait time.Duration) {
			r.log.Warn("the storage failed, trying again", "operation", what, "file", name, "attempts", try,
				"wait", wait.Round(time.Millisecond), "error", err)
		}))
	switch {
	case err == nil && try > 1:
		r.log.Info("the storage works again", "operation", what, "file", name, "attempts", try)
	case err != nil && ctx.Err() != nil && !errors.Is(last, ctx.Err()): // most often while we waited
		return fmt.Errorf("%w, after %d tries: %w", context.Cause(ctx), try, last)
	case err != nil && try > 1:
		return fmt.Errorf("%w; given up after %d tries in %s", err, try, time.Since(failing).Round(time.Second))
	}
	return err
}

// attempt does an operation once, as long as it moves on.
func (r *retrying) attempt(ctx context.Context, once func(context.Context) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stalled := &stalledError{r.below.Location(), r.stall}
	w := watch{time.AfterFunc(r.stall, func() { cancel(stalled) }), r.stall}
	defer w.timer.Stop()
	err := once(context.WithValue(ctx, watchKey{}, w))
	if err != nil && context.Cause(ctx) == error(stalled) {
		return stalled // not the context's own error, which would look as if the caller had ended it
	}
	return err
}

// stalledError is of a try that was given up.
type stalledError struct {
	location string
	after    time.Duration
}

func (e *stalledError) Error() string {
	return fmt.Sprintf("the storage %s does not answer: nothing moved for %s", e.location, e.after)
}

// Permanent is false: the next connection may live.
func (e *stalledError) Permanent() bool { return false }

// final reports whether an error of a storage would be the same the next time.
func final(err error) bool {
	if marked, ok := errors.AsType[interface {
		error
		Permanent() bool
	}](err); ok {
		return marked.Permanent()
	}
	for _, is := range []error{
		fs.ErrNotExist, fs.ErrPermission, fs.ErrInvalid, fs.ErrExist, io.ErrUnexpectedEOF,
		syscall.ENOSPC, syscall.EDQUOT, syscall.EROFS,
	} {
		if errors.Is(err, is) {
			return true
		}
	}
	return false
}
