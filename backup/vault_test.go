package backup_test

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-backup/caddy-backup/backup"
	"github.com/caddy-backup/caddy-backup/backup/backuptest"
	"github.com/caddy-backup/caddy-backup/repo"
	"github.com/caddy-backup/caddy-backup/storage"
	"github.com/caddy-backup/caddy-backup/storage/storagetest"
)

// newPlace makes a Service over a storage in which there is nothing yet, without a configured password.
func newPlace(t *testing.T, st backup.Storage, change ...func(*backup.Config)) *backuptest.Env {
	t.Helper()
	e := &backuptest.Env{Service: backup.New().Cheap(), Store: &backuptest.Store{}, DB: backuptest.NewSource("data")}
	e.Config = backup.Config{
		Host:         "shop-server",
		Repositories: []backup.RepositoryConfig{{Name: "default", Storage: st}},
		Jobs:         []backup.Job{{Name: "shop", Sources: []backup.NamedSource{{Name: "db", Kind: "fake", Source: e.DB}}}},
		Store:        e.Store,
		DataDir:      t.TempDir(),
		Logger:       backuptest.Logger(t),
	}
	for _, f := range change {
		f(&e.Config)
	}
	e.Detach = must(e.Attach(e.Config))(t)
	t.Cleanup(func() { backuptest.Close(t, e.Service) })
	return e
}

func TestGeneratedPassword(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		st := new(storage.Memory)
		e := newPlace(t, st, func(c *backup.Config) { c.Logger = slog.New(slog.NewTextHandler(&log, nil)) })
		if _, err := e.Snapshots(t.Context(), backup.SnapshotQuery{}); !errors.Is(err, repo.ErrNoRepository) || !strings.HasSuffix(err.Error(), ": caddy backup init --repository default") {
			t.Error(err)
		}
		e.Backed(t, "shop")
		status := must(e.Repositories(t.Context()))(t)[0]
		if status.ID == "" || status.Location != "memory" || filepath.Dir(status.GeneratedPassword) != e.Config.DataDir {
			t.Fatalf("%+v", status)
		}
		fi := must(os.Stat(status.GeneratedPassword))(t)
		password := bytes.TrimSpace(must(os.ReadFile(status.GeneratedPassword))(t))
		if fi.Mode().Perm() != 0o600 || len(password) != 43 {
			t.Errorf("%v, %d bytes", fi.Mode(), len(password))
		}
		must(repo.Open(t.Context(), st, password, repo.Options{}))(t)
		if !strings.Contains(log.String(), "save a copy of this file elsewhere") || strings.Contains(log.String(), string(password)) {
			t.Errorf("log:\n%s", log.String())
		}

		// The same one from then on.
		next := reopen(t, e)
		next.Backed(t, "shop")
		requireSnapshots(t, next, 2)

		// Where the right one is stands in the error for another one.
		changed := reopen(t, e)
		other := e.Config
		other.Repositories = []backup.RepositoryConfig{{Name: "default", Storage: st, Password: []byte("another one")}}
		must(changed.Attach(other))(t)
		if _, err := changed.Snapshots(t.Context(), backup.SnapshotQuery{}); !errors.Is(err, repo.ErrWrongPassword) || !strings.Contains(err.Error(), status.GeneratedPassword) {
			t.Error(err)
		}

		// An existing repository never gets a new password.
		if err := os.Remove(status.GeneratedPassword); err != nil {
			t.Fatal(err)
		}
		lost := reopen(t, e)
		run := lost.RunBackup(t, "shop")
		if run.State != backup.StateFailed || !strings.Contains(run.Error, "write `password` into the configuration") {
			t.Errorf("%+v", run)
		}
		if entries := must(filepath.Glob(filepath.Join(e.Config.DataDir, "*.password")))(t); len(entries) != 0 {
			t.Error(entries)
		}
	})
}

func TestGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := backuptest.New(t)
		first := e.Backed(t, "shop")
		e.Backed(t, "shop")
		copied := new(storage.Memory)
		storagetest.Copy(t, copied, e.Storage)
		for _, name := range storagetest.Names(t, e.Storage, "") {
			storagetest.Remove(t, e.Storage, name) // as if the disk were not mounted any more
		}
		for _, e := range []*backuptest.Env{e, reopen(t, e)} {
			run := e.RunBackup(t, "shop")
			if run.State != backup.StateFailed || !strings.Contains(run.Error, "is gone from memory: no repository there now; is the disk mounted") ||
				!strings.HasSuffix(run.Error, "run: caddy backup init --repository default") || run.Code != "no_repository" {
				t.Fatalf("%+v", run)
			}
			if _, err := e.Snapshots(t.Context(), backup.SnapshotQuery{}); !errors.Is(err, repo.ErrNoRepository) {
				t.Error(err)
			}
			if names := storagetest.Names(t, e.Storage, ""); len(names) != 0 {
				t.Fatal("something was written where the repository is missing: ", names)
			}
		}

		// It comes back.
		storagetest.Copy(t, e.Storage, copied)
		e.Backed(t, "shop")
		if got := string(e.Read(t, first.ID, "db.sql")); got != "create table customer;\n" {
			t.Error(got)
		}

		// Or a new one is wanted.
		for _, name := range storagetest.Names(t, e.Storage, "") {
			storagetest.Remove(t, e.Storage, name)
		}
		if _, err := e.InitRepository(t.Context(), "alice", ""); err != nil {
			t.Fatal(err)
		}
		if _, err := e.InitRepository(t.Context(), "alice", ""); !errors.Is(err, repo.ErrExists) {
			t.Error(err)
		}
		e.Backed(t, "shop")
		requireSnapshots(t, e, 1)

		// Another one than the remembered one is not written to, until that is accepted.
		for _, name := range storagetest.Names(t, e.Storage, "") {
			storagetest.Remove(t, e.Storage, name)
		}
		storagetest.Copy(t, e.Storage, copied)
		run := e.RunBackup(t, "shop")
		if run.State != backup.StateFailed || !strings.Contains(run.Error, "is another one than before") || !strings.Contains(run.Error, "caddy backup check --accept-fewer") {
			t.Fatalf("%+v", run)
		}
		for _, accepted := range []bool{false, true} {
			check, err := e.Check(t.Context(), "alice", backup.CheckRequest{AcceptFewer: accepted})
			if err != nil {
				t.Fatal(err)
			}
			if check = e.Wait(t, check.ID); (check.State == backup.StateOK) != accepted {
				t.Fatalf("%+v", check)
			}
		}
		e.Backed(t, "shop")
		requireSnapshots(t, e, 3)
	})
}

func TestOpenProblems(t *testing.T) {
	cases := map[string]struct {
		prepare func(*testing.T, *storage.Memory)
		is      error
		want    []string
	}{
		"wrong password": {func(t *testing.T, st *storage.Memory) { backuptest.InitCheaply(t, st) },
			repo.ErrWrongPassword, []string{`repository "default"`, "memory", "correct `password`"}},
		"other files": {func(t *testing.T, st *storage.Memory) { storagetest.Write(t, st, "photos/1.jpg", []byte("x")) },
			repo.ErrNoRepository, []string{"memory holds other files (photos/1.jpg", "use an empty place"}},
		"config lost": {func(t *testing.T, st *storage.Memory) {
			backuptest.InitCheaply(t, st)
			storagetest.Remove(t, st, "config")
		}, repo.ErrExists, []string{`repository "default"`, "no config file"}},
		"config damaged": {func(t *testing.T, st *storage.Memory) {
			backuptest.InitCheaply(t, st)
			storagetest.Truncate(t, st, "config", 20)
		}, nil, []string{`repository "default"`, "config"}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			st := new(storage.Memory)
			c.prepare(t, st)
			before := storagetest.Names(t, st, "")
			e := newPlace(t, st, func(c *backup.Config) { c.Repositories[0].Password = []byte("another one") })
			run := e.RunBackup(t, "shop")
			if run.State != backup.StateFailed {
				t.Fatalf("%+v", run)
			}
			_, err := e.InitRepository(t.Context(), "alice", "")
			if err == nil || c.is != nil && !errors.Is(err, c.is) && !errors.Is(err, repo.ErrExists) {
				t.Error(err)
			}
			for _, want := range c.want {
				if !strings.Contains(run.Error, want) {
					t.Errorf("%q is not in: %s", want, run.Error)
				}
			}
			if after := storagetest.Names(t, st, ""); strings.Join(after, " ") != strings.Join(before, " ") {
				t.Errorf("%v became %v", before, after)
			}
		})
	}
}

func TestStorageRefuses(t *testing.T) {
	f := storagetest.NewFaulty(new(storage.Memory))
	f.Hook(func(storagetest.Op) error { return fs.ErrPermission })
	e := newPlace(t, f)
	run := e.RunBackup(t, "shop")
	if run.State != backup.StateFailed || !strings.Contains(run.Error, `repository "default" at memory: permission denied`) {
		t.Errorf("%+v", run)
	}
}

// TestStoreDown: what the Store cannot do is no reason not to back up into a repository that is there, but one to make
// a new one where an old one may have been.
func TestStoreDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := backuptest.New(t)
		e.Store.Fail(errors.New("the store is down"))
		run := e.RunBackup(t, "shop")
		if run.State != backup.StateOK || len(run.Log) == 0 {
			t.Fatalf("%+v", run)
		}
		if again := must(e.Service.Run(t.Context(), run.ID))(t); len(again.Log) == 0 || again.State != backup.StateOK {
			t.Errorf("%+v", again)
		}

		e = newPlace(t, new(storage.Memory))
		e.Store.Fail(errors.New("the store is down"))
		run = e.RunBackup(t, "shop")
		if run.State != backup.StateFailed || !strings.Contains(run.Error, "the store is down") {
			t.Fatalf("%+v", run)
		}
		e.Store.Fail(nil)
		e.Backed(t, "shop")
	})
}

// TestNoDataDir: a password cannot be generated where it cannot be kept; everything else works.
func TestNoDataDir(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newPlace(t, new(storage.Memory), func(c *backup.Config) { c.DataDir = "" })
		run := e.RunBackup(t, "shop")
		if run.State != backup.StateFailed || !strings.Contains(run.Error, "write `password`") {
			t.Errorf("%+v", run)
		}
		e = newPlace(t, new(storage.Memory), func(c *backup.Config) { c.DataDir, c.Repositories[0].Password = "", []byte("secret") })
		e.Backed(t, "shop")
	})
}

// runIDTick is longer than two runs of two processes can have the same ID, whose last part counts 1/65536 of a second.
const runIDTick = 20 * time.Microsecond

// TestTwoCreate has two Services make a repository at once: it is made once.
func TestTwoCreate(t *testing.T) {
	st := new(storage.Memory)
	a := newPlace(t, st)
	b := newPlace(t, st, func(c *backup.Config) { c.DataDir, c.Store = a.Config.DataDir, a.Store })
	ra := must(a.Backup(t.Context(), "alice", "shop"))(t)
	for time.Since(ra.Created) < runIDTick { // both would have the same ID
	}
	rb := must(b.Backup(t.Context(), "bob", "shop"))(t)
	if run := a.Wait(t, ra.ID); run.State != backup.StateOK {
		t.Errorf("%+v", run)
	}
	if run := b.Wait(t, rb.ID); run.State != backup.StateOK {
		t.Errorf("%+v", run)
	}
	requireSnapshots(t, a, 2)
	requireClean(t, b)
}

// TestMadeMeanwhile has another Service make the repository right after this one saw that there is none, and before it
// looks whether there ever was one: it is there, not gone.
func TestMadeMeanwhile(t *testing.T) {
	st := new(storage.Memory)
	a := newPlace(t, st)
	f := storagetest.NewFaulty(st)
	b := newPlace(t, f, func(c *backup.Config) { c.DataDir, c.Store = a.Config.DataDir, a.Store })
	var once sync.Once
	f.Hook(func(op storagetest.Op) (err error) {
		if op.Kind == storagetest.Get && op.Name == "config" {
			once.Do(func() {
				time.Sleep(runIDTick)
				a.Backed(t, "shop")
				err = fs.ErrNotExist
			})
		}
		return err
	})
	b.Backed(t, "shop")
	requireSnapshots(t, a, 2)
}

// TestNewStorage attaches a configuration with another storage for the same location: from then on that one is used.
func TestNewStorage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := backuptest.New(t)
		e.Backed(t, "shop")
		old := storagetest.NewFaulty(e.Storage)
		next := e.Config
		next.Repositories = []backup.RepositoryConfig{next.Repositories[0]}
		next.Repositories[0].Storage = old
		detach := must(e.Attach(next))(t)
		e.Backed(t, "shop")
		if old.Count() == 0 {
			t.Fatal("the new storage is not used")
		}
		detach()
		n := old.Count()
		e.Backed(t, "shop")
		if old.Count() != n {
			t.Error("the storage of a detached configuration is still used")
		}
	})
}

// TestReplacedConfig swaps the whole repository for another with the same password behind an open vault.
func TestReplacedConfig(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := backuptest.New(t)
		e.Backed(t, "shop")
		other := backuptest.Repository(t)
		for _, name := range storagetest.Names(t, e.Storage, "") {
			storagetest.Remove(t, e.Storage, name)
		}
		storagetest.Copy(t, e.Storage, other)
		if _, err := e.Snapshots(context.Background(), backup.SnapshotQuery{}); !errors.Is(err, backup.ErrConflict) {
			t.Error(err)
		}
	})
}
