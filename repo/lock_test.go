package repo

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// journal remembers locks as the product's journal does, and fails the test when it is used out of order.
type journal struct {
	t     *testing.T
	st    dirStorage
	mu    sync.Mutex
	locks map[ID]bool
	fail  error
}

func newJournal(t *testing.T, st dirStorage) *journal {
	return &journal{t: t, st: st, locks: make(map[ID]bool)}
}

func (j *journal) stored(id ID) bool {
	_, err := os.Stat(j.st.path(lockName(id)))
	return err == nil
}

func (j *journal) Add(id ID) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.fail != nil {
		return j.fail
	}
	if j.stored(id) {
		j.t.Errorf("lock %s was stored before it was written down", id)
	}
	j.locks[id] = true
	return nil
}

func (j *journal) Remove(id ID) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.stored(id) || !j.locks[id] {
		j.t.Errorf("lock %s was struck out while it was stored, or never written down", id)
	}
	delete(j.locks, id)
	return nil
}

// lockFiles are the IDs of the stored locks.
func lockFiles(t *testing.T, st dirStorage) []ID {
	t.Helper()
	files, err := listFiles(context.Background(), st, "locks")
	if err != nil {
		t.Fatal(err)
	}
	var ids []ID
	for _, f := range files {
		id, err := ParseID(strings.TrimPrefix(f.Name, "locks/"))
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, id)
	}
	return ids
}

// bubble runs a test on a repository of its own, with a clock that jumps.
func bubble(t *testing.T, f func(t *testing.T, r *Repository, st *faultStorage, j *journal)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		_, dir := newTestRepo(t, Options{})
		st := &faultStorage{dirStorage: dir}
		j := newJournal(t, dir)
		r, err := Open(t.Context(), st, []byte("test"), Options{Hostname: "web1", Location: "/srv/backups", Journal: j})
		if err != nil {
			t.Fatal(err)
		}
		f(t, r, st, j)
		if ids := lockFiles(t, dir); len(ids) > 0 {
			t.Errorf("%d locks are left", len(ids))
		}
		if len(j.locks) > 0 {
			t.Errorf("%d locks are left in the journal", len(j.locks))
		}
	})
}

func mustLock(t *testing.T, r *Repository, exclusive bool) *Lock {
	t.Helper()
	l, err := r.Lock(t.Context(), exclusive)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func mustUnlock(t *testing.T, l *Lock) {
	t.Helper()
	if err := l.Unlock(); err != nil {
		t.Error(err)
	}
}

func TestLockFile(t *testing.T) {
	bubble(t, func(t *testing.T, r *Repository, st *faultStorage, j *journal) {
		for _, exclusive := range []bool{false, true} {
			at := time.Now()
			l := mustLock(t, r, exclusive)
			if d := time.Since(at); d != lockSettle {
				t.Errorf("locking took %s", d)
			}
			ids := lockFiles(t, st.dirStorage)
			if len(ids) != 1 || !j.locks[ids[0]] {
				t.Fatalf("locks %v, journal %v", ids, j.locks)
			}
			text, err := r.loadUnpacked(t.Context(), "locks", ids[0])
			if err != nil {
				t.Fatal(err)
			}
			me := currentUser()
			want := fmt.Sprintf(`{"time":%q,"exclusive":%v,"hostname":"web1","username":%q,"pid":%d`, at.Format(time.RFC3339Nano), exclusive, me.Username, os.Getpid())
			if me.UID != 0 {
				want += fmt.Sprintf(`,"uid":%d`, me.UID)
			}
			if me.GID != 0 {
				want += fmt.Sprintf(`,"gid":%d`, me.GID)
			}
			if string(text) != want+"}" {
				t.Errorf("lock = %s, want %s}", text, want)
			}
			locks, err := r.Locks(t.Context())
			if err != nil || len(locks) != 1 || locks[0] != (LockInfo{ids[0], locks[0].Time, exclusive, "web1", me.Username, os.Getpid()}) || !locks[0].Time.Equal(at) {
				t.Errorf("locks = %+v, %v", locks, err)
			}
			if l.Context().Err() != nil {
				t.Error("the lock's context is done")
			}
			mustUnlock(t, l)
			mustUnlock(t, l)
			if l.Context().Err() == nil || errors.Is(context.Cause(l.Context()), ErrLockLost) {
				t.Errorf("after Unlock: %v", context.Cause(l.Context()))
			}
		}
	})
}

func TestLockConflicts(t *testing.T) {
	bubble(t, func(t *testing.T, r *Repository, _ *faultStorage, _ *journal) {
		for _, c := range []struct{ first, second, ok bool }{
			{false, false, true}, {false, true, false}, {true, false, false}, {true, true, false},
		} {
			first := mustLock(t, r, c.first)
			second, err := r.Lock(t.Context(), c.second)
			if (err == nil) != c.ok {
				t.Errorf("%+v: %v", c, err)
			}
			if err == nil {
				mustUnlock(t, second)
			} else {
				var e *LockedError
				if !errors.As(err, &e) || !errors.Is(err, ErrLocked) || len(e.Holders) != 1 || e.Holders[0].Exclusive != c.first || e.Holders[0].PID != os.Getpid() {
					t.Errorf("%+v: %v", c, err)
				}
				for _, word := range []string{"/srv/backups", "web1", fmt.Sprint(os.Getpid()), "unlock the repository", map[bool]string{true: "exclusive", false: "shared"}[c.first]} {
					if !strings.Contains(err.Error(), word) {
						t.Errorf("%v: does not tell %q", err, word)
					}
				}
			}
			mustUnlock(t, first)
		}
	})
}

// TestLockRace lets two lock at the same moment, when neither can have seen the other before: never do both get it.
func TestLockRace(t *testing.T) {
	for _, exclusive := range [][2]bool{{true, true}, {true, false}, {false, false}} {
		bubble(t, func(t *testing.T, r *Repository, _ *faultStorage, _ *journal) {
			var held [2]*Lock
			var wait sync.WaitGroup
			for i := range held {
				wait.Go(func() {
					l, err := r.Lock(t.Context(), exclusive[i])
					if err != nil && !errors.Is(err, ErrLocked) {
						t.Error(err)
					}
					held[i] = l
				})
			}
			wait.Wait()
			if both := held[0] != nil && held[1] != nil; both != (exclusive == [2]bool{}) {
				t.Errorf("exclusive %v: both hold a lock: %v", exclusive, both)
			}
			for _, l := range held {
				if l != nil {
					mustUnlock(t, l)
				}
			}
		})
	}
}

func TestLockRefresh(t *testing.T) {
	bubble(t, func(t *testing.T, r *Repository, st *faultStorage, j *journal) {
		l := mustLock(t, r, true)
		seen := make(map[ID]bool)
		for range 30 { // two and a half hours
			ids := lockFiles(t, st.dirStorage)
			if len(ids) != 1 || seen[ids[0]] || !maps.Equal(j.locks, map[ID]bool{ids[0]: true}) {
				t.Fatalf("locks %v, journal %v, seen %v", ids, j.locks, seen)
			}
			seen[ids[0]] = true
			locks, err := r.Locks(t.Context())
			if err != nil || !locks[0].Exclusive || time.Since(locks[0].Time) > lockRefresh {
				t.Errorf("locks = %+v, %v", locks, err)
			}
			time.Sleep(lockRefresh + lockTick)
			synctest.Wait()
		}
		if err := l.Context().Err(); err != nil {
			t.Error(err)
		}
		mustUnlock(t, l)
	})
}

// TestLockExpires makes refreshing fail: the work ends after 20 minutes, not before.
func TestLockExpires(t *testing.T) {
	for name, fail := range map[string]func(op, name string) error{
		"put fails":     func(op, _ string) error { return map[string]error{"put": errors.New("disk full")}[op] },
		"get fails":     func(op, _ string) error { return map[string]error{"get": errors.New("network")}[op] },
		"all fails":     func(string, string) error { return errors.New("network") },
		"storage hangs": func(string, string) error { time.Sleep(10 * time.Minute); return context.DeadlineExceeded },
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, r *Repository, st *faultStorage, _ *journal) {
				at := time.Now()
				l := mustLock(t, r, false)
				var mended atomic.Bool
				st.set(func(op, name string) error {
					if mended.Load() {
						return nil
					}
					return fail(op, name)
				})
				time.Sleep(time.Until(at.Add(lockExpiry)) - time.Second)
				synctest.Wait()
				if err := l.Context().Err(); err != nil {
					t.Errorf("given up too early: %v", context.Cause(l.Context()))
				}
				time.Sleep(2 * time.Second)
				synctest.Wait()
				if err := context.Cause(l.Context()); !errors.Is(err, ErrLockLost) || !strings.Contains(err.Error(), "/srv/backups") {
					t.Errorf("after %s: %v", lockExpiry, err)
				}
				mended.Store(true)
				mustUnlock(t, l)
			})
		})
	}
}

// TestLockRecovers has the storage away for a quarter of an hour: the lock stays.
func TestLockRecovers(t *testing.T) {
	bubble(t, func(t *testing.T, r *Repository, st *faultStorage, _ *journal) {
		l := mustLock(t, r, false)
		until := time.Now().Add(15 * time.Minute)
		st.set(func(string, string) error {
			if time.Now().Before(until) {
				return errors.New("network")
			}
			return nil
		})
		time.Sleep(2 * time.Hour)
		synctest.Wait()
		if err := context.Cause(l.Context()); err != nil {
			t.Error(err)
		}
		if ids := lockFiles(t, st.dirStorage); len(ids) != 1 {
			t.Errorf("%d locks", len(ids))
		}
		mustUnlock(t, l)
	})
}

// TestLockStolen removes the lock file as "restic unlock" does with what it takes for dead.
func TestLockStolen(t *testing.T) {
	bubble(t, func(t *testing.T, r *Repository, st *faultStorage, j *journal) {
		l := mustLock(t, r, false)
		time.Sleep(time.Minute)
		if err := r.RemoveLocks(t.Context(), lockFiles(t, st.dirStorage)); err != nil {
			t.Fatal(err)
		}
		time.Sleep(lockRefresh)
		synctest.Wait()
		if err := context.Cause(l.Context()); !errors.Is(err, ErrLockLost) {
			t.Errorf("the lock was stolen: %v", err)
		}
		if ids := lockFiles(t, st.dirStorage); len(ids) != 0 {
			t.Errorf("a lost lock was written again")
		}
		mustUnlock(t, l)
	})
}

// TestLockStolenDuringRefresh removes the old file while the new one is being written.
func TestLockStolenDuringRefresh(t *testing.T) {
	bubble(t, func(t *testing.T, r *Repository, st *faultStorage, _ *journal) {
		l := mustLock(t, r, false)
		st.set(func(op, _ string) error {
			if op == "put" {
				for _, id := range lockFiles(t, st.dirStorage) {
					os.Remove(st.path(lockName(id)))
				}
			}
			return nil
		})
		time.Sleep(lockRefresh + lockTick)
		synctest.Wait()
		if err := context.Cause(l.Context()); !errors.Is(err, ErrLockLost) {
			t.Errorf("the lock was stolen: %v", err)
		}
		mustUnlock(t, l)
	})
}

// TestLockAfterSuspend lets only the clock on the wall go on, as on a machine that sleeps: the lock is looked at soon
// after it wakes up.
func TestLockAfterSuspend(t *testing.T) {
	for _, stolen := range []bool{false, true} {
		bubble(t, func(t *testing.T, r *Repository, st *faultStorage, _ *journal) {
			var mu sync.Mutex
			var slept time.Duration
			r.opt.Now = func() time.Time {
				mu.Lock()
				defer mu.Unlock()
				return time.Now().Add(slept)
			}
			l := mustLock(t, r, false)
			before := lockFiles(t, st.dirStorage)
			mu.Lock()
			slept = 8 * time.Hour
			mu.Unlock()
			if stolen {
				if err := r.RemoveLocks(t.Context(), before); err != nil {
					t.Fatal(err)
				}
			}
			time.Sleep(lockTick)
			synctest.Wait()
			if err := context.Cause(l.Context()); errors.Is(err, ErrLockLost) != stolen {
				t.Errorf("stolen %v: %v", stolen, err)
			}
			if now := lockFiles(t, st.dirStorage); !stolen && (len(now) != 1 || now[0] == before[0]) {
				t.Errorf("locks %v after waking up, %v before", now, before)
			}
			mustUnlock(t, l)
		})
	}
}

// TestLockContextDone ends the caller's context, while locking and while holding: the lock is removed all the same.
func TestLockContextDone(t *testing.T) {
	bubble(t, func(t *testing.T, r *Repository, _ *faultStorage, _ *journal) {
		why := errors.New("the user has cancelled")
		ctx, cancel := context.WithCancelCause(t.Context())
		l, err := r.Lock(ctx, true)
		if err != nil {
			t.Fatal(err)
		}
		cancel(why)
		if err := context.Cause(l.Context()); err != why {
			t.Error(err)
		}
		mustUnlock(t, l)

		ctx, cancel = context.WithCancelCause(t.Context())
		time.AfterFunc(lockSettle/2, func() { cancel(why) })
		if l, err := r.Lock(ctx, true); !errors.Is(err, why) {
			t.Errorf("%v, %v", l, err)
		}
	})
}

// TestLockFaults makes every operation of locking fail in turn, also after it was done: no lock is left behind.
func TestLockFaults(t *testing.T) {
	broken := errors.New("broken")
	for k := 1; ; k++ {
		n := 0
		bubble(t, func(t *testing.T, r *Repository, st *faultStorage, _ *journal) {
			failing := true
			st.set(func(op, name string) error {
				if n++; n != k || !failing {
					return nil
				}
				if op == "put" { // it was stored, but the answer was lost
					if err := st.dirStorage.Put(context.Background(), name, []byte("x")); err != nil {
						t.Error(err)
					}
				}
				return broken
			})
			l, err := r.Lock(t.Context(), true)
			if n >= k && !errors.Is(err, broken) {
				t.Errorf("operation %d failed: %v", k, err)
			}
			if l != nil {
				failing = false
				mustUnlock(t, l)
			}
		})
		if n < k {
			if k < 4 {
				t.Errorf("only %d operations", k)
			}
			return
		}
	}
}

// TestUnlockFails tries again, and leaves the journal's entry as long as the file is there.
func TestUnlockFails(t *testing.T) {
	bubble(t, func(t *testing.T, r *Repository, st *faultStorage, j *journal) {
		l := mustLock(t, r, true)
		broken := errors.New("broken")
		st.set(func(op, _ string) error { return map[string]error{"delete": broken}[op] })
		if err := l.Unlock(); !errors.Is(err, broken) || !strings.Contains(err.Error(), lockFiles(t, st.dirStorage)[0].String()) {
			t.Errorf("unlock: %v", err)
		}
		if len(j.locks) != 1 {
			t.Error("the journal forgot a lock that is there")
		}
		st.set(nil)
		mustUnlock(t, l)
	})
}

// TestOldLockFileStays cannot delete the old files when refreshing: the lock holds, and all go at the end.
func TestOldLockFileStays(t *testing.T) {
	bubble(t, func(t *testing.T, r *Repository, st *faultStorage, j *journal) {
		l := mustLock(t, r, true)
		st.set(func(op, _ string) error { return map[string]error{"delete": errors.New("denied")}[op] })
		time.Sleep(time.Hour)
		synctest.Wait()
		if err := context.Cause(l.Context()); err != nil {
			t.Error(err)
		}
		if n := len(lockFiles(t, st.dirStorage)); n < 5 || len(j.locks) != n {
			t.Errorf("%d locks, %d in the journal", n, len(j.locks))
		}
		st.set(nil)
		mustUnlock(t, l)
	})
}

func TestLockJournalFails(t *testing.T) {
	bubble(t, func(t *testing.T, r *Repository, st *faultStorage, j *journal) {
		j.fail = errors.New("no space for the journal")
		if _, err := r.Lock(t.Context(), false); !errors.Is(err, j.fail) {
			t.Error(err)
		}
		if len(lockFiles(t, st.dirStorage)) > 0 {
			t.Error("a lock was written that nobody knows of")
		}
	})
}

// TestForeignLocks meets locks that are empty, unreadable, stale, or gone.
func TestForeignLocks(t *testing.T) {
	bubble(t, func(t *testing.T, r *Repository, st *faultStorage, _ *journal) {
		empty := ID{1}
		if err := st.Put(t.Context(), lockName(empty), nil); err != nil {
			t.Fatal(err)
		}
		mustUnlock(t, mustLock(t, r, true)) // as for restic, it is none
		if locks, err := r.Locks(t.Context()); err != nil || len(locks) != 0 {
			t.Errorf("%+v, %v", locks, err)
		}

		bad := ID{2}
		if err := st.Put(t.Context(), lockName(bad), []byte("rubbish")); err != nil {
			t.Fatal(err)
		}
		for _, exclusive := range []bool{false, true} {
			_, err := r.Lock(t.Context(), exclusive)
			var e *LockedError
			if !errors.As(err, &e) || len(e.Unreadable) != 1 || !strings.Contains(err.Error(), bad.String()) || !strings.Contains(err.Error(), "remove all locks") {
				t.Errorf("exclusive %v: %v", exclusive, err)
			}
		}
		stale, err := r.saveUnpacked(t.Context(), "locks", []byte(`{"time":"1999-01-01T00:00:00Z","exclusive":true,"hostname":"gone","username":"","pid":1}`))
		if err != nil {
			t.Fatal(err)
		}
		locks, err := r.Locks(t.Context())
		if !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), bad.String()) || len(locks) != 1 || locks[0].ID != stale {
			t.Errorf("%+v, %v", locks, err)
		}
		if err := r.RemoveLocks(t.Context(), []ID{bad, {99}}); err != nil {
			t.Error(err)
		}
		if _, err := r.Lock(t.Context(), false); !errors.Is(err, ErrLocked) || !strings.Contains(err.Error(), "gone") { // a stale one still blocks
			t.Error(err)
		}
		if err := r.RemoveLocks(t.Context(), []ID{stale, empty}); err != nil {
			t.Error(err)
		}
		mustUnlock(t, mustLock(t, r, true))
		st.set(func(op, _ string) error { return map[string]error{"delete": errors.New("denied")}[op] })
		if err := r.RemoveLocks(t.Context(), []ID{{3}}); err == nil {
			t.Error("an error of the storage was lost")
		}
		st.set(nil)
	})
}

func FuzzLock(f *testing.F) {
	for _, name := range []string{"interrupted-0.14", "interrupted-latest"} {
		fix, _, r := openFixture(f, name)
		text, err := r.loadUnpacked(f.Context(), "locks", fix.Locks[0].ID)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		l, err := parseLock(text)
		if err != nil {
			if !errors.Is(err, ErrDamaged) {
				t.Fatal(err)
			}
			return
		}
		e := &LockedError{Holders: []LockInfo{{Time: l.Time, Hostname: l.Hostname}}}
		if e.Error() == "" {
			t.Fatal("no message")
		}
		if again, err := json.Marshal(l); err == nil {
			if l2, err := parseLock(again); err != nil || l2.PID != l.PID || l2.Exclusive != l.Exclusive || !l2.Time.Equal(l.Time) {
				t.Fatalf("%s: %+v, %v", again, l2, err)
			}
		}
	})
}
