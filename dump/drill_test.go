package dump

import (
	"cmp"
	"context"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/caddy-backup/caddy-backup/backup"
	"github.com/caddy-backup/caddy-backup/storage/storagetest"
)

// drill tries the newest good snapshot out, and fails the test when anything is left of it or the live ones were touched.
func (x *shop) drill(t *testing.T) backup.Run {
	t.Helper()
	run, err := x.Drill(t.Context(), "alice", backup.DrillRequest{Job: "shop"})
	if err != nil {
		t.Fatal(err)
	}
	run = x.Wait(t, run.ID)
	if left, _ := os.ReadDir(x.scratch()); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	x.require(t, x.isDB, x.is)
	return run
}

func (x *shop) scratch() string { return filepath.Join(x.Config.DataDir, "drills") }

func TestDrill(t *testing.T) {
	x := newShop(t)
	run := x.drill(t)
	requireOK(t, run)
	if run.Snapshot != x.snapshot.ID || len(run.Drill) != 2 {
		t.Fatalf("%+v", run)
	}
	for i, want := range []string{"rows of 1 table as dumped", "files restored and read back: 3"} {
		if e := run.Drill[i]; !e.Restored || !strings.Contains(e.Checked, want) || e.Error != "" {
			t.Errorf("%+v, want %s", e, want)
		}
	}
	job, err := x.Job(t.Context(), "shop")
	if err != nil || !job.Drill.LastGood.Equal(run.Ended) || job.Drill.Snapshot != run.Snapshot {
		t.Errorf("%+v, %v", job.Drill, err)
	}
	if h := x.Health(t.Context()); !h.OK {
		t.Error(h.Reasons)
	}
	// The next snapshot tells of it.
	next := x.Backed(t, "shop")
	if d := next.Manifest.Drilled; d == nil || d.Run != run.ID || d.Snapshot != x.snapshot.ID || len(d.Parts) != 2 {
		t.Errorf("%+v", d)
	}
}

// TestDrillFails tries out what would not come back as it was.
func TestDrillFails(t *testing.T) {
	requireFailed := func(t *testing.T, x *shop, want string) {
		t.Helper()
		run := x.drill(t)
		if run.State != backup.StateFailed || !strings.Contains(run.Error, want) {
			t.Errorf("%s: %s, want %s", run.State, run.Error, want)
		}
		if h := x.Health(t.Context()); h.OK || !strings.Contains(h.Reasons[0], "the last drill failed") {
			t.Error(h.Reasons)
		}
		if job, _ := x.Job(t.Context(), "shop"); !job.Drill.LastGood.IsZero() {
			t.Errorf("%+v", job.Drill)
		}
	}
	t.Run("damaged", func(t *testing.T) {
		x := newShop(t)
		name := largestPack(t, x)
		data := slices.Clone(storagetest.Read(t, x.Storage, name))
		data[len(data)/2] ^= 1 // of the database, which is most of it, wherever in it the small files lie
		storagetest.Write(t, x.Storage, name, data)
		requireFailed(t, x, "db.sqlite3: ")
	})
	t.Run("cut short", func(t *testing.T) {
		x := newShop(t)
		name := largestPack(t, x)
		storagetest.Write(t, x.Storage, name, storagetest.Read(t, x.Storage, name)[:1000])
		requireFailed(t, x, "cut short")
	})
	t.Run("shrunk", func(t *testing.T) {
		x := newShop(t)
		x.DBSource(t, shrinking{sqliteSource(t, x.db)})
		requireFailed(t, x, "table account differs from what was dumped: rows 1, and had 5001")
	})
	t.Run("swapped", func(t *testing.T) {
		x := newShop(t)
		x.DBSource(t, swapping{sqliteSource(t, x.db)})
		requireFailed(t, x, "table account did not come back")
	})
}

// DBSource has the job read its database by another source from now on.
func (x *shop) DBSource(t *testing.T, s backup.Source) {
	t.Helper()
	x.Config.Jobs = slices.Clone(x.Config.Jobs)
	x.Config.Jobs[0].Sources = slices.Clone(x.Config.Jobs[0].Sources)
	x.Config.Jobs[0].Sources[0] = backup.NamedSource{Name: "db", Kind: "sqlite", Source: s}
	detach, err := x.Attach(x.Config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(detach)
}

func largestPack(t *testing.T, x *shop) string {
	t.Helper()
	return slices.MaxFunc(storagetest.Names(t, x.Storage, "data"), func(a, b string) int {
		return cmp.Compare(len(storagetest.Read(t, x.Storage, a)), len(storagetest.Read(t, x.Storage, b)))
	})
}

// shrinking restores a database that lost rows, swapping another one.
type (
	shrinking struct{ *SQLite }
	swapping  struct{ *SQLite }
)

func (s shrinking) Drill(ctx context.Context, d backup.Stored, r io.Reader, at backup.Scratch, t *backup.Task) (backup.Facts, error) {
	facts, err := s.SQLite.Drill(ctx, d, r, at, t)
	facts.Rows["account"] = 1
	return facts, err
}

func (s swapping) Drill(ctx context.Context, d backup.Stored, r io.Reader, at backup.Scratch, t *backup.Task) (backup.Facts, error) {
	facts, err := s.SQLite.Drill(ctx, d, r, at, t)
	facts.Rows = map[string]int64{"another": 5001}
	return facts, err
}

// TestDrillSweeps removes what a killed drill left, and nothing else.
func TestDrillSweeps(t *testing.T) {
	x := newShop(t)
	past := backup.ScratchPrefix + "20200101t000000z_00ff_0123abcd"
	future := backup.ScratchPrefix + "29990101t000000z_00ff_0123abcd"
	for _, name := range []string{past + "/sub", future, "somebody else's"} {
		if err := os.MkdirAll(filepath.Join(x.scratch(), name), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	run, err := x.Drill(t.Context(), "alice", backup.DrillRequest{Job: "shop", Snapshot: x.snapshot.ID[:8]})
	if err != nil {
		t.Fatal(err)
	}
	requireOK(t, x.Wait(t, run.ID))
	entries, _ := os.ReadDir(x.scratch())
	if len(entries) != 2 || entries[0].Name() != future || entries[1].Name() != "somebody else's" {
		t.Errorf("left are %v", entries)
	}
	if job, _ := x.Job(t.Context(), "shop"); job.Drill.Snapshot != x.snapshot.ID {
		t.Error("a drill of the newest good snapshot counts for the job, whoever named that")
	}
}

// TestDrillReads reads to its end what cannot be restored, and says so.
func TestDrillReads(t *testing.T) {
	x := newShop(t)
	x.DBSource(t, struct{ backup.Source }{sqliteSource(t, x.db)}) // can neither drill nor verify
	run := x.drill(t)
	requireOK(t, run)
	if e := run.Drill[0]; e.Restored || !strings.Contains(e.Checked, "every byte verified; not restored: a source of kind sqlite") {
		t.Errorf("%+v", e)
	}
	if !strings.Contains(run.Summary, "1 part only read to the end") {
		t.Error(run.Summary)
	}
}
