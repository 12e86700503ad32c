package repo_test

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/caddy-backup/caddy-backup/repo"
	"github.com/caddy-backup/caddy-backup/storage"
	"github.com/caddy-backup/caddy-backup/storage/storagetest"
)

// TestPruneRefuses: whatever is wrong with what it must rely on, it says so and deletes nothing.
func TestPruneRefuses(t *testing.T) {
	if testing.Short() {
		t.Skip("one thing after the other: no races to be found")
	}
	s := newScene(t)
	var keep []string
	for id := range s.keep {
		keep = append(keep, id.String())
	}
	slices.Sort(keep)
	everyOf := func(dir string, do func(st repo.Storage, name string)) func(*testing.T, repo.Storage, *storagetest.Faulty) {
		return func(t *testing.T, st repo.Storage, _ *storagetest.Faulty) {
			for _, name := range storagetest.Names(t, st, dir) {
				do(st, name)
			}
		}
	}
	flip := func(st repo.Storage, name string) { storagetest.Flip(t, st, name, 500) }
	fails := func(kind storagetest.Kind, prefix string) func(*testing.T, repo.Storage, *storagetest.Faulty) {
		return func(_ *testing.T, _ repo.Storage, f *storagetest.Faulty) {
			f.Inject(storagetest.Fault{Times: storagetest.Forever, Only: func(op storagetest.Op) bool {
				return op.Kind == kind && strings.HasPrefix(op.Name, prefix)
			}})
		}
	}
	snapshot := func(do func(st repo.Storage, name string)) func(*testing.T, repo.Storage, *storagetest.Faulty) {
		return func(_ *testing.T, st repo.Storage, _ *storagetest.Faulty) { do(st, "snapshots/"+keep[0]) }
	}
	wasDeleted := errors.New("somebody's count")
	for _, c := range []struct {
		name  string
		spoil func(*testing.T, repo.Storage, *storagetest.Faulty)
		opt   repo.PruneOptions
		is    error
	}{
		{"a damaged index file", everyOf("index", flip), repo.PruneOptions{}, repo.ErrDamaged},
		{"no index", everyOf("index", func(st repo.Storage, name string) { storagetest.Remove(t, st, name) }), repo.PruneOptions{}, repo.ErrDamaged},
		{"a damaged snapshot", snapshot(flip), repo.PruneOptions{}, repo.ErrDamaged},
		{"an empty snapshot", snapshot(func(st repo.Storage, name string) { storagetest.Truncate(t, st, name, 0) }), repo.PruneOptions{}, repo.ErrDamaged},
		{"damaged packs", everyOf("data", flip), repo.PruneOptions{}, repo.ErrDamaged},
		{"no packs", everyOf("data", func(st repo.Storage, name string) { storagetest.Remove(t, st, name) }), repo.PruneOptions{}, fs.ErrNotExist},
		{"packs cut short", everyOf("data", func(st repo.Storage, name string) { storagetest.Truncate(t, st, name, -1) }), repo.PruneOptions{}, repo.ErrDamaged},
		{"no snapshots", everyOf("snapshots", func(st repo.Storage, name string) { storagetest.Remove(t, st, name) }), repo.PruneOptions{}, repo.ErrNoSnapshots},
		{"snapshots cannot be listed", fails(storagetest.List, "snapshots"), repo.PruneOptions{}, storagetest.ErrInjected},
		{"the index cannot be listed", fails(storagetest.List, "index"), repo.PruneOptions{}, storagetest.ErrInjected},
		{"packs cannot be listed", fails(storagetest.List, "data"), repo.PruneOptions{}, storagetest.ErrInjected},
		{"snapshots cannot be read", fails(storagetest.Get, "snapshots/"), repo.PruneOptions{}, storagetest.ErrInjected},
		{"the index cannot be read", fails(storagetest.Get, "index/"), repo.PruneOptions{}, storagetest.ErrInjected},
		{"packs cannot be read", fails(storagetest.Get, "data/"), repo.PruneOptions{}, storagetest.ErrInjected},
		{"fewer snapshots than remembered", func(*testing.T, repo.Storage, *storagetest.Faulty) {}, repo.PruneOptions{
			Confirm: func(all []repo.Snapshot) error {
				if len(all) != len(s.keep) {
					t.Errorf("asked about %d snapshots", len(all))
				}
				return wasDeleted
			},
		}, wasDeleted},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f, below := s.open(t)
				r := openRepo(t, f)
				if err := forget(t, r, s.forget...); err != nil {
					t.Fatal(err)
				}
				c.spoil(t, below, f)
				before := storagetest.Names(t, below, "")
				report, err := prune(t, r, c.opt)
				if !errors.Is(err, c.is) || !strings.Contains(err.Error(), "nothing was deleted") || report != nil {
					t.Errorf("got %+v, %v", report, err)
				}
				if after := storagetest.Names(t, below, ""); !slices.Equal(before, after) {
					t.Errorf("%q became %q", before, after)
				}
			})
		})
	}
}

// TestPruneEmpties: when it is said that no snapshot is left on purpose, all data go.
func TestPruneEmpties(t *testing.T) {
	s := newScene(t)
	synctest.Test(t, func(t *testing.T) {
		f, below := s.open(t)
		r := openRepo(t, f)
		for _, name := range storagetest.Names(t, below, "snapshots") {
			storagetest.Remove(t, below, name)
		}
		report, err := prune(t, r, repo.PruneOptions{AllowEmpty: true})
		if err != nil {
			t.Fatal(err)
		}
		if left := slices.Concat(storagetest.Names(t, below, "data"), storagetest.Names(t, below, "index")); len(left) > 0 || report.BytesFreed == 0 {
			t.Errorf("%q is left; %+v", left, report)
		}
		if report, err := prune(t, r, repo.PruneOptions{}); err != nil || report.PacksKept != 0 { // nothing to lose
			t.Errorf("again: %+v, %v", report, err)
		}
	})
}

// TestPruneStopsWithoutLock removes the lock at each operation: nothing is written or deleted from a while after it, and
// what is there is whole.
func TestPruneStopsWithoutLock(t *testing.T) {
	s := newScene(t)
	for k, more := 7, true; more; k++ { // the sixth writes the lock
		synctest.Test(t, func(t *testing.T) {
			f, below := s.open(t)
			stolen := 0
			f.Hook(func(op storagetest.Op) error {
				if op.N == k {
					breakLocks(t, below)
					stolen = len(f.Trace())
				}
				return nil
			})
			err := s.work(t, f)
			f.Heal()
			more = stolen > 0
			if more && err == nil && !onlyPacks(f.Trace()[stolen:]) {
				t.Errorf("operation %d: the prune went on without a lock: %+v", k, f.Trace()[stolen:])
			}
			s.mustHeal(t, below)
		})
	}
}

// onlyPacks reports whether nothing is written and nothing is deleted but the lock, packs that no index lists any more, and
// the one file whose deletion had begun.
func onlyPacks(ops []storagetest.Op) bool {
	others := 0
	for _, op := range ops {
		if op.Kind == storagetest.Put || op.Kind == storagetest.Delete && !strings.HasPrefix(op.Name, "data/") && !strings.HasPrefix(op.Name, "locks/") {
			others++
		}
	}
	return others <= 1
}

// TestReadersOutliveAPrune: a download of the same process holds no lock; when its blobs move it finds them again.
func TestReadersOutliveAPrune(t *testing.T) {
	r := initRepo(t, new(storage.Memory), repo.Options{})
	// Of pieces that no repository cuts, so that all lie in one pack, beside the hole.
	files, node, want := content{}, repo.Node{Name: "all", Type: "file"}, []byte(nil)
	for i := range 12 {
		piece := noise(300 << 10)
		files[fmt.Sprintf("piece%02d", i)] = piece
		node.Content, want = append(node.Content, repo.Hash(piece)), append(want, piece...)
	}
	node.Size = uint64(len(want))
	files["hole"] = noise(100 << 10)
	gone, err := write(t.Context(), r, files)
	if err != nil {
		t.Fatal(err)
	}
	delete(files, "hole")
	if _, err := write(t.Context(), r, files); err != nil {
		t.Fatal(err)
	}
	file, err := r.OpenFile(t.Context(), node)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	got := make([]byte, len(want))
	if _, err := file.Read(got[:1000]); err != nil {
		t.Fatal(err)
	}
	if err := forget(t, r, gone.ID); err != nil {
		t.Fatal(err)
	}
	if report, err := prune(t, r, repo.PruneOptions{MaxUnused: repo.NoUnused}); err != nil || report.PacksRepacked == 0 {
		t.Fatalf("%+v, %v", report, err)
	}
	if _, err := file.ReadAt(got, 0); err != nil || !slices.Equal(got, want) {
		t.Errorf("after the prune: %v", err)
	}
}
