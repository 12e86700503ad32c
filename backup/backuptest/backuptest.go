// Package backuptest lends tests a backup.Service that works, on a memory storage and with sources that do as told.
package backuptest

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"testing"
	"time"

	"github.com/caddy-backup/caddy-backup/backup"
	"github.com/caddy-backup/caddy-backup/repo"
	"github.com/caddy-backup/caddy-backup/storage"
)

// Password opens the repositories that this package makes.
const Password = "a password for tests"

// patience is how long runs may take to end. Each writes a dozen files durably, and a busy disk may take seconds for one.
const patience = 5 * time.Minute

// Env is a Service and what it works on: the repository "default", and the job "shop" with one source "db" of one part,
// "db.sql".
type Env struct {
	*backup.Service
	Config  backup.Config // as attached
	Storage *storage.Memory
	Store   *Store
	DB      *Source
	Detach  func()
}

// New makes an Env, after change (if any) has changed its configuration. It is closed when the test ends.
func New(t testing.TB, change ...func(*backup.Config)) *Env {
	t.Helper()
	e := &Env{Service: backup.New(), Storage: Repository(t), Store: &Store{}, DB: NewSource("create table customer;\n")}
	e.Config = backup.Config{
		Host:         "shop-server",
		Zone:         time.UTC,
		Repositories: []backup.RepositoryConfig{{Name: "default", Storage: e.Storage, Password: []byte(Password)}},
		Jobs:         []backup.Job{{Name: "shop", Sources: []backup.NamedSource{{Name: "db", Kind: "fake", Source: e.DB}}}},
		Store:        e.Store,
		DataDir:      t.TempDir(),
		Logger:       Logger(t),
		Versions:     map[string]string{"caddy-backup": "test"},
	}
	for _, f := range change {
		f(&e.Config)
	}
	detach, err := e.Attach(e.Config)
	if err != nil {
		t.Fatal(err)
	}
	e.Detach = detach
	t.Cleanup(func() { Close(t, e.Service) })
	return e
}

// Close ends a Service and fails the test when its runs do not end.
func Close(t testing.TB, s *backup.Service) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := s.Close(ctx); err != nil {
		t.Errorf("closing the service: %v", err)
	}
}

// Repository makes an empty repository in memory, with a key that costs nothing. Its password is Password.
func Repository(t testing.TB) *storage.Memory {
	t.Helper()
	st := new(storage.Memory)
	InitCheaply(t, st)
	return st
}

// InitCheaply makes an empty repository in st, with a key that costs nothing. Its password is Password.
func InitCheaply(t testing.TB, st repo.Storage) {
	t.Helper()
	if _, err := repo.Init(context.Background(), st, []byte(Password), repo.Options{KDF: repo.KDF{N: 16, R: 1, P: 1}}); err != nil {
		t.Fatal(err)
	}
}

// Logger writes to the test's log.
func Logger(t testing.TB) *slog.Logger {
	return slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// Wait waits for a run to end and returns it, with its log.
func (e *Env) Wait(t testing.TB, id string) backup.Run {
	t.Helper()
	return Wait(t, e.Service, id)
}

// Wait waits for a run of any Service to end and returns it, with its log.
func Wait(t testing.TB, s *backup.Service, id string) backup.Run {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for run, err := range s.Watch(ctx, id) {
		if err != nil {
			t.Fatalf("run %s, %s, %q: %v", id, run.State, run.Step, err)
		}
	}
	run, err := s.Run(ctx, id)
	if err != nil {
		t.Fatal(err)
	}
	return run
}

// RunBackup backs a job up and returns the run when it has ended, however it did.
func (e *Env) RunBackup(t testing.TB, job string) backup.Run {
	t.Helper()
	run, err := e.Backup(t.Context(), "tester", job)
	if err != nil {
		t.Fatal(err)
	}
	return e.Wait(t, run.ID)
}

// Backed backs a job up, which must go well, and returns the snapshot.
func (e *Env) Backed(t testing.TB, job string) backup.Snapshot {
	t.Helper()
	run := e.RunBackup(t, job)
	if run.State != backup.StateOK {
		t.Fatalf("the backup is %s: %s", run.State, run.Error)
	}
	s, err := e.Snapshot(t.Context(), run.Repository, run.Snapshot, "")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// Read returns a file of a snapshot.
func (e *Env) Read(t testing.TB, snapshot, path string) []byte {
	t.Helper()
	f, err := e.Open(t.Context(), "", snapshot, path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var b bytes.Buffer
	if _, err := io.Copy(&b, f); err != nil && !errors.Is(err, io.EOF) {
		t.Fatal(err)
	}
	return b.Bytes()
}
