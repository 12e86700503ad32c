package backup

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// longestCall bounds a call of the Store whose context has no end.
const longestCall = time.Minute

// boundedStore is a Store whose calls end with their contexts, also where the storage does not care: a folder on a network that
// is gone answers nobody, and neither the scheduler nor a run may wait for it without end. A call that was left behind is
// still waited for by the next of its kind on the same key, so that none of them piles up, and no old value overtakes a new one.
type boundedStore struct {
	to Store

	mu   sync.Mutex
	left map[string]chan struct{} // calls that were left behind, closed when all of a name have ended
}

// boundedLocker is a boundedStore with locks.
type boundedLocker struct {
	*boundedStore
	locks Locker
}

// bound makes the calls of a Store end in time.
func bound(s Store) Store {
	b := &boundedStore{to: s, left: map[string]chan struct{}{}}
	if locks, can := s.(Locker); can {
		return boundedLocker{b, locks}
	}
	return b
}

func (b *boundedStore) Store(ctx context.Context, key string, value []byte) error {
	return b.call(ctx, "write "+key, func(ctx context.Context) error { return b.to.Store(ctx, key, value) }, nil)
}

func (b *boundedStore) Delete(ctx context.Context, key string) error {
	return b.call(ctx, "write "+key, func(ctx context.Context) error { return b.to.Delete(ctx, key) }, nil)
}

func (b *boundedStore) Load(ctx context.Context, key string) ([]byte, error) {
	return bounded(b, ctx, "read "+key, func(ctx context.Context) ([]byte, error) { return b.to.Load(ctx, key) }, nil)
}

func (b *boundedStore) List(ctx context.Context, prefix string, recursive bool) ([]string, error) {
	return bounded(b, ctx, "list "+prefix, func(ctx context.Context) ([]string, error) { return b.to.List(ctx, prefix, recursive) }, nil)
}

// Lock gives a lock back that comes when nobody waits for it any more.
func (b boundedLocker) Lock(ctx context.Context, name string) error {
	return b.call(ctx, "lock "+name, func(ctx context.Context) error { return b.locks.Lock(ctx, name) }, func() {
		_ = b.locks.Unlock(context.Background(), name) // else it becomes free by itself
	})
}

func (b boundedLocker) Unlock(ctx context.Context, name string) error {
	return b.call(ctx, "unlock "+name, func(ctx context.Context) error { return b.locks.Unlock(ctx, name) }, nil)
}

func (b *boundedStore) call(ctx context.Context, name string, f func(context.Context) error, undo func()) error {
	_, err := bounded(b, ctx, name, func(ctx context.Context) (struct{}, error) { return struct{}{}, f(ctx) }, undo)
	return err
}

// bounded makes a call. undo, if not nil, is done when the call succeeds after it was left behind.
func bounded[T any](b *boundedStore, ctx context.Context, name string, f func(context.Context) (T, error), undo func()) (value T, err error) {
	ctx, cancel := context.WithTimeout(ctx, longestCall)
	defer cancel()
	if err := b.await(ctx, name); err != nil {
		return value, err
	}
	if ctx.Err() != nil {
		return value, context.Cause(ctx)
	}
	var got T
	var failed error
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		defer func() {
			if p := recover(); p != nil {
				failed = fmt.Errorf("panic in Caddy's storage: %v", p)
			}
		}()
		got, failed = f(ctx)
	}()
	select {
	case <-ended:
		return got, failed
	case <-ctx.Done():
	}
	b.leave(name, ended, func() {
		if failed == nil && undo != nil {
			undo()
		}
	})
	return value, unanswered(ctx)
}

func unanswered(ctx context.Context) error {
	return fmt.Errorf("the storage of Caddy does not answer: %w", context.Cause(ctx))
}

// await waits until no call of this name is left behind.
func (b *boundedStore) await(ctx context.Context, name string) error {
	for {
		b.mu.Lock()
		ended, late := b.left[name]
		b.mu.Unlock()
		if !late {
			return nil
		}
		select {
		case <-ended:
		case <-ctx.Done():
			return unanswered(ctx)
		}
	}
}

// leave leaves a call behind.
func (b *boundedStore) leave(name string, ended <-chan struct{}, afterwards func()) {
	gone := make(chan struct{})
	b.mu.Lock()
	earlier, two := b.left[name]
	b.left[name] = gone
	b.mu.Unlock()
	go func() {
		<-ended
		afterwards()
		if two { // they were made at once
			<-earlier
		}
		b.mu.Lock()
		if b.left[name] == gone {
			delete(b.left, name)
		}
		b.mu.Unlock()
		close(gone)
	}()
}
