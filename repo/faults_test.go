package repo_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/caddy-backup/caddy-backup/internal/realtest"
	"github.com/caddy-backup/caddy-backup/repo"
	"github.com/caddy-backup/caddy-backup/storage"
	"github.com/caddy-backup/caddy-backup/storage/storagetest"
)

// before and after are what a repository holds when a backup is disturbed, and what that backup wants to add. Small, for
// the same work is done hundreds of times; two packs of data, so that an upload runs beside the workers.
var (
	acknowledged = content{"old": text(1, 1<<20), "kept": []byte("kept")}
	wanted       = content{"old": text(1, 1<<20), "new": noise(6 << 20), "dir": nil, "dir/f": []byte("f")}
)

// disturbed is a repository with one acknowledged snapshot, behind a storage that things go wrong on.
func disturbed(t testing.TB, template repo.Storage) (*storagetest.Faulty, *storage.Memory) {
	below := new(storage.Memory)
	storagetest.Copy(t, below, template)
	return storagetest.NewFaulty(below), below
}

// template makes the repository that disturbed copies, and tells its snapshot.
func template(t testing.TB) (repo.Storage, repo.ID) {
	st := new(storage.Memory)
	s, err := write(t.Context(), initRepo(t, st, repo.Options{PackSize: 4 << 20}), acknowledged)
	if err != nil {
		t.Fatal(err)
	}
	return st, s.ID
}

// mustHold is what holds at every instant, whatever happened: each snapshot that is there is whole, the check is
// clean but for notes, and the next backup needs nobody's help.
func mustHold(t *testing.T, st repo.Storage, old repo.ID, greens int) {
	t.Helper()
	r := openRepoWithIndex(t, st)
	all, err := r.Snapshots(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if len(all) < greens {
		t.Fatalf("%d snapshots are left of %d that were acknowledged", len(all), greens)
	}
	for _, s := range all {
		if s.ID == old {
			verify(t, r, s.Tree, acknowledged)
		} else {
			verify(t, r, s.Tree, wanted)
		}
	}
	report, err := r.Check(t.Context(), repo.CheckOptions{ReadData: true})
	if err != nil {
		t.Fatal(err)
	}
	if report.Errors() > 0 {
		t.Errorf("check finds %+v", report.Problems)
	}
	if _, err := write(t.Context(), openRepo(t, st), wanted); err != nil {
		t.Errorf("the next backup: %v", err)
	}
}

// backupOver opens the repository and writes one snapshot, as a process does that begins and ends.
func backupOver(t *testing.T, st repo.Storage) error {
	r, err := repo.Open(t.Context(), st, []byte(password), repo.Options{KDF: cheap, PackSize: 4 << 20})
	if err != nil {
		return err
	}
	_, err = write(t.Context(), r, wanted)
	return err
}

// TestCrashAtEveryOperation ends the process before, in the middle of and after each operation on the storage.
func TestCrashAtEveryOperation(t *testing.T) {
	base, old := template(t)
	for _, how := range []storagetest.How{storagetest.After, storagetest.Before, storagetest.Midway} {
		if testing.Short() && how != storagetest.After {
			continue
		}
		k, step := realtest.Points(t)
		for more := true; more; k += step {
			t.Run(fmt.Sprintf("%v operation %d", how, k), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					f, below := disturbed(t, base)
					f.Crash(k, how)
					greens := 1
					if err := backupOver(t, f); err == nil {
						greens++
					}
					more = f.Fired() > 0
					mustHold(t, below, old, greens)
				})
			})
		}
	}
}

// TestEveryOperationFails has the k-th operation fail, once and for ever, and not answer truly: whatever is reported as
// done must be there.
func TestEveryOperationFails(t *testing.T) {
	base, old := template(t)
	faults := []storagetest.Fault{
		{How: storagetest.Before},
		{How: storagetest.Corrupt, Only: reads}, {How: storagetest.Short, Only: reads}, {How: storagetest.Lie, Only: reads},
		{How: storagetest.Before, Times: storagetest.Forever},
		{How: storagetest.After}, {How: storagetest.Midway}, {How: storagetest.Midway, Times: storagetest.Forever},
	}
	if testing.Short() {
		faults = faults[:1]
	}
	for _, fault := range faults {
		k, step := realtest.Points(t)
		for more := true; more; k += step {
			t.Run(fmt.Sprintf("%v operation %d times %d", fault.How, k, fault.Times), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					f, below := disturbed(t, base)
					fault.At = k
					f.Inject(fault)
					greens := 1
					if err := backupOver(t, f); err == nil {
						greens++
					}
					more = f.Fired() > 0
					if all, err := openRepo(t, below).Snapshots(t.Context()); fault.Times == 0 && len(all) > greens {
						t.Errorf("a backup that failed left a snapshot: there are %d, and %d were acknowledged (%v)", len(all), greens, err)
					}
					mustHold(t, below, old, greens)
				})
			})
		}
	}
}

func reads(op storagetest.Op) bool { return op.Kind == storagetest.Get }

// TestDamageIsFound flips bits in and cuts every kind of file: check with all data finds each, reading gives an error or
// the right bytes, and nothing panics.
func TestDamageIsFound(t *testing.T) {
	if testing.Short() {
		t.Skip("one thing after the other: no races to be found")
	}
	base := new(storage.Memory)
	if _, err := write(t.Context(), initRepo(t, base, repo.Options{}), wanted); err != nil {
		t.Fatal(err)
	}
	for _, name := range storagetest.Names(t, base, "") {
		size := int64(len(storagetest.Read(t, base, name)))
		damage := map[string]func(repo.Storage){}
		flips := int64(24)
		if testing.Short() {
			flips = 4
		}
		for i := range flips {
			bit := i * (size*8 - 1) / (flips - 1)
			damage[fmt.Sprintf("bit %d", bit)] = func(st repo.Storage) { storagetest.Flip(t, st, name, bit) }
		}
		for _, n := range []int64{0, 1, 15, 16, 31, 32, 33, size / 2, size - 1} {
			damage[fmt.Sprintf("cut to %d", n)] = func(st repo.Storage) { storagetest.Truncate(t, st, name, min(n, size-1)) }
		}
		damage["removed"] = func(st repo.Storage) { storagetest.Remove(t, st, name) }
		for what, do := range damage {
			dir, _, _ := strings.Cut(name, "/")
			t.Run(dir+" "+what, func(t *testing.T) {
				st := new(storage.Memory)
				storagetest.Copy(t, st, base)
				do(st)
				if !damageShows(t, st) && !(dir == "snapshots" && what == "removed") {
					t.Errorf("%s: check finds nothing", name)
				}
			})
		}
	}
}

// damageShows reports whether opening or checking tells of the damage, and proves that no wrong byte comes out.
func damageShows(t *testing.T, st repo.Storage) bool {
	r, err := repo.Open(t.Context(), st, []byte(password), repo.Options{KDF: cheap})
	if err != nil {
		return true
	}
	report, err := r.Check(t.Context(), repo.CheckOptions{ReadData: true})
	_ = r.LoadIndex(t.Context())
	all, _ := r.Snapshots(t.Context())
	for _, s := range all {
		readWhatCanBeRead(t, r, s.Tree)
	}
	return err != nil || report.Errors() > 0
}

func readWhatCanBeRead(t *testing.T, r *repo.Repository, tree repo.ID) {
	for e, err := range r.Walk(t.Context(), tree) {
		if err != nil {
			return
		}
		if e.Node.Type != "file" {
			continue
		}
		f, err := r.OpenFile(t.Context(), e.Node)
		if err != nil {
			continue
		}
		var got bytes.Buffer
		_, err = io.Copy(&got, f)
		f.Close()
		if want := wanted[e.Path]; err == nil && !bytes.Equal(got.Bytes(), want) || !bytes.HasPrefix(want, got.Bytes()) {
			t.Errorf("%s: wrong bytes were given out (%v)", e.Path, err)
		}
		if err != nil && !errors.Is(err, repo.ErrDamaged) && !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Logf("%s: %v", e.Path, err)
		}
	}
}

// TestInitCanBeRepeated ends the process at each operation of Init: the next Init makes the repository, or finds it made.
func TestInitCanBeRepeated(t *testing.T) {
	for _, how := range []storagetest.How{storagetest.Before, storagetest.Midway, storagetest.After} {
		for k, more := 1, true; more; k++ {
			below := new(storage.Memory)
			f := storagetest.NewFaulty(below)
			f.Crash(k, how)
			o := repo.Options{KDF: cheap}
			_, first := repo.Init(t.Context(), f, []byte(password), o)
			more = f.Fired() > 0
			_, second := repo.Init(t.Context(), below, []byte(password), o)
			if exists := errors.Is(second, repo.ErrExists); second != nil && !exists || first == nil && !exists {
				t.Errorf("%v operation %d: first %v, then %v", how, k, first, second)
			}
			if n := len(storagetest.Names(t, below, "keys")); n > 2 {
				t.Errorf("%v operation %d: %d files in keys", how, k, n)
			}
			openRepo(t, below)
		}
	}
}

// TestInitLeavesOthersAlone: a repository whose config was lost must not be made anew over its data.
func TestInitLeavesOthersAlone(t *testing.T) {
	for _, lost := range []string{"", "snapshots", "index"} {
		st, _ := template(t)
		storagetest.Remove(t, st, "config")
		if lost != "" {
			for _, name := range storagetest.Names(t, st, lost) {
				storagetest.Remove(t, st, name)
			}
		}
		before := storagetest.Names(t, st, "")
		if _, err := repo.Init(t.Context(), st, []byte(password), repo.Options{KDF: cheap}); !errors.Is(err, repo.ErrExists) {
			t.Errorf("without config and %s: %v", lost, err)
		}
		if after := storagetest.Names(t, st, ""); len(after) != len(before) {
			t.Errorf("%d files became %d", len(before), len(after))
		}
	}
}
