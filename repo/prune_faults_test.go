package repo_test

import (
	"fmt"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-backup/caddy-backup/internal/realtest"
	"github.com/caddy-backup/caddy-backup/repo"
	"github.com/caddy-backup/caddy-backup/storage"
	"github.com/caddy-backup/caddy-backup/storage/storagetest"
)

// scene is a repository in which a prune has something to do in each of its steps, once the first three snapshots are gone:
// packs to drop, packs of data and of trees to repack, a pack in no index, a pack that stays while its index file goes, an
// index file that stays.
type scene struct {
	base   storage.Memory
	forget []repo.ID
	keep   map[repo.ID]content
}

func newScene(t testing.TB) *scene {
	s := &scene{keep: map[repo.ID]content{}}
	r := initRepo(t, &s.base, repo.Options{PackSize: 4 << 20})
	shared := text(3, 40<<10)
	for i, files := range []content{
		{"only": text(1, 30<<10)},
		{"moved": text(5, 20<<10)},
		{"hole": text(2, 30<<10), "shared": shared, "dir": nil, "dir/f": []byte("in a tree of its own")},
		{"shared": shared, "dir": nil, "dir/f": []byte("in a tree of its own"), "new": []byte("new")},
		{"moved here": text(5, 20<<10)},
		{"other": text(4, 20<<10)},
	} {
		made, err := write(t.Context(), r, files)
		if err != nil {
			t.Fatal(err)
		}
		if i < 3 {
			s.forget = append(s.forget, made.ID)
		} else {
			s.keep[made.ID] = files
		}
	}
	lost := noise(1000)
	id := repo.Hash(lost).String()
	storagetest.Write(t, &s.base, "data/"+id[:2]+"/"+id, lost)
	return s
}

// open copies the scene behind a storage that things go wrong on, and lets two days go by. Call it in a bubble.
func (s *scene) open(t testing.TB) (*storagetest.Faulty, *storage.Memory) {
	below := new(storage.Memory)
	storagetest.Copy(t, below, &s.base)
	time.Sleep(48 * time.Hour)
	return storagetest.NewFaulty(below), below
}

// work forgets and prunes, as a process does that begins and ends.
func (s *scene) work(t testing.TB, st repo.Storage) error {
	r, err := repo.Open(t.Context(), st, []byte(password), repo.Options{KDF: cheap, PackSize: 4 << 20})
	if err != nil {
		return err
	}
	lock, err := r.Lock(t.Context(), true)
	if err != nil {
		return err
	}
	defer lock.Unlock()
	if _, err := r.Forget(t.Context(), lock, s.forget); err != nil {
		return err
	}
	_, err = r.Prune(t.Context(), lock, repo.PruneOptions{MaxUnused: repo.NoUnused})
	return err
}

// holds proves that all that is to be kept is whole and that the check finds no error.
func (s *scene) holds(t testing.TB, st repo.Storage) {
	t.Helper()
	r := openRepoWithIndex(t, st)
	for id, files := range s.keep {
		found, err := r.FindSnapshot(t.Context(), id.String(), repo.SnapshotFilter{})
		if err != nil {
			t.Fatal(err)
		}
		verify(t, r, found.Tree, files)
	}
	report, err := r.Check(t.Context(), repo.CheckOptions{ReadData: true})
	if err != nil {
		t.Fatal(err)
	}
	if report.Errors() > 0 {
		t.Errorf("check finds %+v", report.Problems)
	}
}

// mustHeal proves that what a fault left is whole, and that the next prune, two days later, leaves nothing to be desired.
func (s *scene) mustHeal(t testing.TB, st repo.Storage) {
	t.Helper()
	s.holds(t, st)
	breakLocks(t, st)
	time.Sleep(48 * time.Hour)
	if err := s.work(t, st); err != nil {
		t.Fatalf("the next prune: %v", err)
	}
	s.holds(t, st)
	mustCheck(t, openRepo(t, st)) // without any note
	plan, err := prune(t, openRepo(t, st), repo.PruneOptions{DryRun: true, MaxUnused: repo.NoUnused})
	if err != nil || plan.BytesUnused+plan.BytesDuplicate+plan.BytesFreed+int64(plan.PacksTooYoung+plan.PacksUnindexed) > 0 {
		t.Errorf("after it: %+v, %v", plan, err)
	}
}

// checkWithRestic has restic's check read a copy.
func checkWithRestic(t *testing.T, st repo.Storage) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "repo")
	storagetest.Copy(t, storage.NewLocal(dir), st)
	realtest.Restic(t, dir, password, "check", "--read-data")
}

// TestCrashInPrune ends the process before, in the middle of and after each operation of forget and prune.
func TestCrashInPrune(t *testing.T) {
	s := newScene(t)
	for _, how := range []storagetest.How{storagetest.After, storagetest.Before, storagetest.Midway} {
		if testing.Short() && how != storagetest.After {
			continue
		}
		k, step := realtest.Points(t)
		for more := true; more; k += step {
			t.Run(fmt.Sprintf("%v operation %d", how, k), func(t *testing.T) {
				var left *storage.Memory
				synctest.Test(t, func(t *testing.T) {
					f, below := s.open(t)
					f.Crash(k, how)
					err := s.work(t, f)
					if more = f.Fired() > 0; !more && err != nil {
						t.Fatal(err)
					}
					left = new(storage.Memory)
					storagetest.Copy(t, left, below)
					s.mustHeal(t, below)
				})
				if k%25 == 12 {
					breakLocks(t, left)
					checkWithRestic(t, left)
				}
			})
		}
	}
}

// TestEveryOperationOfPruneFails has the k-th operation fail, once and for ever, or not answer truly.
func TestEveryOperationOfPruneFails(t *testing.T) {
	if testing.Short() {
		t.Skip("one thing after the other: no races to be found")
	}
	s := newScene(t)
	lists := func(op storagetest.Op) bool { return op.Kind == storagetest.List }
	faults := []storagetest.Fault{
		{How: storagetest.Before}, {How: storagetest.Before, Times: storagetest.Forever},
		{How: storagetest.After}, {How: storagetest.Midway},
		{How: storagetest.Corrupt, Only: reads}, {How: storagetest.Short, Only: reads}, {How: storagetest.Lie, Only: reads},
		{How: storagetest.Short, Only: lists}, {How: storagetest.Lie, Only: lists},
	}
	if testing.Short() {
		faults = faults[:1]
	}
	for _, fault := range faults {
		for k, more := 1, true; more; k++ {
			t.Run(fmt.Sprintf("%v operation %d times %d", fault.How, k, fault.Times), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					f, below := s.open(t)
					fault.At = k
					f.Inject(fault)
					_ = s.work(t, f)
					more = f.Fired() > 0
					s.mustHeal(t, below)
				})
			})
		}
	}
}

// TestCrashInPruneOnFullDisk ends the process at each operation of a prune that runs out of space, for packs or for an
// index, and so takes back what it has stored and deletes what it can.
func TestCrashInPruneOnFullDisk(t *testing.T) {
	if testing.Short() {
		t.Skip("one thing after the other: no races to be found")
	}
	s := newScene(t)
	puts := func(dir string) func(storagetest.Op) bool {
		return func(op storagetest.Op) bool { return op.Kind == storagetest.Put && strings.HasPrefix(op.Name, dir) }
	}
	for name, full := range map[string]storagetest.Fault{
		"no room for packs":                   {Only: puts("data/"), Times: storagetest.Forever},
		"room for one pack":                   {Only: puts("data/"), At: 2, Times: storagetest.Forever},
		"no room for an index until packs go": {Only: puts("index/"), At: 2},
	} {
		full.Err = syscall.ENOSPC
		for k, more := 1, true; more; k++ {
			t.Run(fmt.Sprintf("%s, operation %d", name, k), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					f, below := s.open(t)
					f.Inject(full)
					var crashed atomic.Bool // packs are deleted several at once
					f.Hook(func(op storagetest.Op) error {
						if op.N < k {
							return nil
						}
						crashed.Store(true)
						return storagetest.ErrCrashed
					})
					err := s.work(t, f)
					if more = crashed.Load(); !more && err != nil {
						t.Error(err)
					}
					s.mustHeal(t, below)
				})
			})
		}
	}
}
