package repo_test

import (
	"encoding/json"
	"errors"
	"math"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/caddy-backup/caddy-backup/internal/realtest"
	"github.com/caddy-backup/caddy-backup/repo"
	"github.com/caddy-backup/caddy-backup/storage"
	"github.com/caddy-backup/caddy-backup/storage/storagetest"
)

var (
	monday = content{"same": text(1, 2<<20), "dir": nil, "dir/grown": text(2, 100<<10), "dir/gone": noise(1 << 20), "old": nil, "old/deep": nil,
		"old/deep/f": []byte("f"), "was file": []byte("x")}
	tuesday = content{"same": text(1, 2<<20), "dir": nil, "dir/grown": text(2, 200<<10), "dir/new": noise(2 << 20), "was file": nil, "was file/in": []byte("y"),
		"zoo": nil, "zoo/copy": text(1, 2<<20)}
)

// twoDays makes a repository with both, on a disk.
func twoDays(t *testing.T) (*repo.Repository, string, [2]repo.Snapshot) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "repo")
	r := initRepo(t, storage.NewLocal(dir), repo.Options{})
	var made [2]repo.Snapshot
	for i, files := range []content{monday, tuesday} {
		var err error
		if made[i], err = write(t.Context(), r, files); err != nil {
			t.Fatal(err)
		}
	}
	return r, dir, made
}

// TestStats agrees with restic about what the snapshots hold, and with arithmetic about the rest.
func TestStats(t *testing.T) {
	r, dir, made := twoDays(t)
	stats, err := r.Stats(t.Context(), func(s repo.Snapshot) string {
		if s.ID == made[0].ID {
			return "b"
		}
		return "a"
	})
	if err != nil {
		t.Fatal(err)
	}
	var files, bytes int64
	for _, c := range []content{monday, tuesday} {
		for _, data := range c {
			if data != nil {
				files, bytes = files+1, bytes+int64(len(data))
			}
		}
	}
	if stats.Snapshots != 2 || stats.Files != files || stats.Bytes != bytes || stats.Unused+stats.Duplicate != 0 || stats.Unindexed != 0 {
		t.Errorf("%+v", stats)
	}
	if g := stats.Groups; len(g) != 2 || g[0].Name != "a" || g[0].Snapshots != 1 || g[0].Files+g[1].Files != files || g[0].Bytes+g[1].Bytes != bytes {
		t.Errorf("%+v", g)
	}
	var raw struct {
		Size  int64 `json:"total_size"`
		Blobs int   `json:"total_blob_count"`
	}
	if err := json.Unmarshal([]byte(realtest.Restic(t, dir, password, "stats", "--mode", "raw-data", "--json")), &raw); err != nil {
		t.Fatal(err)
	}
	if raw.Blobs != stats.Blobs || math.Abs(float64(raw.Size-stats.Stored)) > 41*float64(stats.Blobs) { // restic leaves out the entries in headers
		t.Errorf("restic says %+v, we %+v", raw, stats)
	}
	if stats.Compression < 1 || stats.Dedup < 1.1 || stats.PackBytes <= stats.Stored {
		t.Errorf("%+v", stats)
	}
}

// TestStatsUnused counts what a prune would free.
func TestStatsUnused(t *testing.T) {
	r, dir, made := twoDays(t)
	st := storage.NewLocal(dir)
	storagetest.Remove(t, st, "snapshots/"+made[1].ID.String())
	stats, err := r.Stats(t.Context(), func(repo.Snapshot) string { return "" })
	if err != nil {
		t.Fatal(err)
	}
	lock, err := r.Lock(t.Context(), true)
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Unlock()
	report, err := r.Prune(t.Context(), lock, repo.PruneOptions{DryRun: true})
	if err != nil {
		t.Fatal(err)
	}
	if stats.Unused != report.BytesUnused || stats.Duplicate != report.BytesDuplicate || stats.Stored != report.BytesUsed || stats.Unused < 2<<20 {
		t.Errorf("stats %+v, prune %+v", stats, report)
	}
	for _, name := range storagetest.Names(t, st, "index") {
		storagetest.Remove(t, st, name)
	}
	if _, err := r.Stats(t.Context(), func(repo.Snapshot) string { return "" }); !errors.Is(err, repo.ErrDamaged) {
		t.Errorf("without an index file: %v", err)
	}
}

func diff(t *testing.T, r *repo.Repository, a, b repo.Snapshot) (lines []string, sum repo.DiffSummary) {
	t.Helper()
	marks := map[string]string{repo.Added: "+", repo.Removed: "-", repo.Changed: "M", repo.Retyped: "T", repo.Metadata: "U"}
	sum, err := r.Diff(t.Context(), a, b, func(c repo.Change) error {
		path := c.Path
		if c.Type == "dir" {
			path += "/"
		}
		lines = append(lines, marks[c.Kind]+" "+path)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(lines)
	return lines, sum
}

// TestDiff agrees with restic, in both directions.
func TestDiff(t *testing.T) {
	r, dir, made := twoDays(t)
	for _, pair := range [][2]repo.Snapshot{{made[0], made[1]}, {made[1], made[0]}} {
		lines, sum := diff(t, r, pair[0], pair[1])
		var theirs []string
		for line := range strings.Lines(realtest.Restic(t, dir, password, "diff", pair[0].ID.String(), pair[1].ID.String())) {
			if mark, path, ok := strings.Cut(strings.TrimSpace(line), "    /"); ok {
				theirs = append(theirs, mark+" /"+path)
			}
		}
		slices.Sort(theirs)
		if got := slices.DeleteFunc(slices.Clone(lines), func(l string) bool { return strings.HasPrefix(l, "T ") || strings.Contains(l, "was file") }); !slices.Equal(got,
			slices.DeleteFunc(theirs, func(l string) bool { return strings.HasPrefix(l, "T") || strings.Contains(l, "was file") })) {
			t.Errorf("we say %q, restic %q", lines, theirs)
		}
		if !slices.ContainsFunc(lines, func(l string) bool { return strings.HasPrefix(l, "T /was file") }) {
			t.Errorf("%q", lines)
		}
		if sum.Added+sum.Removed+sum.Changed+sum.Metadata != len(lines) {
			t.Errorf("%+v of %d", sum, len(lines))
		}
		if pair[0].ID == made[0].ID && (sum.New < 2<<20 || sum.New > 2<<20+300<<10 || sum.Gone < 1<<20 || sum.Gone > 1<<20+200<<10 || sum.NewStored < 2<<20) {
			t.Errorf("%+v", sum) // a copy of what was there is not new
		}
	}
	if lines, sum := diff(t, r, made[0], made[0]); len(lines) > 0 || sum != (repo.DiffSummary{}) {
		t.Errorf("%q, %+v", lines, sum)
	}
	enough := errors.New("enough")
	if _, err := r.Diff(t.Context(), made[0], made[1], func(repo.Change) error { return enough }); !errors.Is(err, enough) {
		t.Error(err)
	}
}
