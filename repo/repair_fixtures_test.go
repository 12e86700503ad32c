package repo

import (
	"slices"
	"strings"
	"testing"

	"github.com/caddy-backup/caddy-backup/internal/realtest"
)

// damages are done to repositories that a real restic wrote.
var damages = []struct {
	name string
	do   func(t *testing.T, st dirStorage, packs, index, snapshots []FileInfo)
}{
	{"index gone", func(t *testing.T, st dirStorage, _, index, _ []FileInfo) {
		for _, f := range index {
			remove(t, st, f)
		}
	}},
	{"large pack flipped", func(t *testing.T, st dirStorage, packs, _, _ []FileInfo) { spoil(t, st, packs[len(packs)-1], 40, -1) }},
	{"index flipped", func(t *testing.T, st dirStorage, _, index, _ []FileInfo) { spoil(t, st, index[0], 50, -1) }},
	{"small pack gone", func(t *testing.T, st dirStorage, packs, _, _ []FileInfo) { remove(t, st, packs[0]) }},
	{"large pack cut", func(t *testing.T, st dirStorage, packs, _, _ []FileInfo) { spoil(t, st, packs[len(packs)-1], 0, 33) }},
	{"small pack flipped", func(t *testing.T, st dirStorage, packs, _, _ []FileInfo) { spoil(t, st, packs[0], 33, -1) }},
	{"snapshot flipped", func(t *testing.T, st dirStorage, _, _, snapshots []FileInfo) { spoil(t, st, snapshots[0], 33, -1) }},
	{"all at once", func(t *testing.T, st dirStorage, packs, index, snapshots []FileInfo) {
		remove(t, st, packs[0])
		spoil(t, st, packs[len(packs)-1], 40, -1)
		spoil(t, st, index[0], 50, -1)
		spoil(t, st, snapshots[0], 33, -1)
	}},
}

func remove(t *testing.T, st dirStorage, f FileInfo) {
	t.Helper()
	if err := st.Delete(t.Context(), f.Name); err != nil {
		t.Fatal(err)
	}
}

// spoil changes a byte of a file, and cuts it to a size, if that is not negative.
func spoil(t *testing.T, st dirStorage, f FileInfo, at, size int) {
	t.Helper()
	data, err := st.Get(t.Context(), f.Name, 0, -1)
	if err != nil {
		t.Fatal(err)
	}
	data[at] ^= 4
	if size >= 0 {
		data = data[:size]
	}
	remove(t, st, f)
	if err := st.Put(t.Context(), f.Name, data); err != nil {
		t.Fatal(err)
	}
}

// bySize lists the files of a folder, at any depth, from small to large.
func bySize(t *testing.T, st dirStorage, dir string) (files []FileInfo) {
	t.Helper()
	for f, err := range st.List(t.Context(), dir) {
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, f)
	}
	slices.SortFunc(files, func(a, b FileInfo) int {
		if a.Size != b.Size {
			return int(a.Size - b.Size)
		}
		return strings.Compare(a.Name, b.Name)
	})
	return files
}

// TestRepairFixtures damages repositories that restic wrote, and repairs them so that restic calls them whole.
func TestRepairFixtures(t *testing.T) {
	realtest.Need(t, "restic")
	names := []string{"v2-0.14", "v2-latest", "v2-off-latest", "snapshots-0.14", "upgraded-v1-to-v2", "pruned-latest", "v2-max-0.14", "snapshots-latest"}
	if !realtest.Soak() {
		names = names[:5]
	}
	for i, name := range names {
		for k, damage := range damages {
			if k != i%len(damages) && !realtest.Soak() {
				continue
			}
			t.Run(name+" "+damage.name, func(t *testing.T) {
				t.Parallel()
				f, st, r := openFixture(t, name)
				for _, l := range bySize(t, st, "locks") {
					remove(t, st, l)
				}
				damage.do(t, st, bySize(t, st, "data"), bySize(t, st, "index"), bySize(t, st, "snapshots"))
				repairFixture(t, r)
				if _, err := realtest.TryRestic(t, st.root, f.Passwords[len(f.Passwords)-1], "check", "--read-data"); err != nil {
					t.Error(err)
				}
			})
		}
	}
}

// repairFixture does what a person does: check, repair of the index, repair of the snapshots.
func repairFixture(t *testing.T, r *Repository) {
	t.Helper()
	report, err := r.Check(t.Context(), CheckOptions{ReadData: true})
	if err != nil {
		t.Fatal(err)
	}
	if report.Errors() == 0 {
		t.Error("the check finds nothing")
	}
	lock, err := r.Lock(t.Context(), true)
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Unlock()
	r.Distrust(report.DamagedPacks)
	if _, err := r.RepairIndex(t.Context(), lock, RepairIndexOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := r.RepairSnapshots(t.Context(), lock, RepairSnapshotsOptions{Forget: true}); err != nil {
		t.Fatal(err)
	}
	if report, err = r.Check(t.Context(), CheckOptions{ReadData: true}); err != nil || report.Errors() > 0 {
		t.Errorf("after the repair: %+v, %v", report.Problems, err)
	}
}
