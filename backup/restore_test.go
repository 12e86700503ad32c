package backup_test

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-backup/caddy-backup/backup"
	"github.com/caddy-backup/caddy-backup/backup/backuptest"
	"github.com/caddy-backup/caddy-backup/repo"
	"github.com/caddy-backup/caddy-backup/storage/storagetest"
)

// newShop has a job with a database and a folder, backed up once.
func newShop(t *testing.T) (*backuptest.Env, backup.Snapshot) {
	t.Helper()
	e := backuptest.New(t, func(c *backup.Config) {
		c.Jobs[0].Sources = append(c.Jobs[0].Sources, backup.NamedSource{
			Name: "media", Kind: "fake", Source: backuptest.Folder{"a/1.jpg": "one", "2.jpg": "two", "new\nline": "three"},
		})
	})
	return e, e.Backed(t, "shop")
}

func restored(t *testing.T, e *backuptest.Env, q backup.RestoreRequest) backup.Run {
	t.Helper()
	return e.Wait(t, must(e.Restore(t.Context(), "alice", q))(t).ID)
}

func TestRestoreTarget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e, s := newShop(t)
		cases := []struct{ path, file, want string }{
			{"", "shop/media/a/1.jpg", "one"},
			{"/", "shop/db.sql", "create table customer;\n"},
			{"/shop", "shop/media/2.jpg", "two"},
			{"db.sql", "db.sql", "create table customer;\n"},
			{"media", "media/a/1.jpg", "one"},
			{"media/a/", "a/1.jpg", "one"},
			{"/shop/media/a/1.jpg", "1.jpg", "one"},
		}
		for _, c := range cases {
			target := filepath.Join(t.TempDir(), "new", "folder")
			run := restored(t, e, backup.RestoreRequest{Snapshot: s.ID[:8], Path: c.path, Target: target})
			if run.State != backup.StateOK || run.Snapshot != s.ID || run.Job != "shop" || run.Progress.Bytes != run.Progress.Total {
				t.Fatalf("%q: %+v\n%s", c.path, run, logOf(run))
			}
			if got := must(os.ReadFile(filepath.Join(target, c.file)))(t); string(got) != c.want {
				t.Errorf("%q: %q", c.path, got)
			}
			if left := must(filepath.Glob(filepath.Join(target, "RESTORE*")))(t); len(left) != 0 {
				t.Errorf("%q: %v", c.path, left)
			}
		}
		requireUnlocked(t, e.Storage)
	})
}

// TestRestoreOverwritesNothing restores over what exists, and finds it as it was.
func TestRestoreOverwritesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e, s := newShop(t)
		target := t.TempDir()
		if err := os.WriteFile(filepath.Join(target, "db.sql"), []byte("mine"), 0o600); err != nil {
			t.Fatal(err)
		}
		run := restored(t, e, backup.RestoreRequest{Snapshot: s.ID, Path: "db.sql", Target: target})
		if run.State != backup.StateFailed || !strings.Contains(run.Error, filepath.Join(target, "db.sql")+" exists, and nothing is overwritten") {
			t.Fatalf("%+v", run)
		}
		if got := must(os.ReadFile(filepath.Join(target, "db.sql")))(t); string(got) != "mine" {
			t.Errorf("%q", got)
		}
		if entries := must(os.ReadDir(target))(t); len(entries) != 1 {
			t.Error(entries)
		}
		run = restored(t, e, backup.RestoreRequest{Snapshot: s.ID, Target: filepath.Join(target, "db.sql")})
		if run.State != backup.StateFailed || !strings.Contains(run.Error, "is not a folder") {
			t.Errorf("%+v", run)
		}
		// A link out of the target is not followed.
		outside := t.TempDir()
		if err := os.Symlink(outside, filepath.Join(target, "shop")); err != nil {
			t.Fatal(err)
		}
		run = restored(t, e, backup.RestoreRequest{Snapshot: s.ID, Target: target})
		if run.State != backup.StateFailed {
			t.Errorf("%+v", run)
		}
		if entries := must(os.ReadDir(outside))(t); len(entries) != 0 {
			t.Error(entries)
		}
	})
}

// TestRestorePreflight damages the repository: what is known to fail fails before the target is touched, and a damage
// that shows on the way leaves a mark.
func TestRestorePreflight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e, s := newShop(t)
		target := filepath.Join(t.TempDir(), "target")
		saved := map[string][]byte{} // without its index file a pack would be asked itself what it holds
		for _, name := range append(storagetest.Names(t, e.Storage, "index"), storagetest.Names(t, e.Storage, "data")...) {
			saved[name] = storagetest.Read(t, e.Storage, name)
			storagetest.Remove(t, e.Storage, name)
		}
		e = reopen(t, e)
		run := restored(t, e, backup.RestoreRequest{Snapshot: s.ID, Target: target})
		if run.State != backup.StateFailed || !strings.Contains(run.Error, repo.ErrDamaged.Error()) {
			t.Fatalf("%+v", run)
		}
		if _, err := os.Stat(target); !errors.Is(err, os.ErrNotExist) {
			t.Error("the target was touched: ", err)
		}
		for name, data := range saved {
			storagetest.Write(t, e.Storage, name, data)
		}
		for _, name := range storagetest.Names(t, e.Storage, "data") {
			data := storagetest.Read(t, e.Storage, name)
			for i := range data {
				data[i] ^= 0x55
			}
			storagetest.Write(t, e.Storage, name, data)
		}
		run = restored(t, e, backup.RestoreRequest{Snapshot: s.ID, Path: "db.sql", Target: target})
		if run.State != backup.StateFailed || !strings.Contains(run.Error, repo.ErrDamaged.Error()) {
			t.Errorf("%+v", run)
		}
		if got, err := os.ReadFile(filepath.Join(target, "db.sql")); len(got) != 0 {
			t.Errorf("wrong bytes were restored: %q %v", got, err)
		}
	})
}

func TestRestoreInvalid(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e, s := newShop(t)
		for _, q := range []backup.RestoreRequest{
			{Target: "/tmp/x"},
			{Snapshot: "latest", Target: "/tmp/x"},
			{Snapshot: s.ID},
			{Snapshot: s.ID, Target: "/tmp/x", Place: "y", Path: "db.sql"},
			{Snapshot: s.ID, Target: "tmp/x"},
			{Snapshot: s.ID, Place: "y"},
		} {
			if _, err := e.Restore(t.Context(), "alice", q); !errors.Is(err, backup.ErrInvalid) {
				t.Errorf("%+v: %v", q, err)
			}
		}
		if _, err := e.Restore(t.Context(), "alice", backup.RestoreRequest{Snapshot: s.ID, Repository: "offsite", Target: "/tmp/x"}); !errors.Is(err, backup.ErrNotFound) {
			t.Error(err)
		}
		run := restored(t, e, backup.RestoreRequest{Snapshot: "1234567890", Target: t.TempDir()})
		if run.State != backup.StateFailed || !strings.Contains(run.Error, repo.ErrNotFound.Error()) {
			t.Errorf("%+v", run)
		}
	})
}

func TestRestorePlace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e, s := newShop(t)
		run := restored(t, e, backup.RestoreRequest{Snapshot: "latest", Job: "shop", Path: "db.sql", Place: "shop_restored"})
		if run.State != backup.StateOK || run.Snapshot != s.ID || run.Progress.Bytes != 23 || run.Progress.Total != 23 {
			t.Fatalf("%+v", run)
		}
		if got, _ := e.DB.Restored("shop_restored"); string(got) != "create table customer;\n" {
			t.Errorf("%q", got)
		}
		run = restored(t, e, backup.RestoreRequest{Snapshot: s.ID, Path: "/shop/db.sql", Place: "shop_restored"})
		if run.State != backup.StateFailed || run.Error != "source db: conflict: shop_restored exists" {
			t.Errorf("%+v", run)
		}
		for path, want := range map[string]string{
			"media":         "/shop/media is a folder: restore it into a target",
			"media/2.jpg":   "is not a part of the snapshot",
			"manifest.json": "is not a part of the snapshot",
			"nothing":       "not found",
		} {
			run := restored(t, e, backup.RestoreRequest{Snapshot: s.ID, Path: path, Place: "x"})
			if run.State != backup.StateFailed || !strings.Contains(run.Error, want) {
				t.Errorf("%s: %+v", path, run)
			}
		}

		// The source is not configured any more.
		next := e.Config
		next.Jobs = []backup.Job{{Name: "shop", Sources: []backup.NamedSource{{Name: "other", Kind: "fake", Source: e.DB}}}}
		must(e.Attach(next))(t)
		run = restored(t, e, backup.RestoreRequest{Snapshot: s.ID, Path: "db.sql", Place: "x"})
		if run.State != backup.StateFailed || !strings.Contains(run.Error, "job shop has no source db any more: restore into a target") {
			t.Errorf("%+v", run)
		}
	})
}

// TestRestoreForeign restores from a snapshot that no job made.
func TestRestoreForeign(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e, _ := newShop(t)
		id := foreignSnapshot(t, e)
		run := restored(t, e, backup.RestoreRequest{Snapshot: id, Path: "/etc/hosts", Place: "x"})
		if run.State != backup.StateFailed || !strings.Contains(run.Error, "was not made by a job: restore into a target") {
			t.Errorf("%+v", run)
		}
		target := t.TempDir()
		run = restored(t, e, backup.RestoreRequest{Snapshot: id, Path: "etc/hosts", Target: target})
		if run.State != backup.StateOK || run.Job != "" {
			t.Fatalf("%+v", run)
		}
		if got := must(os.ReadFile(filepath.Join(target, "hosts")))(t); string(got) != "127.0.0.1 localhost\n" {
			t.Errorf("%q", got)
		}
	})
}

// foreignSnapshot writes a snapshot as another program would, and returns its ID.
func foreignSnapshot(t *testing.T, e *backuptest.Env) string {
	t.Helper()
	r := must(repo.Open(t.Context(), e.Storage, []byte(backuptest.Password), repo.Options{}))(t)
	lock := must(r.Lock(t.Context(), false))(t)
	defer lock.Unlock()
	if err := r.LoadIndex(t.Context()); err != nil {
		t.Fatal(err)
	}
	w := must(r.NewWriter(lock))(t)
	defer w.Abort()
	etc := must(w.Root().Mkdir(repo.Node{Name: "etc", Mode: os.ModeDir | 0o755}))(t)
	f := must(etc.Create(repo.Node{Name: "hosts", Mode: 0o644}))(t)
	if _, err := io.WriteString(f, "127.0.0.1 localhost\n"); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	must(etc.Close())(t)
	s := must(w.Commit(repo.Snapshot{Time: time.Now(), Paths: []string{"/etc"}, Hostname: "web1", Tags: []string{"system"}}))(t)
	return s.ID.String()
}
