package repo_test

import (
	"fmt"
	"path/filepath"
	"slices"
	"testing"

	"github.com/caddy-backup/caddy-backup/internal/realtest"
	"github.com/caddy-backup/caddy-backup/repo"
	"github.com/caddy-backup/caddy-backup/storage"
	"github.com/caddy-backup/caddy-backup/storage/storagetest"
)

// prune prunes under a lock of its own.
func prune(t testing.TB, r *repo.Repository, o repo.PruneOptions) (*repo.PruneReport, error) {
	t.Helper()
	lock, err := r.Lock(t.Context(), true)
	if err != nil {
		return nil, err
	}
	defer lock.Unlock()
	return r.Prune(t.Context(), lock, o)
}

// forget deletes snapshots under a lock of its own.
func forget(t testing.TB, r *repo.Repository, ids ...repo.ID) error {
	t.Helper()
	lock, err := r.Lock(t.Context(), true)
	if err != nil {
		return err
	}
	defer lock.Unlock()
	_, err = r.Forget(t.Context(), lock, ids)
	return err
}

// TestPrune: what is left is whole, what is gone was not needed, and restic finds nothing wrong.
func TestPrune(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "repo")
	st := storage.NewLocal(dir)
	r := initRepo(t, st, repo.Options{PackSize: 4 << 20})
	var all []repo.Snapshot
	var contents []content
	for i := range 6 {
		files := content{"same": text(1, 3<<20), "dump": text(uint64(10+i), 3<<20), fmt.Sprint("dir", i): nil, "small": []byte{byte(i)}}
		s, err := write(t.Context(), r, files)
		if err != nil {
			t.Fatal(err)
		}
		all, contents = append(all, s), append(contents, files)
	}
	if err := forget(t, r, all[0].ID, all[2].ID, all[3].ID); err != nil {
		t.Fatal(err)
	}
	before := storagetest.Names(t, st, "")
	plan, err := prune(t, r, repo.PruneOptions{DryRun: true, MaxUnused: repo.NoUnused})
	if err != nil {
		t.Fatal(err)
	}
	if after := storagetest.Names(t, st, ""); !slices.Equal(before, after) {
		t.Errorf("a dry run made %q of %q", after, before)
	}
	report, err := prune(t, r, repo.PruneOptions{MaxUnused: repo.NoUnused})
	if err != nil {
		t.Fatal(err)
	}
	if report.Snapshots != 3 || report.PacksDeleted != plan.PacksDeleted || report.PacksRepacked != plan.PacksRepacked ||
		report.BytesFreed < plan.BytesFreed*9/10 || report.BytesUnused == 0 || report.BytesLeftUnused != 0 {
		t.Errorf("planned %+v\ndone %+v", *plan, *report)
	}
	for _, i := range []int{1, 4, 5} {
		verify(t, r, all[i].Tree, contents[i])
		verify(t, openRepoWithIndex(t, st), all[i].Tree, contents[i])
	}
	mustCheck(t, openRepo(t, st))
	realtest.Restic(t, dir, password, "check", "--read-data")
	again, err := prune(t, r, repo.PruneOptions{MaxUnused: repo.NoUnused})
	if err != nil || again.PacksRepacked+again.PacksDeleted+again.IndexFilesWritten+again.IndexFilesDeleted > 0 || again.BytesUnused+again.BytesFreed != 0 {
		t.Errorf("again: %+v, %v", again, err)
	}
}
