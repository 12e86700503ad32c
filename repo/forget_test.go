package repo_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/caddy-backup/caddy-backup/internal/realtest"
	"github.com/caddy-backup/caddy-backup/repo"
	"github.com/caddy-backup/caddy-backup/storage"
	"github.com/caddy-backup/caddy-backup/storage/storagetest"
)

// exclusive takes an exclusive lock, which is given back when the test ends.
func exclusive(t testing.TB, r *repo.Repository) *repo.Lock {
	t.Helper()
	lock, err := r.Lock(t.Context(), true)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = lock.Unlock() })
	return lock
}

// TestForget deletes what is named and nothing else, and says what is gone.
func TestForget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := new(storage.Memory)
		r := initRepo(t, st, repo.Options{})
		var ids []repo.ID
		for i := range 4 {
			s, err := write(t.Context(), r, content{"f": text(uint64(i), 1000)})
			if err != nil {
				t.Fatal(err)
			}
			ids = append(ids, s.ID)
		}
		f := storagetest.NewFaulty(st)
		r = openRepo(t, f)
		lock := exclusive(t, r)
		defer lock.Unlock()
		missing := repo.Hash([]byte("gone long ago"))
		gone, err := r.Forget(t.Context(), lock, []repo.ID{ids[0], missing})
		if err != nil || len(gone) != 2 || !slices.Contains(gone, ids[0]) || !slices.Contains(gone, missing) {
			t.Errorf("forget: %v, %v", gone, err)
		}
		f.Inject(storagetest.Fault{Only: deletes, How: storagetest.After}) // the answer is lost, not the deletion
		if gone, err := r.Forget(t.Context(), lock, ids[1:2]); err != nil || !slices.Equal(gone, ids[1:2]) {
			t.Errorf("forget without an answer: %v, %v", gone, err)
		}
		f.Inject(storagetest.Fault{Only: deletes})
		if gone, err := r.Forget(t.Context(), lock, ids[2:3]); err == nil || len(gone) != 0 {
			t.Errorf("forget that failed: %v, %v", gone, err)
		}
		if all, err := r.Snapshots(t.Context()); err != nil || len(all) != 2 {
			t.Errorf("%d snapshots are left, %v", len(all), err)
		}
	})
}

func deletes(op storagetest.Op) bool { return op.Kind == storagetest.Delete }

// TestExclusiveWorkRefusesOtherLocks: a lock that does not keep others out, or keeps them out of something else, or is over.
func TestExclusiveWorkRefusesOtherLocks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := new(storage.Memory)
		r := initRepo(t, st, repo.Options{})
		s, err := write(t.Context(), r, content{"f": []byte("x")})
		if err != nil {
			t.Fatal(err)
		}
		other := openRepo(t, st)
		lock := func(r *repo.Repository, exclusive bool) *repo.Lock {
			l, err := r.Lock(t.Context(), exclusive)
			if err != nil {
				t.Fatal(err)
			}
			return l
		}
		tries := []struct {
			what string
			lock func() *repo.Lock
		}{
			{"no lock", func() *repo.Lock { return nil }},
			{"a shared lock", func() *repo.Lock { return lock(r, false) }},
			{"the lock of another", func() *repo.Lock { return lock(other, true) }},
			{"a lock that is over", func() *repo.Lock { l := lock(r, true); _ = l.Unlock(); return l }},
			{"a lock that was removed", func() *repo.Lock {
				l := lock(r, true)
				for _, name := range storagetest.Names(t, st, "locks") {
					storagetest.Remove(t, st, name)
				}
				return l
			}},
		}
		for _, try := range tries {
			before := storagetest.Names(t, st, "snapshots")
			for what, work := range map[string]func(*repo.Lock) error{
				"forget": func(l *repo.Lock) error { _, err := r.Forget(t.Context(), l, []repo.ID{s.ID}); return err },
				"retag":  func(l *repo.Lock) error { _, err := r.Retag(t.Context(), l, s, []string{"x"}); return err },
				"prune":  func(l *repo.Lock) error { _, err := r.Prune(t.Context(), l, repo.PruneOptions{}); return err },
			} {
				l := try.lock()
				if err := work(l); err == nil {
					t.Errorf("%s with %s passed", what, try.what)
				}
				if l != nil {
					_ = l.Unlock()
				}
			}
			if after := storagetest.Names(t, st, "snapshots"); !slices.Equal(before, after) {
				t.Errorf("with %s: %q became %q", try.what, before, after)
			}
		}
	})
}

// TestRetag keeps all but the ID and the tags, and what was left by one that was cut off.
func TestRetag(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := new(storage.Memory)
		r := initRepo(t, st, repo.Options{})
		first, err := write(t.Context(), r, content{"f": []byte("x")})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := write(t.Context(), r, content{"f": []byte("x")}); err != nil {
			t.Fatal(err)
		}
		lock := exclusive(t, r)
		defer lock.Unlock()
		kept, err := r.Retag(t.Context(), lock, first, []string{"t", "keep"})
		if err != nil || kept.ID == first.ID || kept.StableID() != first.ID || !slices.Equal(kept.Tags, []string{"t", "keep"}) {
			t.Fatalf("retagged to %+v, %v", kept, err)
		}
		back, err := r.Retag(t.Context(), lock, kept, nil)
		if err != nil || back.StableID() != first.ID || back.Tags != nil {
			t.Fatalf("retagged back to %+v, %v", back, err)
		}
		found, err := openRepo(t, st).FindSnapshot(t.Context(), first.ID.String(), repo.SnapshotFilter{})
		if err != nil || found.ID != back.ID || found.Tree != first.Tree || !found.Time.Equal(first.Time) || found.Summary == nil {
			t.Errorf("found %+v, %v", found, err)
		}
		if _, err := r.Retag(t.Context(), lock, first, nil); !errors.Is(err, repo.ErrNotFound) {
			t.Errorf("of one that is gone: %v", err)
		}
		crashed := storagetest.Read(t, st, "snapshots/"+back.ID.String())
		again, err := r.Retag(t.Context(), lock, back, []string{"t"})
		if err != nil {
			t.Fatal(err)
		}
		storagetest.Write(t, st, "snapshots/"+back.ID.String(), crashed) // as a crash leaves it
		if _, err := r.Retag(t.Context(), lock, again, []string{"t"}); err != nil {
			t.Fatal(err)
		}
		if all, err := r.Snapshots(t.Context()); err != nil || len(all) != 2 {
			t.Errorf("%d snapshots, %v", len(all), err)
		}
	})
}

// TestCrashInRetag ends the process at each operation, before, in the middle and after it; or only that operation fails.
func TestCrashInRetag(t *testing.T) {
	base, old := template(t)
	disturb := map[string]func(f *storagetest.Faulty, k int){}
	for _, how := range []storagetest.How{storagetest.Before, storagetest.Midway, storagetest.After} {
		disturb[how.String()+", crash"] = func(f *storagetest.Faulty, k int) { f.Crash(k, how) }
		disturb[how.String()] = func(f *storagetest.Faulty, k int) { f.Inject(storagetest.Fault{At: k, How: how}) }
	}
	half := func(name string) bool { return strings.Contains(name, "-tmp-") }
	for what, do := range disturb {
		k, step := realtest.Points(t)
		for more := true; more; k += step {
			synctest.Test(t, func(t *testing.T) {
				f, below := disturbed(t, base)
				do(f, k)
				err := retagOver(t, f, old)
				more = f.Fired() > 0
				breakLocks(t, below)
				s, found := openRepo(t, below).FindSnapshot(t.Context(), old.String(), repo.SnapshotFilter{})
				if found != nil || err == nil && !slices.Equal(s.Tags, []string{"keep"}) {
					t.Errorf("%s operation %d: found %+v, %v after %v", what, k, s, found, err)
				}
				if err := retagOver(t, below, old); err != nil {
					t.Errorf("%s operation %d: again: %v", what, k, err)
				}
				if names := slices.DeleteFunc(storagetest.Names(t, below, "snapshots"), half); len(names) != 1 {
					t.Errorf("%s operation %d: left %q", what, k, names)
				}
				mustHoldStable(t, below, old)
			})
		}
	}
}

// retagOver opens the repository and pins the snapshot, as a process does that begins and ends.
func retagOver(t *testing.T, st repo.Storage, id repo.ID) error {
	r, err := repo.Open(t.Context(), st, []byte(password), repo.Options{KDF: cheap})
	if err != nil {
		return err
	}
	lock, err := r.Lock(t.Context(), true)
	if err != nil {
		return err
	}
	defer lock.Unlock()
	s, err := r.FindSnapshot(t.Context(), id.String(), repo.SnapshotFilter{})
	if err != nil {
		return err
	}
	_, err = r.Retag(t.Context(), lock, s, []string{"keep"})
	return err
}

// breakLocks removes the locks of a process that is gone, as its journal has the next one do.
func breakLocks(t testing.TB, st repo.Storage) {
	t.Helper()
	for _, name := range storagetest.Names(t, st, "locks") {
		storagetest.Remove(t, st, name)
	}
}

// mustHoldStable proves that the acknowledged snapshot is whole.
func mustHoldStable(t *testing.T, st repo.Storage, old repo.ID) {
	t.Helper()
	r := openRepoWithIndex(t, st)
	s, err := r.FindSnapshot(t.Context(), old.String(), repo.SnapshotFilter{})
	if err != nil {
		t.Fatal(err)
	}
	verify(t, r, s.Tree, acknowledged)
	mustCheck(t, r)
}
