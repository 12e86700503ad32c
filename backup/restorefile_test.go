package backup_test

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddy-backup/caddy-backup/backup"
	"github.com/caddy-backup/caddy-backup/backup/backuptest"
)

// TestRestoreFileChanged: a file that is another by the time that it is restored was never verified, and replaces nothing.
func TestRestoreFileChanged(t *testing.T) {
	file := filepath.Join(t.TempDir(), "old.sql")
	write := func(text string) {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Error(err)
		}
	}
	write("verified")
	read := false
	source := &indexer{Source: backuptest.NewSource("data"), begins: func() { read = true }}
	e := backuptest.New(t, func(c *backup.Config) { c.Jobs[0].Sources[0].Source = source })
	source.Do(func(_ context.Context, w io.Writer, _ *backup.Task) error { // for the safety snapshot
		write("half of another")
		_, err := io.WriteString(w, "data")
		return err
	})
	run := must(e.RestoreFile(t.Context(), "alice", backup.FileRestore{Job: "shop", Part: "db.sql", File: file, Overwrite: true, Confirm: "shop"}))(t)
	run = wait(t, e, run.ID)
	if run.State != backup.StateFailed || !strings.Contains(run.Error, "changed after it was verified") || !strings.Contains(run.Error, "shop is as it was before") || read {
		t.Errorf("%s: %s; the source has read it: %v", run.State, run.Error, read)
	}
}

// TestRestoreFileMissing: a name that was mistyped is no dump that is broken.
func TestRestoreFileMissing(t *testing.T) {
	e := backuptest.New(t, func(c *backup.Config) { c.Jobs[0].Sources[0].Source = &indexer{Source: backuptest.NewSource("data")} })
	file := filepath.Join(t.TempDir(), "mistyped.sql")
	run := must(e.RestoreFile(t.Context(), "alice", backup.FileRestore{Job: "shop", Part: "db.sql", File: file, Place: "beside"}))(t)
	run = wait(t, e, run.ID)
	if run.State != backup.StateFailed || !strings.Contains(run.Error, file) || !strings.Contains(run.Error, "no such file") || strings.Contains(run.Error, "no dump") {
		t.Errorf("%s: %s", run.State, run.Error)
	}
}

// TestRestoreLooked: what was looked at is replaced, and nothing else, should the job be another one by now.
func TestRestoreLooked(t *testing.T) {
	e := backuptest.New(t, func(c *backup.Config) { c.Jobs[0].Sources[0].Source = &indexer{Source: backuptest.NewSource("data")} })
	e.Backed(t, "shop")
	q := backup.RestoreRequest{Snapshot: "latest", Job: "shop", Overwrite: true, Confirm: "shop", Over: []string{"cart"}}
	if run, err := e.Restore(t.Context(), "alice", q); !errors.Is(err, backup.ErrConflict) || run.ID != "" || !strings.Contains(err.Error(), "by now this replaces shop, and not cart") {
		t.Errorf("%+v, %v", run, err)
	}
	q.Over = []string{"shop"}
	run := must(e.Restore(t.Context(), "alice", q))(t)
	if run = wait(t, e, run.ID); run.State != backup.StateOK {
		t.Errorf("%+v", run)
	}
}
