package repo_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/caddy-backup/caddy-backup/internal/realtest"
	"github.com/caddy-backup/caddy-backup/repo"
	"github.com/caddy-backup/caddy-backup/storage"
	"github.com/caddy-backup/caddy-backup/storage/storagetest"
)

// fullDisk is a repository on a small disk of its own: one snapshot that shares nothing, one that leaves a hole, and one
// that stays, whose data are half of the second's.
type fullDisk struct {
	dir    string
	st     *storage.Local
	r      *repo.Repository
	forget []repo.ID
	kept   repo.Snapshot
	files  content
}

func newFullDisk(t *testing.T) *fullDisk {
	d := &fullDisk{dir: filepath.Join(realtest.SmallDisk(t, 64), "repo")}
	d.st = storage.NewLocal(d.dir)
	d.r = initRepo(t, d.st, repo.Options{PackSize: 4 << 20})
	d.files = content{"half": noise(1 << 20), "own": []byte("own")}
	for _, files := range []content{
		{"alone": noise(12 << 20)}, {"half": d.files["half"], "the other": noise(1 << 20)}, d.files,
	} {
		s, err := write(t.Context(), d.r, files)
		if err != nil {
			t.Fatal(err)
		}
		d.forget, d.kept = append(d.forget, s.ID), s
	}
	d.forget = d.forget[:2]
	return d
}

// holds proves that what is kept is whole, and that both checks are clean.
func (d *fullDisk) holds(t *testing.T) {
	t.Helper()
	r := openRepoWithIndex(t, d.st)
	verify(t, r, d.kept.Tree, d.files)
	mustCheck(t, r)
}

// space is what is free, in bytes.
func (d *fullDisk) space(t *testing.T) int64 {
	t.Helper()
	var s syscall.Statfs_t
	if err := syscall.Statfs(d.dir, &s); err != nil {
		t.Fatal(err)
	}
	return int64(s.Bavail) * s.Bsize
}

// TestPruneOnFullDisk: without a free byte, packs that hold nothing needed are deleted, nothing else is, and the next prune
// does the rest.
func TestPruneOnFullDisk(t *testing.T) {
	if testing.Short() {
		t.Skip("one thing after the other: no races to be found")
	}
	d := newFullDisk(t)
	filler := realtest.Fill(t, filepath.Dir(d.dir))
	if err := forget(t, d.r, d.forget...); err != nil {
		t.Fatal(err)
	}
	full := func([]repo.Snapshot) error { // what forgetting has freed, and what was kept for locks
		realtest.Fill(t, filepath.Dir(d.dir))
		if n := d.space(t); n > 0 {
			t.Errorf("%d bytes are free", n)
		}
		return nil
	}
	report, err := prune(t, d.r, repo.PruneOptions{MaxUnused: repo.NoUnused, Confirm: full})
	if err != nil {
		t.Fatal(err)
	}
	if report.PacksRepacked > 0 || report.BytesFreed < 12<<20 || d.space(t) < 12<<20 || len(report.Notes) != 1 || !strings.Contains(report.Notes[0], "full") {
		t.Errorf("%d bytes are free; %+v", d.space(t), report)
	}
	d.holds(t)
	report, err = prune(t, d.r, repo.PruneOptions{MaxUnused: repo.NoUnused})
	if err != nil || report.PacksRepacked == 0 || report.BytesLeftUnused > 0 || len(report.Notes) > 0 {
		t.Errorf("the next prune: %+v, %v", report, err)
	}
	d.holds(t)
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	realtest.Restic(t, d.dir, password, "check", "--read-data")
}

// TestPruneOnFullDiskWithOneIndex: where the only index file lists what is needed too, a little room is needed for the next
// one. Where there is none a prune says so, and deletes nothing; a storage that keeps some for this day gives it.
func TestPruneOnFullDiskWithOneIndex(t *testing.T) {
	if testing.Short() {
		t.Skip("one thing after the other: no races to be found")
	}
	d := newFullDisk(t)
	realtest.Restic(t, d.dir, password, "rebuild-index") // one file
	if n := len(storagetest.Names(t, d.st, "index")); n != 1 {
		t.Fatalf("%d index files", n)
	}
	if err := forget(t, d.r, d.forget...); err != nil {
		t.Fatal(err)
	}
	o := repo.PruneOptions{MaxUnused: repo.NoUnused, Confirm: func([]repo.Snapshot) error {
		realtest.Fill(t, filepath.Dir(d.dir))
		return nil
	}}
	before := storagetest.Names(t, d.st, "data")
	improvident := struct{ repo.Storage }{d.st}
	report, err := prune(t, openRepo(t, improvident), o)
	if !errors.Is(err, syscall.ENOSPC) || report.BytesFreed != 0 {
		t.Errorf("without a free byte: %+v, %v", report, err)
	}
	if after := storagetest.Names(t, d.st, "data"); len(before) != len(after) {
		t.Errorf("%d packs became %d", len(before), len(after))
	}
	d.holds(t)
	report, err = prune(t, d.r, o)
	if err != nil || report.BytesFreed < 12<<20 {
		t.Errorf("with what was kept: %+v, %v", report, err)
	}
	d.holds(t)
}
