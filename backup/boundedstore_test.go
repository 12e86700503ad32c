package backup

import (
	"context"
	"errors"
	"io/fs"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// deafStore does not care whether anybody still waits for it.
type deafStore struct {
	noStore
	mu     sync.Mutex
	alive  chan struct{} // closed: it answers
	calls  int
	last   string
	locked bool
}

func (d *deafStore) wait() {
	d.mu.Lock()
	d.calls++
	alive := d.alive
	d.mu.Unlock()
	<-alive
}

func (d *deafStore) Store(_ context.Context, _ string, value []byte) error {
	d.wait()
	d.mu.Lock()
	defer d.mu.Unlock()
	d.last = string(value)
	return nil
}

func (d *deafStore) Load(context.Context, string) ([]byte, error) {
	d.wait()
	return nil, fs.ErrNotExist
}

func (d *deafStore) Lock(context.Context, string) error {
	d.wait()
	d.mu.Lock()
	defer d.mu.Unlock()
	d.locked = true
	return nil
}

func (d *deafStore) Unlock(context.Context, string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.locked = false
	return nil
}

// TestBoundedStore: nobody waits for longer than the context says, calls do not pile up, and what was written last is what stays.
func TestBoundedStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &deafStore{alive: make(chan struct{})}
		s := bound(d)
		within := func(limit time.Duration, f func(context.Context) error) {
			t.Helper()
			ctx, cancel := context.WithTimeout(t.Context(), limit)
			defer cancel()
			began := time.Now()
			if err := f(ctx); !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "does not answer") {
				t.Errorf("%v", err)
			}
			if took := time.Since(began); took != limit {
				t.Errorf("it took %v", took)
			}
		}
		for range 5 {
			within(10*time.Second, func(ctx context.Context) error { return s.Store(ctx, "a", []byte("old")) })
			within(10*time.Second, func(ctx context.Context) error { _, err := s.Load(ctx, "a"); return err })
		}
		within(10*time.Second, func(ctx context.Context) error { return s.(Locker).Lock(ctx, "l") })
		synctest.Wait()
		d.mu.Lock()
		if d.calls != 3 {
			t.Errorf("%d calls wait in the storage", d.calls)
		}
		d.mu.Unlock()
		began := time.Now()
		if _, err := s.Load(context.Background(), "b"); err == nil || time.Since(began) != longestCall {
			t.Errorf("%v after %v", err, time.Since(began))
		}
		time.AfterFunc(3*time.Second, func() { close(d.alive) })
		if err := s.Store(t.Context(), "a", []byte("new")); err != nil {
			t.Error(err)
		}
		synctest.Wait()
		d.mu.Lock()
		if d.last != "new" || d.locked {
			t.Errorf("%q is what stays; a lock that came late is held by nobody: %v", d.last, d.locked)
		}
		d.mu.Unlock()
		if _, err := s.Load(t.Context(), "a"); !errors.Is(err, fs.ErrNotExist) {
			t.Error(err)
		}
	})
}

// TestBoundedStoreAtOnce: of two calls at once both are waited for, when both were left behind.
func TestBoundedStoreAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		first, second := make(chan struct{}), make(chan struct{})
		d := &deafStore{alive: first}
		s := bound(d)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		go func() { _ = s.Store(ctx, "a", []byte("old")) }()
		synctest.Wait()
		d.mu.Lock()
		d.alive = second
		d.mu.Unlock()
		go func() { _ = s.Store(ctx, "a", []byte("newer")) }()
		time.Sleep(2 * time.Second)
		close(second)
		time.AfterFunc(time.Second, func() { close(first) })
		if err := s.Store(t.Context(), "a", []byte("newest")); err != nil {
			t.Error(err)
		}
		synctest.Wait()
		d.mu.Lock()
		defer d.mu.Unlock()
		if d.last != "newest" {
			t.Errorf("%q is what stays", d.last)
		}
	})
}

// TestJobSettingsDeaf: settings of jobs are given up where the storage does not answer, which else would keep Caddy from starting.
func TestJobSettingsDeaf(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &deafStore{alive: make(chan struct{})}
		x := Config{Store: d, Host: "shop"}.JobSettings()
		for range 3 {
			if err := x.Put(t.Context(), JobSetting{Name: "shop"}); !errors.Is(err, context.DeadlineExceeded) {
				t.Error(err)
			}
		}
		d.mu.Lock()
		if d.calls != 1 {
			t.Errorf("%d calls wait in the storage", d.calls)
		}
		d.mu.Unlock()
		close(d.alive)
	})
}

// panickyStore panics.
type panickyStore struct{ noStore }

func (panickyStore) Load(context.Context, string) ([]byte, error) { panic("oops") }

func TestBoundedStorePanics(t *testing.T) {
	if _, err := bound(panickyStore{}).Load(t.Context(), "a"); err == nil || !strings.Contains(err.Error(), "oops") {
		t.Error(err)
	}
}
