package repo_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/caddy-backup/caddy-backup/internal/realtest"
	"github.com/caddy-backup/caddy-backup/repo"
	"github.com/caddy-backup/caddy-backup/storage"
	"github.com/caddy-backup/caddy-backup/storage/storagetest"
)

// The content of the snapshots that are damaged and repaired: small files in one pack, large ones in several.
var (
	older = content{"dir": nil, "dir/a": text(1, 600<<10), "dir/b": noise(5 << 20), "small": []byte("small"), "deep": nil, "deep/er": nil, "deep/er/c": []byte("c")}
	newer = content{"dir": nil, "dir/a": text(1, 600<<10), "dir/new": noise(5 << 20), "small": []byte("changed")}
)

// twoSnapshots makes a repository with older and newer, each with an index file of its own.
func twoSnapshots(t testing.TB) *storage.Memory {
	t.Helper()
	st := new(storage.Memory)
	r := initRepo(t, st, repo.Options{PackSize: 4 << 20})
	for _, files := range []content{older, newer} {
		if _, err := write(t.Context(), r, files); err != nil {
			t.Fatal(err)
		}
	}
	return st
}

// alone does work on a repository that was opened afresh, under an exclusive lock.
func alone(ctx context.Context, st repo.Storage, work func(*repo.Repository, *repo.Lock) error) error {
	r, err := repo.Open(ctx, st, []byte(password), repo.Options{KDF: cheap, PackSize: 4 << 20})
	if err != nil {
		return err
	}
	lock, err := r.Lock(ctx, true)
	if err != nil {
		return err
	}
	return errors.Join(work(r, lock), lock.Unlock())
}

// checked is a check of everything, whose errors a repair may not leave.
func checked(t testing.TB, st repo.Storage) *repo.CheckReport {
	t.Helper()
	report, err := openRepo(t, st).Check(t.Context(), repo.CheckOptions{ReadData: true})
	if err != nil {
		t.Fatal(err)
	}
	return report
}

// repairIndex repairs the index, after the packs that a check found damaged were named.
func repairIndex(t testing.TB, st repo.Storage, o repo.RepairIndexOptions) *repo.IndexRepair {
	t.Helper()
	var report *repo.IndexRepair
	damaged := checked(t, st).DamagedPacks
	err := alone(t.Context(), st, func(r *repo.Repository, l *repo.Lock) (err error) {
		r.Distrust(damaged)
		report, err = r.RepairIndex(t.Context(), l, o)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return report
}

func repairSnapshots(t testing.TB, st repo.Storage, o repo.RepairSnapshotsOptions) *repo.SnapshotsRepair {
	t.Helper()
	var report *repo.SnapshotsRepair
	err := alone(t.Context(), st, func(r *repo.Repository, l *repo.Lock) (err error) {
		report, err = r.RepairSnapshots(t.Context(), l, o)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return report
}

// mustBeClean has both checks find nothing but notes.
func mustBeClean(t testing.TB, st repo.Storage, restic bool) {
	t.Helper()
	if report := checked(t, st); report.Errors() > 0 {
		t.Errorf("check finds %+v", report.Problems)
	}
	if !restic {
		return
	}
	dir := filepath.Join(t.TempDir(), "repo")
	storagetest.Copy(t, storage.NewLocal(dir), st)
	if _, err := realtest.TryRestic(t, dir, password, "check", "--read-data"); err != nil {
		t.Error(err)
	}
}

// byContent finds a snapshot by a file that only it has.
func snapshotWith(t testing.TB, r *repo.Repository, path string) (found []repo.Snapshot) {
	t.Helper()
	all, err := r.Snapshots(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range all {
		if _, err := r.Lookup(t.Context(), s.Tree, path); err == nil {
			found = append(found, s)
		}
	}
	return found
}

// mustHoldBoth has both snapshots whole.
func mustHoldBoth(t testing.TB, st repo.Storage) {
	t.Helper()
	r := openRepoWithIndex(t, st)
	for path, files := range map[string]content{"deep": older, "dir/new": newer} {
		if found := snapshotWith(t, r, path); len(found) != 1 {
			t.Errorf("%d snapshots with %s", len(found), path)
		} else {
			verify(t, r, found[0].Tree, files)
		}
	}
}

// TestRepairIndex makes the index whole from every state that loses nothing, and leaves it alone when it is whole.
func TestRepairIndex(t *testing.T) {
	base := twoSnapshots(t)
	index := storagetest.Names(t, base, "index")
	if len(index) != 2 {
		t.Fatal(index)
	}
	for name, damage := range map[string]func(*storage.Memory){
		"nothing":     func(*storage.Memory) {},
		"one flipped": func(st *storage.Memory) { storagetest.Flip(t, st, index[0], 300) },
		"both cut": func(st *storage.Memory) {
			storagetest.Truncate(t, st, index[0], 33)
			storagetest.Truncate(t, st, index[1], 0)
		},
		"one gone": func(st *storage.Memory) { storagetest.Remove(t, st, index[0]) },
		"all gone": func(st *storage.Memory) { storagetest.Remove(t, st, index[0]); storagetest.Remove(t, st, index[1]) },
		"one gone and one cut": func(st *storage.Memory) {
			storagetest.Remove(t, st, index[1])
			storagetest.Truncate(t, st, index[0], -1)
		},
	} {
		bubble(t, name, func(t *testing.T) {
			st := new(storage.Memory)
			storagetest.Copy(t, st, base)
			damage(st)
			before := storagetest.Names(t, st, "")
			dry := repairIndex(t, st, repo.RepairIndexOptions{DryRun: true})
			if after := storagetest.Names(t, st, ""); !slices.Equal(before, after) {
				t.Error("a dry run has changed something")
			}
			report := repairIndex(t, st, repo.RepairIndexOptions{})
			dry.DryRun = false
			if fmt.Sprintf("%+v", dry) != fmt.Sprintf("%+v", report) {
				t.Errorf("the dry run said %+v, it was %+v", dry, report)
			}
			if report.Clean() != (name == "nothing") || len(report.Missing)+len(report.Damaged) > 0 {
				t.Errorf("%+v", report)
			}
			if name == "one flipped" && (report.FilesWritten != 1 || report.FilesDeleted != 1 || report.HeadersRead != len(report.Found)) {
				t.Errorf("more was done than must be: %+v", report)
			}
			mustBeClean(t, st, strings.HasPrefix(name, "one"))
			mustHoldBoth(t, st)
			if again := repairIndex(t, st, repo.RepairIndexOptions{}); !again.Clean() || again.HeadersRead > 0 {
				t.Errorf("not done: %+v", again)
			}
			if all := repairIndex(t, st, repo.RepairIndexOptions{ReadAll: true}); !all.Clean() || all.HeadersRead != all.Packs {
				t.Errorf("all headers: %+v", all)
			}
		})
	}
}

// bubble is a subtest in which waiting for locks takes no time.
func bubble(t *testing.T, name string, f func(*testing.T)) {
	t.Run(name, func(t *testing.T) { synctest.Test(t, f) })
}

// dataPacks are the packs of a repository from small to large.
func dataPacks(t testing.TB, st repo.Storage) []string {
	t.Helper()
	packs := storagetest.Names(t, st, "data")
	slices.SortFunc(packs, func(a, b string) int {
		return len(storagetest.Read(t, st, a)) - len(storagetest.Read(t, st, b))
	})
	return packs
}

// lossy are states in which something is lost; each is repaired.
func lossy(t testing.TB, base repo.Storage) map[string]func(*storage.Memory) {
	packs := dataPacks(t, base)
	states := map[string]func(*storage.Memory){}
	if !realtest.Soak() {
		packs = []string{packs[0], packs[len(packs)-1]}
	}
	for i, name := range packs {
		states[fmt.Sprintf("pack %d gone", i)] = func(st *storage.Memory) { storagetest.Remove(t, st, name) }
		states[fmt.Sprintf("pack %d flipped", i)] = func(st *storage.Memory) { storagetest.Flip(t, st, name, 40*8) }
		states[fmt.Sprintf("pack %d flipped at its end", i)] = func(st *storage.Memory) { storagetest.Flip(t, st, name, -1) }
		states[fmt.Sprintf("pack %d cut", i)] = func(st *storage.Memory) { storagetest.Truncate(t, st, name, -1) }
		states[fmt.Sprintf("pack %d empty", i)] = func(st *storage.Memory) { storagetest.Truncate(t, st, name, 0) }
	}
	for i, name := range storagetest.Names(t, base, "snapshots") {
		states[fmt.Sprintf("snapshot %d flipped", i)] = func(st *storage.Memory) { storagetest.Flip(t, st, name, 100) }
	}
	index := storagetest.Names(t, base, "index")
	states["a pack and an index file gone"] = func(st *storage.Memory) {
		storagetest.Remove(t, st, packs[len(packs)-1])
		storagetest.Remove(t, st, index[0])
	}
	return states
}

// TestRepairBoth repairs the index and then the snapshots, from every state in which something is lost: both checks are
// clean then, whatever is left under its own name is right, and what is lost is marked.
func TestRepairBoth(t *testing.T) {
	if testing.Short() {
		t.Skip("one thing after the other: no races to be found")
	}
	base := twoSnapshots(t)
	n := 0
	for name, damage := range lossy(t, base) {
		n++
		restic := n%5 == 0
		bubble(t, name, func(t *testing.T) {
			st := new(storage.Memory)
			storagetest.Copy(t, st, base)
			damage(st)
			dryRunChangesNothing(t, st)
			repairIndex(t, st, repo.RepairIndexOptions{})
			dryRunChangesNothing(t, st)
			report := repairSnapshots(t, st, repo.RepairSnapshotsOptions{})
			if again := repairSnapshots(t, st, repo.RepairSnapshotsOptions{}); slices.ContainsFunc(again.Broken, func(b repo.RepairedSnapshot) bool { return !b.Known }) {
				t.Errorf("repaired twice: %+v", again)
			}
			snapshots := len(storagetest.Names(t, st, "snapshots"))
			if report.Unreadable == nil || snapshots != 2+len(report.Broken) {
				t.Errorf("%d snapshots: %+v", snapshots, report)
			}
			forgot := repairSnapshots(t, st, repo.RepairSnapshotsOptions{Forget: true})
			if len(forgot.Forgotten) != len(report.Broken)+len(report.Unreadable) {
				t.Errorf("forgotten: %+v", forgot)
			}
			mustBeClean(t, st, restic || strings.Contains(name, "index"))
			marked(t, st, report)
			if _, err := write(t.Context(), openRepo(t, st), older); err != nil {
				t.Errorf("the next backup: %v", err)
			}
		})
	}
}

func dryRunChangesNothing(t *testing.T, st repo.Storage) {
	t.Helper()
	before := storagetest.Names(t, st, "")
	repairIndex(t, st, repo.RepairIndexOptions{DryRun: true})
	err := alone(t.Context(), st, func(r *repo.Repository, l *repo.Lock) error {
		_, err := r.RepairSnapshots(t.Context(), l, repo.RepairSnapshotsOptions{DryRun: true, Forget: true})
		return err
	})
	if err != nil && !errors.Is(err, repo.ErrIndex) {
		t.Error(err)
	}
	if after := storagetest.Names(t, st, ""); !slices.Equal(before, after) {
		t.Error("a dry run has changed something")
	}
}

// marked proves that every file of every snapshot is right, or marked as lost and listed.
func marked(t *testing.T, st repo.Storage, report *repo.SnapshotsRepair) {
	t.Helper()
	r := openRepoWithIndex(t, st)
	all, err := r.Snapshots(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if len(all)+len(report.Unreadable) != 2 {
		t.Errorf("%d snapshots", len(all))
	}
	for _, s := range all {
		repaired, list, lost := slices.Contains(s.Tags, repo.TagRepaired), "", 0
		for e, err := range r.Walk(t.Context(), s.Tree) {
			if err != nil {
				t.Fatal(err)
			}
			switch {
			case e.Path == "LOST.txt":
				list = string(readAll(t, r, e.Node))
			case strings.HasSuffix(e.Path, ".LOST"):
				lost++
			case e.Node.Type == "file":
				got := readAll(t, r, e.Node)
				if !bytes.Equal(got, older[e.Path]) && !bytes.Equal(got, newer[e.Path]) {
					t.Errorf("%s holds %d wrong bytes", e.Path, len(got))
				}
			}
		}
		if repaired != (list != "") || repaired && s.Original == nil || lost > strings.Count(list, "\n") {
			t.Errorf("repaired %v, original %v, %d marked: %q", repaired, s.Original, lost, list)
		}
	}
	for _, b := range report.Broken {
		if b.Files == 0 || b.Files != len(b.Lost) || b.New.StableID() != b.Old.ID {
			t.Errorf("%+v", b)
		}
	}
}

// TestRepairNeedsTheIndex: what just the index does not know is not lost.
func TestRepairNeedsTheIndex(t *testing.T) { synctest.Test(t, testRepairNeedsTheIndex) }

func testRepairNeedsTheIndex(t *testing.T) {
	base := twoSnapshots(t)
	for name, damage := range map[string]func(*storage.Memory){
		"index file damaged": func(st *storage.Memory) { storagetest.Flip(t, st, storagetest.Names(t, st, "index")[0], 9) },
		"index file gone":    func(st *storage.Memory) { storagetest.Remove(t, st, storagetest.Names(t, st, "index")[0]) },
		"pack gone":          func(st *storage.Memory) { storagetest.Remove(t, st, dataPacks(t, st)[0]) },
		"pack cut":           func(st *storage.Memory) { storagetest.Truncate(t, st, dataPacks(t, st)[0], 31) },
	} {
		st := new(storage.Memory)
		storagetest.Copy(t, st, base)
		damage(st)
		before := len(storagetest.Names(t, st, "snapshots"))
		err := alone(t.Context(), st, func(r *repo.Repository, l *repo.Lock) error {
			_, err := r.RepairSnapshots(t.Context(), l, repo.RepairSnapshotsOptions{Forget: true})
			return err
		})
		if !errors.Is(err, repo.ErrIndex) || len(storagetest.Names(t, st, "snapshots")) != before {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestRepairRefuses an index that no pack is left of, a listing that leaves packs out, and a shared lock.
func TestRepairRefuses(t *testing.T) { synctest.Test(t, testRepairRefuses) }

func testRepairRefuses(t *testing.T) {
	st := twoSnapshots(t)
	r := openRepo(t, st)
	lock, err := r.Lock(t.Context(), false)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.RepairIndex(t.Context(), lock, repo.RepairIndexOptions{}); err == nil {
		t.Error("under a shared lock")
	}
	if _, err := r.RepairSnapshots(t.Context(), lock, repo.RepairSnapshotsOptions{}); err == nil {
		t.Error("under a shared lock")
	}
	if err := lock.Unlock(); err != nil {
		t.Fatal(err)
	}
	for _, how := range []storagetest.How{storagetest.Lie, storagetest.Short, storagetest.Midway} {
		f := storagetest.NewFaulty(st)
		f.Inject(storagetest.Fault{How: how, Times: storagetest.Forever, Only: func(op storagetest.Op) bool {
			return op.Kind == storagetest.List && op.Name == "data"
		}})
		before := storagetest.Names(t, st, "index")
		err := alone(t.Context(), f, func(r *repo.Repository, l *repo.Lock) error {
			_, err := r.RepairIndex(t.Context(), l, repo.RepairIndexOptions{})
			return err
		})
		if after := storagetest.Names(t, st, "index"); err == nil || !slices.Equal(before, after) {
			t.Errorf("a listing that is %v: %v", how, err)
		}
	}
}

// TestReadWithoutIndex: while index files are damaged or gone, everything can be read, and no backup counts on it.
func TestReadWithoutIndex(t *testing.T) { synctest.Test(t, testReadWithoutIndex) }

func testReadWithoutIndex(t *testing.T) {
	base := twoSnapshots(t)
	for _, name := range storagetest.Names(t, base, "index") {
		for what, damage := range map[string]func(repo.Storage){
			"gone":    func(st repo.Storage) { storagetest.Remove(t, st, name) },
			"damaged": func(st repo.Storage) { storagetest.Flip(t, st, name, 77) },
		} {
			st := new(storage.Memory)
			storagetest.Copy(t, st, base)
			damage(st)
			r := openRepo(t, st)
			for path, files := range map[string]content{"deep": older, "dir/new": newer} {
				for _, s := range snapshotWith(t, r, path) {
					verify(t, r, s.Tree, files)
				}
			}
			if what == "damaged" {
				if _, err := write(t.Context(), r, older); !errors.Is(err, repo.ErrIndex) {
					t.Errorf("a backup beside a damaged index file: %v", err)
				}
				continue
			}
			s, err := write(t.Context(), r, older)
			if err != nil {
				t.Fatal(err)
			}
			storagetest.Write(t, st, name, storagetest.Read(t, base, name)) // so that the other snapshot does not matter
			verify(t, openRepoWithIndex(t, st), s.Tree, older)
			storagetest.Remove(t, st, name)
			for _, p := range checked(t, st).Problems {
				if strings.Contains(p.File, s.ID.Short()) {
					t.Errorf("%+v", p)
				}
			}
		}
	}
}

// brokenState is a small repository in which an index file, a pack and what hangs on it are damaged.
func brokenState(t testing.TB) (*storage.Memory, []repo.ID) {
	st := new(storage.Memory)
	r := initRepo(t, st, repo.Options{PackSize: 4 << 20})
	for _, files := range []content{acknowledged, {"lost": noise(700 << 10), "also": []byte("a"), "dir": nil, "dir/f": []byte("f")}} {
		if _, err := write(t.Context(), r, files); err != nil {
			t.Fatal(err)
		}
	}
	lost := dataPacks(t, st)
	storagetest.Flip(t, st, lost[len(lost)-1], 40*8) // the largest: "lost"
	damaged := checked(t, st).DamagedPacks
	storagetest.Flip(t, st, storagetest.Names(t, st, "index")[0], 100)
	return st, damaged
}

// repairAll does both repairs, as a process that begins and ends.
func repairAll(ctx context.Context, st repo.Storage, damaged []repo.ID) error {
	err := alone(ctx, st, func(r *repo.Repository, l *repo.Lock) error {
		r.Distrust(damaged)
		_, err := r.RepairIndex(ctx, l, repo.RepairIndexOptions{})
		return err
	})
	if err != nil {
		return err
	}
	return alone(ctx, st, func(r *repo.Repository, l *repo.Lock) error {
		_, err := r.RepairSnapshots(ctx, l, repo.RepairSnapshotsOptions{Forget: true})
		return err
	})
}

// TestRepairDisturbed ends the process at each operation of both repairs, and has each operation fail: nothing that was
// whole is lost, and the next repair completes.
func TestRepairDisturbed(t *testing.T) {
	base, damaged := brokenState(t)
	faults := []storagetest.Fault{
		{How: storagetest.After, Times: storagetest.Forever, Err: storagetest.ErrCrashed},
		{How: storagetest.Before, Times: storagetest.Forever, Err: storagetest.ErrCrashed},
		{How: storagetest.Midway, Times: storagetest.Forever, Err: storagetest.ErrCrashed},
		{How: storagetest.Before}, {How: storagetest.After}, {How: storagetest.Midway},
		{How: storagetest.Corrupt, Only: reads}, {How: storagetest.Short, Only: reads}, {How: storagetest.Lie, Only: reads},
	}
	if !realtest.Soak() {
		faults = []storagetest.Fault{faults[0], faults[3], faults[6]}
	}
	if testing.Short() {
		faults = faults[:1]
	}
	for _, fault := range faults {
		for k, more := 1, true; more; k++ {
			t.Run(fmt.Sprintf("%v operation %d times %d", fault.How, k, fault.Times), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					f, below := disturbed(t, base)
					if errors.Is(fault.Err, storagetest.ErrCrashed) {
						f.Crash(k, fault.How)
					} else {
						fault.At = k
						f.Inject(fault)
					}
					first := repairAll(t.Context(), f, damaged)
					more = f.Fired() > 0
					for _, name := range storagetest.Names(t, below, "locks") { // of the process that is gone
						storagetest.Remove(t, below, name)
					}
					mustHoldOld(t, below)
					if err := repairAll(t.Context(), below, damaged); err != nil {
						t.Fatalf("the next repair: %v (first: %v)", err, first)
					}
					mustHoldOld(t, below)
					mustBeClean(t, below, k%40 == 0)
					if all, err := openRepo(t, below).Snapshots(t.Context()); len(all) != 2 || err != nil {
						t.Errorf("%d snapshots, %v", len(all), err)
					}
				})
			})
		}
	}
}

// mustHoldOld: the snapshot that lost nothing can be read, whatever the index is like.
func mustHoldOld(t *testing.T, st repo.Storage) {
	t.Helper()
	r := openRepo(t, st)
	if err := r.LoadIndex(t.Context()); err != nil && !errors.Is(err, repo.ErrIndex) {
		t.Fatal(err)
	}
	found := snapshotWith(t, r, "kept")
	if len(found) != 1 {
		t.Fatalf("%d snapshots", len(found))
	}
	verify(t, r, found[0].Tree, acknowledged)
}
