package storage_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-backup/caddy-backup/repo"
	"github.com/caddy-backup/caddy-backup/storage"
	"github.com/caddy-backup/caddy-backup/storage/storagetest"
)

var silent = slog.New(slog.DiscardHandler)

// TestRetryKit holds the wrapper to the contract while a third of all that it does fails: before it is done, and, where
// the answer can get lost, behind.
func TestRetryKit(t *testing.T) {
	third := func(kinds ...storagetest.Kind) func(storagetest.Op) bool {
		return func(op storagetest.Op) bool { return slices.Contains(kinds, op.Kind) && rand.IntN(3) == 0 }
	}
	tests := []struct {
		name  string
		fault storagetest.Fault
	}{
		{"none", storagetest.Fault{Only: third()}},
		// Not Delete: that nothing was there cannot be told then from an answer that got lost.
		{"before", storagetest.Fault{Only: third(storagetest.Put, storagetest.Get, storagetest.List)}},
		{"lost answers", storagetest.Fault{Only: third(storagetest.Put, storagetest.Delete), How: storagetest.After}},
		{"listings break off", storagetest.Fault{Only: third(storagetest.List), How: storagetest.Midway}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tt.fault.Times = storagetest.Forever
			storagetest.Run(t, func(*testing.T) repo.Storage {
				return storage.Impatient(storagetest.NewFaulty(new(storage.Memory), tt.fault), silent)
			})
		})
	}
}

// marked is an error of a storage that knows better.
type marked struct {
	error
	permanent bool
}

func (m marked) Unwrap() error   { return m.error }
func (m marked) Permanent() bool { return m.permanent }

func TestRetryWhat(t *testing.T) {
	again := []error{
		errors.New("503 slow down"), syscall.ECONNRESET, syscall.ETIMEDOUT, os.ErrDeadlineExceeded, io.EOF, net("broken pipe"),
		context.DeadlineExceeded, context.Canceled, // of the storage's own
		marked{io.ErrUnexpectedEOF, false},
	}
	final := []error{
		fs.ErrNotExist, fs.ErrPermission, fs.ErrInvalid, io.ErrUnexpectedEOF, syscall.ENOSPC, syscall.EDQUOT, syscall.EROFS,
		syscall.EACCES, marked{errors.New("507 insufficient storage"), true},
	}
	try := func(err error) (tries int) {
		synctest.Test(t, func(t *testing.T) {
			f := storagetest.NewFaulty(new(storage.Memory), storagetest.Fault{Err: fmt.Errorf("store x: %w", err)})
			got := storage.Retrying(f, silent).Put(t.Context(), "x", nil)
			if tries = f.Count(); (tries == 1) != errors.Is(got, err) {
				t.Errorf("%v: %d tries, then %v", err, tries, got)
			}
		})
		return tries
	}
	for _, err := range again {
		if n := try(err); n != 2 {
			t.Errorf("%v: %d tries", err, n)
		}
	}
	for _, err := range final {
		if n := try(err); n != 1 {
			t.Errorf("%v: %d tries", err, n)
		}
	}
}

func net(text string) error { return &os.SyscallError{Syscall: text, Err: syscall.EPIPE} }

// TestRetryGivesUp bounds tries and time, says so, and logs each try.
func TestRetryGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		f := storagetest.NewFaulty(new(storage.Memory), storagetest.Fault{Times: storagetest.Forever})
		start := time.Now()
		_, err := storage.Retrying(f, slog.New(slog.NewTextHandler(&log, nil))).Get(t.Context(), "index/x", 0, -1)
		took := time.Since(start)
		if !errors.Is(err, storagetest.ErrInjected) || !strings.Contains(err.Error(), fmt.Sprintf("given up after %d tries in", f.Count())) {
			t.Error(err)
		}
		if n := f.Count(); n < 15 || n > 25 || took < 5*time.Minute || took > 20*time.Minute {
			t.Errorf("%d tries in %v", n, took)
		}
		lines := strings.Split(strings.TrimSpace(log.String()), "\n")
		if len(lines) != f.Count()-1 || !strings.Contains(lines[1], `operation=get file=index/x attempts=2`) || !strings.Contains(lines[1], "location=memory") {
			t.Errorf("%d tries, log:\n%s", f.Count(), log.String())
		}
	})
}

// TestRetryContext ends the waiting with the caller's context.
func TestRetryContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := storagetest.NewFaulty(new(storage.Memory), storagetest.Fault{Times: storagetest.Forever})
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		start := time.Now()
		err := storage.Retrying(f, silent).Delete(ctx, "x")
		if !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, storagetest.ErrInjected) || time.Since(start) != 10*time.Second {
			t.Errorf("after %v: %v", time.Since(start), err)
		}
	})
}

// TestRetryStall gives up a try in which nothing moves, and the next one works; one that moves may take its time.
func TestRetryStall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := storagetest.NewFaulty(new(storage.Memory), storagetest.Fault{How: storagetest.Slow, Delay: time.Hour})
		var log bytes.Buffer
		st := storage.Retrying(f, slog.New(slog.NewTextHandler(&log, nil)))
		start := time.Now()
		if err := st.Put(t.Context(), "x", []byte("data")); err != nil {
			t.Error(err)
		}
		if took := time.Since(start); took < 2*time.Minute || took > 2*time.Minute+time.Second {
			t.Errorf("given up after %v", took)
		}
		if !strings.Contains(log.String(), "nothing moved for 2m0s") {
			t.Error(log.String())
		}

		f.Inject(storagetest.Fault{How: storagetest.Slow, Delay: time.Hour, Times: storagetest.Forever})
		_, err := st.Get(t.Context(), "x", 0, -1)
		if err == nil || errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), "does not answer") {
			t.Error(err)
		}
		if took := time.Since(start); took > 25*time.Minute {
			t.Errorf("given up after %v", took)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		slow := trickle{Memory: new(storage.Memory)}
		start := time.Now()
		if err := storage.Retrying(slow, silent).Put(t.Context(), "x", make([]byte, 60)); err != nil || time.Since(start) != time.Hour {
			t.Errorf("a slow line: %v after %v", err, time.Since(start))
		}
	})
}

// trickle is a storage to which a byte goes a minute.
type trickle struct{ *storage.Memory }

func (s trickle) Put(ctx context.Context, name string, data []byte) error {
	for range data {
		select {
		case <-time.After(time.Minute):
			storage.Alive(ctx)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return s.Memory.Put(ctx, name, data)
}

// TestRetryListPatient: whoever reads a listing may do long work with each file.
func TestRetryListPatient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := new(storage.Memory)
		for _, name := range []string{"a", "b", "c"} {
			storagetest.Write(t, m, name, nil)
		}
		for _, err := range storage.Retrying(m, silent).List(t.Context(), "") {
			if err != nil {
				t.Error(err)
			}
			time.Sleep(time.Hour)
		}
	})
}

// far is a storage of another machine.
type far struct{ *storage.Memory }

func (far) Location() string { return "sftp://nas/backups" }

func TestReliable(t *testing.T) {
	local := storage.NewLocal(t.TempDir())
	if got := storage.Reliable(local, silent); got != local {
		t.Errorf("%T around a folder", got)
	}
	synctest.Test(t, func(t *testing.T) {
		inner := far{new(storage.Memory)}
		st := storage.Reliable(inner, silent)
		if st == inner || st.Location() != inner.Location() {
			t.Errorf("%T at %s", st, st.Location())
		}
		if err := st.Put(t.Context(), "x", nil); err != nil {
			t.Error(err)
		}
	})
}
