package repo_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/caddy-backup/caddy-backup/internal/realtest"
	"github.com/caddy-backup/caddy-backup/repo"
	"github.com/caddy-backup/caddy-backup/storage"
)

// TestResticWorksOnOurRepository has restic read, write, tag, forget and prune in what we wrote; after each step we read
// all that is left.
func TestResticWorksOnOurRepository(t *testing.T) {
	if testing.Short() {
		t.Skip("one thing after the other: no races to be found")
	}
	dir := filepath.Join(t.TempDir(), "repo")
	st := storage.NewLocal(dir)
	r := initRepo(t, st, repo.Options{})
	restic := func(args ...string) string { t.Helper(); return realtest.Restic(t, dir, password, args...) }
	versions := []content{
		{"dump.sql": text(1, 5<<20), "media": nil, "media/a.txt": []byte("a")},
		{"dump.sql": append(text(1, 5<<20), "and more\n"...), "media": nil, "media/b.txt": []byte("b")},
		{"dump.sql": text(2, 3<<20), "media": nil},
	}
	trees := map[string]content{} // by tree ID: what every later state must still hold
	for _, files := range versions {
		s, err := write(t.Context(), r, files)
		if err != nil {
			t.Fatal(err)
		}
		trees[s.Tree.String()] = files
	}
	left := func(want int) {
		t.Helper()
		fresh := openRepoWithIndex(t, st)
		all, err := fresh.Snapshots(t.Context())
		if err != nil || len(all) != want {
			t.Fatalf("%d snapshots are left, want %d: %v", len(all), want, err)
		}
		for _, s := range all {
			if files, ours := trees[s.Tree.String()]; ours {
				verify(t, fresh, s.Tree, files)
			}
		}
		if report := mustCheck(t, fresh); report.Snapshots != want {
			t.Errorf("check saw %d snapshots", report.Snapshots)
		}
		restic("check", "--read-data")
	}
	left(3)

	var listed []struct{ ID, Hostname string }
	if err := json.Unmarshal([]byte(restic("snapshots", "--json")), &listed); err != nil || len(listed) != 3 || listed[0].Hostname != "here" {
		t.Errorf("restic lists %+v, %v", listed, err)
	}
	if out := restic("ls", "latest"); !strings.Contains(out, "/dump.sql") {
		t.Errorf("restic ls: %s", out)
	}
	if out := restic("find", "b.txt"); !strings.Contains(out, "/media/b.txt") {
		t.Errorf("restic find: %s", out)
	}
	target := t.TempDir()
	restic("restore", "latest", "--target", target)
	if data, err := os.ReadFile(filepath.Join(target, "dump.sql")); err != nil || string(data) != string(versions[2]["dump.sql"]) {
		t.Errorf("restic restored %d bytes, %v", len(data), err)
	}

	source := t.TempDir()
	if err := os.WriteFile(filepath.Join(source, "file"), text(9, 2<<20), 0o640); err != nil {
		t.Fatal(err)
	}
	restic("backup", "--host", "elsewhere", source)
	left(4)
	restic("tag", "--add", "keep", "--host", "here", "latest")
	left(4)
	tagged, err := openRepo(t, st).FindSnapshot(t.Context(), "latest", repo.SnapshotFilter{Tags: []string{"keep"}})
	if err != nil || tagged.Original == nil || trees[tagged.Tree.String()] == nil {
		t.Errorf("the tagged snapshot: %+v, %v", tagged, err)
	}
	if stable, err := openRepo(t, st).FindSnapshot(t.Context(), tagged.StableID().Short(), repo.SnapshotFilter{}); err != nil || stable.ID != tagged.ID {
		t.Errorf("by its stable ID: %+v, %v", stable, err)
	}
	restic("forget", "--host", "here", "--keep-last", "2", "--keep-tag", "keep", "--prune", "--max-unused", "0")
	left(3)
	if s, err := write(t.Context(), r, versions[0]); err != nil { // r still has the index from before the prune
		t.Error(err)
	} else {
		trees[s.Tree.String()] = versions[0]
	}
	left(4)
}

// TestThreeWritersAtOnce: two processes of ours (two repositories in memory share nothing) and a restic write at the
// same time.
func TestThreeWritersAtOnce(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "repo")
	st := storage.NewLocal(dir)
	initRepo(t, st, repo.Options{})
	source := t.TempDir()
	if err := os.WriteFile(filepath.Join(source, "file"), text(9, 8<<20), 0o640); err != nil {
		t.Fatal(err)
	}
	realtest.Need(t, "restic")
	var wg sync.WaitGroup
	for i := range 2 {
		wg.Go(func() {
			r, err := repo.Open(t.Context(), storage.NewLocal(dir), []byte(password), repo.Options{KDF: cheap})
			if err != nil {
				t.Error(err)
				return
			}
			for n := range 3 {
				files := content{"shared": text(1, 6<<20), fmt.Sprintf("own-%d-%d", i, n): text(uint64(10*i+n), 3<<20)}
				if _, err := write(t.Context(), r, files); err != nil {
					t.Errorf("writer %d, snapshot %d: %v", i, n, err)
				}
			}
		})
	}
	wg.Go(func() {
		for range 2 {
			if _, err := realtest.TryRestic(t, dir, password, "backup", source); err != nil {
				t.Error(err)
			}
		}
	})
	wg.Wait()
	r := openRepoWithIndex(t, st)
	if all, err := r.Snapshots(t.Context()); err != nil || len(all) != 8 {
		t.Errorf("%d snapshots, %v", len(all), err)
	}
	report, err := r.Check(t.Context(), repo.CheckOptions{ReadData: true})
	if err != nil || report.Errors() > 0 {
		t.Errorf("check: %v, %+v", err, report)
	}
	realtest.Restic(t, dir, password, "check", "--read-data")
}
