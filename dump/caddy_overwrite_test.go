package dump

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/certmagic"

	"github.com/caddy-backup/caddy-backup/backup"
	"github.com/caddy-backup/caddy-backup/backup/backuptest"
	"github.com/caddy-backup/caddy-backup/dump/dumptest"
	"github.com/caddy-backup/caddy-backup/repo"
	"github.com/caddy-backup/caddy-backup/storage"
)

// breakable is a storage in files of which writing can be broken.
type breakable struct {
	*certmagic.FileStorage
	beforeStore, beforeDelete func(key string) error
}

func (b breakable) Store(ctx context.Context, key string, value []byte) error {
	if b.beforeStore != nil {
		if err := b.beforeStore(key); err != nil {
			return err
		}
	}
	return b.FileStorage.Store(ctx, key, value)
}

func (b breakable) Delete(ctx context.Context, key string) error {
	if b.beforeDelete != nil {
		if err := b.beforeDelete(key); err != nil {
			return err
		}
	}
	return b.FileStorage.Delete(ctx, key)
}

// caddyWas is what a storage held, caddyIs what became of it, and caddyRestored what it is when the first is restored over it.
var (
	caddyWas = map[string]string{"certificates/ca/a/a.crt": "old a", "certificates/ca/a/a.key": "old key", "certificates/ca/b/b.crt": "b", "acme/account.json": "{}"}
	caddyIs  = map[string]string{"certificates/ca/a/a.crt": "new a", "certificates/ca/b/b.crt": "b", "certificates/ca/c/c.crt": "a later one",
		"locks/a.lock": "held", "backup/runs/1.json": "history", "acme/account.json": "{1}"}
	caddyRestored = map[string]string{"certificates/ca/a/a.crt": "old a", "certificates/ca/a/a.key": "old key", "certificates/ca/b/b.crt": "b",
		"certificates/ca/c/c.crt": "a later one", "locks/a.lock": "held", "backup/runs/1.json": "history", "acme/account.json": "{}"}
)

// overCaddy saves a storage, changes it, and gives what is needed to restore it over.
func overCaddy(t *testing.T) (c *Caddy, root string, r *repo.Repository, folder repo.Node) {
	t.Helper()
	root = filepath.Join(t.TempDir(), "storage")
	writeFiles(t, root, caddyWas)
	c = &Caddy{storage: &certmagic.FileStorage{Path: root}, autosave: filepath.Join(root, "none")}
	_, _, r, folder = saveCaddy(t, c)
	if err := os.RemoveAll(root); err != nil {
		t.Fatal(err)
	}
	writeFiles(t, root, caddyIs)
	return c, root, r, folder
}

var storedCerts = backup.Stored{Part: backup.Part{Name: "certs", Folder: true}}

func TestCaddyOverwrite(t *testing.T) {
	c, root, r, folder := overCaddy(t)
	if live := c.Live(storedCerts); live != root {
		t.Errorf("live is %q", live)
	}
	if err := c.Ready(t.Context(), storedCerts, backup.Over{}, dumptest.Task(t)); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := c.OverwriteFolder(t.Context(), storedCerts, r, folder, backup.Over{}, dumptest.Task(t)); err != nil {
			t.Fatal(err)
		}
		if got := readTree(t, root); !maps.Equal(got, caddyRestored) {
			t.Fatalf("%v", got)
		}
	}
	if err := os.RemoveAll(root); err != nil { // a storage that is gone
		t.Fatal(err)
	}
	err := errors.Join(c.Ready(t.Context(), storedCerts, backup.Over{}, dumptest.Task(t)),
		c.OverwriteFolder(t.Context(), storedCerts, r, folder, backup.Over{}, dumptest.Task(t)))
	if got := readTree(t, root); err != nil || !maps.Equal(got, caddyWas) {
		t.Errorf("%v, %v", got, err)
	}
}

// TestCaddyOverwriteOne restores one key, and a folder of keys, and refuses what is no part of the storage.
func TestCaddyOverwriteOne(t *testing.T) {
	for sub, want := range map[string]map[string]string{
		"storage/certificates/ca/a/a.crt": {"certificates/ca/a/a.crt": "old a"},
		"storage/certificates/ca/a":       {"certificates/ca/a/a.crt": "old a", "certificates/ca/a/a.key": "old key"},
		"storage/acme":                    {"acme/account.json": "{}"},
	} {
		c, root, r, folder := overCaddy(t)
		s := storedCerts
		s.Sub = sub
		if live := c.Live(s); live != filepath.Join(root, strings.TrimPrefix(sub, "storage/")) {
			t.Errorf("live is %q", live)
		}
		node, err := r.Lookup(t.Context(), *folder.Subtree, sub)
		if err == nil {
			err = c.OverwriteFolder(t.Context(), s, r, node, backup.Over{}, dumptest.Task(t))
		}
		all := maps.Clone(caddyIs)
		maps.Copy(all, want)
		if got := readTree(t, root); err != nil || !maps.Equal(got, all) {
			t.Errorf("%s: %v, %v", sub, got, err)
		}
	}
	c, _, _, _ := overCaddy(t)
	for _, sub := range []string{"config.json", "caddyfile/etc/caddy/Caddyfile"} {
		s := storedCerts
		s.Sub = sub
		if err := c.Ready(t.Context(), s, backup.Over{}, dumptest.Task(t)); !errors.Is(err, backup.ErrInvalid) {
			t.Errorf("%s: %v", sub, err)
		}
	}
}

// TestCaddyOverwriteFails: whatever write fails, the storage is as it was before, or that it is not is said.
func TestCaddyOverwriteFails(t *testing.T) {
	for n := 1; n <= 3; n++ {
		c, root, r, folder := overCaddy(t)
		stores := 0
		c.storage = breakable{&certmagic.FileStorage{Path: root}, func(string) error {
			if stores++; stores == n {
				return errors.New("disk full")
			}
			return nil
		}, nil}
		err := c.OverwriteFolder(t.Context(), storedCerts, r, folder, backup.Over{}, dumptest.Task(t))
		if err == nil || errors.Is(err, backup.ErrIncomplete) || !strings.Contains(err.Error(), "disk full") {
			t.Errorf("write %d: %v", n, err)
		}
		if got := readTree(t, root); !maps.Equal(got, caddyIs) {
			t.Errorf("write %d: %v", n, got)
		}
	}
	c, root, r, folder := overCaddy(t)
	stores := 0
	c.storage = breakable{&certmagic.FileStorage{Path: root}, func(string) error {
		if stores++; stores > 2 {
			return errors.New("disk gone")
		}
		return nil
	}, func(string) error { return errors.New("disk gone") }}
	if err := c.OverwriteFolder(t.Context(), storedCerts, r, folder, backup.Over{}, dumptest.Task(t)); !errors.Is(err, backup.ErrIncomplete) {
		t.Errorf("nothing can be put back: %v", err)
	}
	c, root, r, folder = overCaddy(t)
	ctx, cancel := context.WithCancel(t.Context())
	c.storage = breakable{&certmagic.FileStorage{Path: root}, func(string) error { cancel(); return nil }, nil}
	if err := c.OverwriteFolder(ctx, storedCerts, r, folder, backup.Over{}, dumptest.Task(t)); !errors.Is(err, context.Canceled) || errors.Is(err, backup.ErrIncomplete) {
		t.Errorf("cancelled: %v", err)
	}
	if got := readTree(t, root); !maps.Equal(got, caddyIs) {
		t.Errorf("cancelled: %v", got)
	}
}

// TestCaddyOverwriteHostile: a snapshot that holds what no dump does changes neither locks nor what backups keep.
func TestCaddyOverwriteHostile(t *testing.T) {
	c, root, _, _ := overCaddy(t)
	r, tree, err := inSnapshot(t, func(top *repo.Dir) error {
		certs, err := top.Mkdir(secretNode("certs", true, time.Time{}))
		if err != nil {
			return err
		}
		err = saveTree(certs, map[string]configText{
			"storage/backup/runs/1.json": {text: []byte("lies")}, "storage/locks/a.lock": {text: []byte("lies")}, "storage/good": {text: []byte("good")},
		})
		certs.Finish()
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	folder, err := r.Lookup(t.Context(), tree, "certs")
	if err == nil {
		err = c.OverwriteFolder(t.Context(), storedCerts, r, folder, backup.Over{}, dumptest.Task(t))
	}
	want := maps.Clone(caddyIs)
	want["good"] = "good"
	if got := readTree(t, root); err != nil || !maps.Equal(got, want) {
		t.Errorf("%v, %v", got, err)
	}
}

// killedCaddy is the configuration of the processes of TestCaddyOverwriteKilled.
func killedCaddy(root string, beforeStore func(string) error) (backup.Config, *Caddy) {
	live := &certmagic.FileStorage{Path: filepath.Join(root, "storage")}
	c := &Caddy{storage: breakable{live, beforeStore, nil}, autosave: filepath.Join(root, "none")}
	return backup.Config{
		Host: "shop-server", DataDir: filepath.Join(root, "data"), Logger: slog.New(slog.DiscardHandler), Store: live,
		Repositories: []backup.RepositoryConfig{{Storage: storage.NewLocal(filepath.Join(root, "repository")), Password: []byte(backuptest.Password)}},
		Jobs:         []backup.Job{{Name: "self", Sources: []backup.NamedSource{{Name: "certs", Kind: "caddy", Source: c}}}},
	}, c
}

// overwriteCaddy restores the oldest snapshot over the storage, and stops at the fifth key that is written.
func overwriteCaddy(root string) {
	stores := 0
	c, source := killedCaddy(root, func(string) error {
		if stores++; stores == 5 {
			fmt.Println("in the middle")
			select {}
		}
		return nil
	})
	s := backup.New()
	_, err := s.Attach(c)
	exitOn(err)
	list, err := s.Snapshots(context.Background(), backup.SnapshotQuery{})
	exitOn(err)
	_, err = s.Restore(context.Background(), "tester", backup.RestoreRequest{
		Snapshot: list.Snapshots[len(list.Snapshots)-1].ID, Path: "certs", Overwrite: true, Confirm: source.place()})
	exitOn(err)
	select {}
}

// TestCaddyOverwriteKilled kills a process in the middle of a restore: every key has its old value or its new one, the history says
// what is to be looked at, and the way back that it names works.
func TestCaddyOverwriteKilled(t *testing.T) {
	root := t.TempDir()
	was, is := map[string]string{}, map[string]string{}
	for i := range 10 {
		key := fmt.Sprintf("certificates/ca/%d.crt", i)
		was[key], is[key] = fmt.Sprintf("old %d", i), fmt.Sprintf("new %d", i)
	}
	live := filepath.Join(root, "storage")
	writeFiles(t, live, was)
	c, source := killedCaddy(root, nil)
	backuptest.InitCheaply(t, c.Repositories[0].Storage)
	first := &backuptest.Env{Service: backup.New(), Config: c}
	if _, err := first.Attach(c); err != nil {
		t.Fatal(err)
	}
	first.Backed(t, "self")
	backuptest.Close(t, first.Service)
	writeFiles(t, live, is)

	cmd := role(t, "overwriteCaddy", root)
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	said := make([]byte, 6)
	if _, err := out.Read(said); err != nil {
		t.Error(err)
	}
	cmd.Process.Kill()
	cmd.Wait()
	mixed := keysOf(t, live)
	for key, value := range mixed {
		if value != was[key] && value != is[key] {
			t.Errorf("%s = %q", key, value)
		}
	}
	if maps.Equal(mixed, is) || maps.Equal(mixed, was) {
		t.Errorf("nobody was killed in the middle: %v", mixed)
	}

	e := &backuptest.Env{Service: backup.New(), Config: c}
	t.Cleanup(func() { backuptest.Close(t, e.Service) })
	if _, err := e.Attach(c); err != nil {
		t.Fatal(err)
	}
	runs, err := e.Runs(t.Context(), backup.RunFilter{Kind: backup.KindRestore})
	if err != nil || len(runs) != 1 || !strings.Contains(runs[0].Error, "while it replaced "+source.place()+": that may be as before, replaced, or INCOMPLETE; the way back: caddy backup restore ") {
		t.Fatalf("%+v, %v", runs, err)
	}
	run, err := e.Restore(t.Context(), "alice", backup.RestoreRequest{Snapshot: runs[0].Safety, Job: "self", Path: "certs", Overwrite: true, Confirm: source.place()})
	if err != nil {
		t.Fatal(err)
	}
	requireOK(t, e.Wait(t, run.ID))
	if got := keysOf(t, live); !maps.Equal(got, is) {
		t.Errorf("the way back leads to %v", got)
	}
}

// keysOf reads the certificates of a storage.
func keysOf(t *testing.T, root string) map[string]string {
	t.Helper()
	files := readTree(t, root)
	maps.DeleteFunc(files, func(path, _ string) bool { return !strings.HasPrefix(path, "certificates/") })
	return files
}
