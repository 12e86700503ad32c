package backup_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/caddy-backup/caddy-backup/backup"
	"github.com/caddy-backup/caddy-backup/backup/backuptest"
	"github.com/caddy-backup/caddy-backup/internal/realtest"
	"github.com/caddy-backup/caddy-backup/storage"
)

// TestRestic has the real restic read what a job made, and `sha256sum --check` prove it; and what restic wrote beside
// it stays its own.
func TestRestic(t *testing.T) {
	realtest.Need(t, "restic")
	dir := filepath.Join(t.TempDir(), "repository")
	e := newPlace(t, storage.NewLocal(dir), func(c *backup.Config) {
		c.Repositories[0].Password = []byte(backuptest.Password)
		c.Jobs[0].Sources = append(c.Jobs[0].Sources, backup.NamedSource{
			Name: "media", Kind: "fake", Source: backuptest.Folder{
				"a/1.jpg": "one", "2.jpg": "two", "a/b/c/deep": "", "new\nline": "three", `back\slash`: "four", "cr\rname": "five",
			},
		})
	})
	restic := func(args ...string) string { t.Helper(); return realtest.Restic(t, dir, backuptest.Password, args...) }
	first := e.Backed(t, "shop")
	e.DB.Set(strings.Repeat("insert into customer values (1);\n", 1<<18)) // 8 MiB
	second := e.Backed(t, "shop")

	restic("check", "--read-data")
	if got := restic("snapshots", "--json", "--tag", "caddy-backup", "--path", "/shop"); !strings.Contains(got, first.ID) || !strings.Contains(got, `"hostname":"shop-server"`) ||
		!strings.Contains(got, `"parent":"`+first.ID) {
		t.Error(got)
	}
	if got := restic("ls", "latest"); !strings.Contains(got, "/shop/media/a/1.jpg") {
		t.Error(got)
	}
	for _, s := range []backup.Snapshot{first, second} {
		target := t.TempDir()
		restic("restore", s.ID, "--target", target)
		sum := exec.Command(realtest.Need(t, "sha256sum"), "--check", "--strict", "SHA256SUMS")
		sum.Dir, sum.Env = filepath.Join(target, "shop"), append(os.Environ(), "LC_ALL=C")
		out, err := sum.CombinedOutput()
		if err != nil {
			t.Errorf("%v\n%s", err, out)
		}
		if n := strings.Count(string(out), ": OK\n"); n != 8 {
			t.Errorf("%d files are listed:\n%s", n, out)
		}
	}

	// restic writes and tags, and we read it.
	notes := t.TempDir()
	if err := os.WriteFile(filepath.Join(notes, "note"), []byte("by restic"), 0o600); err != nil {
		t.Fatal(err)
	}
	restic("backup", "--host", "other", notes)
	restic("tag", "--add", "keep", first.ID)
	list := must(e.Snapshots(t.Context(), backup.SnapshotQuery{}))(t)
	if list.Total != 3 || list.Snapshots[0].Job != "" || list.Snapshots[0].Host != "other" {
		t.Errorf("%+v", list)
	}
	if got := string(e.Read(t, list.Snapshots[0].ID, notes+"/note")); got != "by restic" {
		t.Error(got)
	}
	kept := must(e.Snapshot(t.Context(), "", first.ID, ""))(t) // by its stable ID
	if kept.ID == first.ID || kept.StableID != first.ID || kept.Job != "shop" || !strings.Contains(strings.Join(kept.Tags, " "), "keep") {
		t.Errorf("%+v", kept)
	}

	// restic forgets and prunes behind our back: what is left is whole.
	restic("forget", "--prune", "--host", "shop-server", "--keep-last", "1", "--keep-tag", "keep")
	e.Backed(t, "shop")
	requireClean(t, e)
	if got := string(e.Read(t, first.ID, "db.sql")); got != "data" {
		t.Error(got)
	}
	restic("check", "--read-data")
}

// TestResticAcceptsSuspect removes the tag of a suspect snapshot, as its message says: then an empty folder is good.
func TestResticAcceptsSuspect(t *testing.T) {
	realtest.Need(t, "restic")
	dir := filepath.Join(t.TempDir(), "repository")
	st := storage.NewLocal(dir)
	backuptest.InitCheaply(t, st)
	media := backuptest.Folder{"1.jpg": "one"}
	e := newPlace(t, st, func(c *backup.Config) {
		c.Repositories[0].Password = []byte(backuptest.Password)
		c.Jobs[0].Sources = append(c.Jobs[0].Sources, backup.NamedSource{Name: "media", Kind: "files", Source: media})
	})
	e.Backed(t, "shop")
	clear(media)
	run := e.RunBackup(t, "shop")
	requireState(t, run, backup.StateSuspect, "say so with: caddy backup accept")
	realtest.Restic(t, dir, backuptest.Password, "tag", "--remove", "suspect", run.Snapshot)
	if run := e.RunBackup(t, "shop"); run.State != backup.StateOK || !run.Unchanged {
		t.Errorf("%+v", run)
	}
}

// TestResticPrunesMeanwhile removes everything that a running server counts on: the next backup stores it again.
func TestResticPrunesMeanwhile(t *testing.T) {
	realtest.Need(t, "restic")
	dir := filepath.Join(t.TempDir(), "repository")
	st := storage.NewLocal(dir)
	backuptest.InitCheaply(t, st)
	e := newPlace(t, st, func(c *backup.Config) { c.Repositories[0].Password = []byte(backuptest.Password) })
	s := e.Backed(t, "shop")
	realtest.Restic(t, dir, backuptest.Password, "forget", "--prune", s.ID)
	requireSnapshots(t, e, 0)
	if _, err := e.Open(t.Context(), "", s.ID, "db.sql"); err == nil {
		t.Error("it is gone")
	}
	s = e.Backed(t, "shop")
	if got := string(e.Read(t, s.ID, "db.sql")); got != "data" {
		t.Error(got)
	}
	requireClean(t, e)
	realtest.Restic(t, dir, backuptest.Password, "check", "--read-data")
}

// TestResticSeesLock: while a backup runs, restic's prune must not.
func TestResticSeesLock(t *testing.T) {
	realtest.Need(t, "restic")
	dir := filepath.Join(t.TempDir(), "repository")
	st := storage.NewLocal(dir)
	backuptest.InitCheaply(t, st)
	e := newPlace(t, st, func(c *backup.Config) { c.Repositories[0].Password = []byte(backuptest.Password) })
	entered, release := e.DB.Hold("data")
	defer release()
	run := must(e.Backup(t.Context(), "alice", "shop"))(t)
	<-entered
	if _, err := realtest.TryRestic(t, dir, backuptest.Password, "prune"); err == nil || !strings.Contains(err.Error(), "locked") {
		t.Errorf("%v", err)
	}
	release()
	if run = e.Wait(t, run.ID); run.State != backup.StateOK {
		t.Errorf("%+v", run)
	}
	realtest.Restic(t, dir, backuptest.Password, "check", "--read-data")
}

// TestManyWriters has two Services, as if they were two processes, and restic write into one repository at once.
func TestManyWriters(t *testing.T) {
	realtest.Need(t, "restic")
	dir := filepath.Join(t.TempDir(), "repository")
	st := storage.NewLocal(dir)
	backuptest.InitCheaply(t, st)
	const rounds = 3
	var writers sync.WaitGroup
	for n := range 2 {
		e := newPlace(t, st, func(c *backup.Config) {
			c.Repositories[0].Password = []byte(backuptest.Password)
			c.Jobs[0].Name = fmt.Sprint("job", n)
		})
		writers.Go(func() {
			for round := range rounds {
				e.DB.Set(strings.Repeat(fmt.Sprintln("line", round), 1<<17))
				if run := e.RunBackup(t, e.Config.Jobs[0].Name); run.State != backup.StateOK {
					t.Errorf("%+v", run)
				}
			}
		})
	}
	files := t.TempDir()
	if err := os.WriteFile(filepath.Join(files, "x"), make([]byte, 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	for range rounds {
		realtest.Restic(t, dir, backuptest.Password, "backup", "--force", files)
	}
	writers.Wait()
	e := newPlace(t, st, func(c *backup.Config) { c.Repositories[0].Password = []byte(backuptest.Password) })
	requireSnapshots(t, e, 3*rounds)
	requireClean(t, e)
	realtest.Restic(t, dir, backuptest.Password, "check", "--read-data")
}
