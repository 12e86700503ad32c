package backup_test

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-backup/caddy-backup/backup"
	"github.com/caddy-backup/caddy-backup/backup/backuptest"
)

// indexer is a source that makes an index for hours after it has read the dump, in silence.
type indexer struct {
	*backuptest.Source
	works  time.Duration
	begins func() // called before the dump is read; may be nil
	looks  time.Duration
}

func (x *indexer) build(ctx context.Context, r io.Reader) error {
	if x.begins != nil {
		x.begins()
	}
	if _, err := io.Copy(io.Discard, r); err != nil {
		return err
	}
	select {
	case <-time.After(x.works):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (x *indexer) Restore(ctx context.Context, _ backup.Part, r io.Reader, _ string, _ *backup.Task) error {
	return x.build(ctx, r)
}

func (*indexer) Live(backup.Stored) string { return "shop" }

func (x *indexer) Ready(ctx context.Context, _ backup.Stored, _ backup.Over, _ *backup.Task) error {
	select {
	case <-time.After(x.looks):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (x *indexer) Overwrite(ctx context.Context, _ backup.Stored, r io.Reader, _ backup.Over, _ *backup.Task) error {
	return x.build(ctx, r)
}

func (x *indexer) Drill(ctx context.Context, s backup.Stored, r io.Reader, _ backup.Scratch, _ *backup.Task) (backup.Facts, error) {
	return s.Facts, x.build(ctx, r)
}

// ways are how a dump is given back through its source.
var ways = map[string]func(t *testing.T, e *backuptest.Env, file string) (backup.Run, error){
	"to a new place": func(t *testing.T, e *backuptest.Env, _ string) (backup.Run, error) {
		return e.Restore(t.Context(), "alice", backup.RestoreRequest{Snapshot: "latest", Job: "shop", Path: "db.sql", Place: "new"})
	},
	"over the live one": func(t *testing.T, e *backuptest.Env, _ string) (backup.Run, error) {
		return e.Restore(t.Context(), "alice", backup.RestoreRequest{Snapshot: "latest", Job: "shop", Path: "db.sql", Overwrite: true, Confirm: "shop"})
	},
	"of a file": func(t *testing.T, e *backuptest.Env, file string) (backup.Run, error) {
		return e.RestoreFile(t.Context(), "alice", backup.FileRestore{Job: "shop", Part: "db.sql", File: file, Place: "new"})
	},
	"drill": func(t *testing.T, e *backuptest.Env, _ string) (backup.Run, error) {
		return e.Drill(t.Context(), "alice", backup.DrillRequest{Job: "shop"})
	},
}

// TestStallWhileRestoring: what a source builds in silence is not ended, but told, once.
func TestStallWhileRestoring(t *testing.T) {
	for name, begin := range ways {
		inBubble(t, name, func(t *testing.T) {
			var box inbox
			source := &indexer{Source: backuptest.NewSource("all of it"), works: 5 * time.Hour}
			e := backuptest.New(t, stalls(30*time.Minute), told(&box), func(c *backup.Config) { c.Jobs[0].Sources[0].Source = source })
			e.Backed(t, "shop")
			file := filepath.Join(t.TempDir(), "old.sql")
			if err := os.WriteFile(file, []byte("an older one"), 0o600); err != nil {
				t.Fatal(err)
			}
			started, err := begin(t, e, file)
			if err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Hour)
			synctest.Wait()
			if box.events() != "stalled" {
				t.Fatalf("told of %q", box.events())
			}
			n := box.last()
			if n.Run != started.ID || n.Job != "shop" || !strings.Contains(n.Title, "of shop on shop-server DOES NOT MOVE") ||
				!strings.Contains(n.Text, "It is not ended") {
				t.Errorf("%+v", n)
			}
			run := wait(t, e, started.ID)
			synctest.Wait()
			if run.State != backup.StateOK || run.Ended.Sub(run.Started) < source.works || box.events() != "stalled" {
				t.Errorf("%s after %v: %s; told of %q", run.State, run.Ended.Sub(run.Started), run.Error, box.events())
			}
		})
	}
}

// TestStallWhileReading: a restore that waits for the repository, which does not answer, is ended: nothing can go on in it.
func TestStallWhileReading(t *testing.T) {
	for name, begin := range ways {
		if name == "of a file" {
			continue
		}
		inBubble(t, name, func(t *testing.T) {
			disk := &unread{Memory: backuptest.Repository(t), alive: make(chan struct{})}
			close(disk.alive)
			source := &indexer{Source: backuptest.NewSource(strings.Repeat("all of it", 1<<16))}
			source.begins = func() {
				disk.alive = make(chan struct{})
				time.AfterFunc(3*time.Hour, func() { close(disk.alive) })
			}
			e := backuptest.New(t, stalls(30*time.Minute), func(c *backup.Config) {
				c.Jobs[0].Sources[0].Source, c.Repositories[0].Storage = source, disk
			})
			e.RunBackup(t, "shop")
			began := time.Now()
			started, err := begin(t, e, "")
			if err != nil {
				t.Fatal(err)
			}
			run := wait(t, e, started.ID)
			if took := run.Ended.Sub(began); took > 32*time.Minute || run.State != backup.StateFailed || !strings.Contains(run.Error, "hung while ") {
				t.Errorf("%s after %v: %s", run.State, took, run.Error)
			}
			time.Sleep(3 * time.Hour)
		})
	}
}

// TestStallOfLook: a look that hangs before anything is touched is ended, so that the backups of the repository go on.
func TestStallOfLook(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source := &indexer{Source: backuptest.NewSource("all of it"), looks: 20 * time.Hour}
		e := backuptest.New(t, stalls(30*time.Minute), func(c *backup.Config) { c.Jobs[0].Sources[0].Source = source })
		e.RunBackup(t, "shop")
		run := must(ways["over the live one"](t, e, ""))(t)
		run = wait(t, e, run.ID)
		if took := run.Ended.Sub(run.Created); took > 32*time.Minute || run.State != backup.StateFailed ||
			!strings.Contains(run.Error, "hung while looking whether shop can be replaced") {
			t.Errorf("%s after %v: %s", run.State, took, run.Error)
		}
	})
}

// TestStallOfImport: that it waits for the backup of another job does not end an import.
func TestStallOfImport(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := backuptest.New(t, stalls(30*time.Minute), func(c *backup.Config) {
			c.Jobs = append(c.Jobs, backup.Job{Name: "other", Stall: -1, Sources: []backup.NamedSource{
				{Name: "db", Kind: "fake", Source: backuptest.NewSource("")}}})
		})
		long := e.Config.Jobs[1].Sources[0].Source.(*backuptest.Source)
		entered, release := long.Hold("all of it")
		if _, err := e.Backup(t.Context(), "alice", "other"); err != nil {
			t.Fatal(err)
		}
		<-entered
		file := filepath.Join(t.TempDir(), "shop_2000-01-01_00-00-00.sql")
		if err := os.WriteFile(file, []byte("an older one"), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(file, time.Now(), time.Now()); err != nil {
			t.Fatal(err)
		}
		started, err := e.Import(t.Context(), "alice", backup.ImportRequest{Job: "shop", Part: "db.sql", Files: []string{file}})
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Hour)
		release()
		if run := wait(t, e, started.ID); run.State != backup.StateOK {
			t.Errorf("%s: %s", run.State, run.Error)
		}
	})
}
