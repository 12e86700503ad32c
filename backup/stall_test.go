package backup_test

import (
	"context"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/caddy-backup/caddy-backup/backup"
	"github.com/caddy-backup/caddy-backup/backup/backuptest"
	"github.com/caddy-backup/caddy-backup/storage"
)

// stalls has the job "shop" end after so long without a sign of life.
func stalls(after time.Duration) func(*backup.Config) {
	return func(c *backup.Config) { c.Jobs[0].Stall, c.Jobs[0].Timeout = after, 5*time.Hour }
}

// hang is a dump that waits for something that never comes.
func hang(ctx context.Context, w io.Writer, _ *backup.Task) error {
	io.WriteString(w, "half a du")
	<-ctx.Done()
	return ctx.Err()
}

func write(w io.Writer, every time.Duration, times int) error {
	for range times {
		time.Sleep(every)
		if _, err := io.WriteString(w, "row\n"); err != nil {
			return err
		}
	}
	return nil
}

// wait waits for the end of a run, however long it takes. The longer it lasts, the more seldom it looks: to look as often as Watch does
// for hours of a bubble's time keeps the machine busy.
func wait(t *testing.T, e *backuptest.Env, id string) backup.Run {
	t.Helper()
	for pause := time.Millisecond; ; pause = min(2*pause, 10*time.Second) {
		run, err := e.Run(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		if run.State.Done() {
			return run
		}
		time.Sleep(pause)
	}
}

// TestStall: a backup in which nothing moves ends as hung, one that moves or says that it works in silence does not.
func TestStall(t *testing.T) {
	const ten = 10 * time.Minute
	for _, c := range []struct {
		name  string
		stall time.Duration
		dump  backuptest.DumpFunc
		state backup.State
		after time.Duration
		says  string
	}{
		{"hangs", ten, hang, backup.StateFailed, ten, "hung while dumping db.sql: nothing has moved for 10m0s, since 2000-01-01 00:00:"},
		{"hangs, by default", 0, hang, backup.StateFailed, backup.DefaultStall, "nothing has moved for 1h0m0s"},
		{"hangs and does not care", ten, func(ctx context.Context, w io.Writer, _ *backup.Task) error {
			time.Sleep(5 * time.Hour)
			return nil
		}, backup.StateFailed, ten + 15*time.Second, "hung while dumping db.sql"},
		{"hangs later", ten, func(ctx context.Context, w io.Writer, t *backup.Task) error {
			if err := write(w, 9*time.Minute, 20); err != nil {
				return err
			}
			return hang(ctx, w, t)
		}, backup.StateFailed, 190 * time.Minute, "since 2000-01-01 03:00:"},
		{"is slow", ten, func(_ context.Context, w io.Writer, _ *backup.Task) error { return write(w, 9*time.Minute, 20) },
			backup.StateOK, 3 * time.Hour, ""},
		{"works in silence", ten, func(_ context.Context, w io.Writer, t *backup.Task) error {
			over := t.Quiet()
			time.Sleep(3 * time.Hour)
			over()
			return write(w, 9*time.Minute, 1)
		}, backup.StateOK, 3*time.Hour + 9*time.Minute, ""},
		{"hangs in silence", ten, func(ctx context.Context, w io.Writer, t *backup.Task) error {
			defer t.Quiet()()
			return hang(ctx, w, t)
		}, backup.StateFailed, 5 * time.Hour, "timed out after 5h0m0s while dumping db.sql"},
		{"is not watched", -1, func(_ context.Context, w io.Writer, _ *backup.Task) error { return write(w, 4*time.Hour, 1) },
			backup.StateOK, 4 * time.Hour, ""},
	} {
		inBubble(t, c.name, func(t *testing.T) {
			e := backuptest.New(t, stalls(c.stall))
			e.DB.Do(c.dump)
			start := time.Now()
			started, err := e.Backup(t.Context(), "alice", "shop")
			if err != nil {
				t.Fatal(err)
			}
			run := wait(t, e, started.ID)
			if took := run.Ended.Sub(start); run.State != c.state || took < c.after || took > c.after+time.Minute {
				t.Errorf("%s after %v: %s", run.State, took, run.Error)
			}
			if !strings.Contains(run.Error, c.says) || strings.Contains(run.Error, "context") {
				t.Errorf("it says %q", run.Error)
			}
			e.DB.Set("all of it")
			e.Backed(t, "shop")
			time.Sleep(5 * time.Hour) // what did not care ends
		})
	}
}

// deadDisk is a storage that stops answering.
type deadDisk struct {
	*storage.Memory
	dead  chan struct{} // closed: packs are not stored any more
	deaf  bool          // to ctx, as a file system is
	alive chan struct{} // closed: they are again
}

func (d *deadDisk) Put(ctx context.Context, name string, data []byte) error {
	if strings.HasPrefix(name, "data/") {
		select {
		case <-d.dead:
			done := ctx.Done()
			if d.deaf {
				done = nil
			}
			select {
			case <-d.alive:
			case <-done:
				return ctx.Err()
			}
		default:
		}
	}
	return d.Memory.Put(ctx, name, data)
}

// TestStallOfStorage: a storage that does not answer is no sign of life, although the lock is made anew all the time. Where not
// even the end can be waited for, the run is recorded, told, and the next one waits until the storage is back.
func TestStallOfStorage(t *testing.T) {
	for _, deaf := range []bool{false, true} {
		inBubble(t, fmt.Sprintf("deaf %v", deaf), func(t *testing.T) {
			disk := &deadDisk{Memory: backuptest.Repository(t), dead: make(chan struct{}), alive: make(chan struct{}), deaf: deaf}
			var box inbox
			e := backuptest.New(t, stalls(30*time.Minute), told(&box), func(c *backup.Config) { c.Repositories[0].Storage = disk })
			e.Backed(t, "shop")
			close(disk.dead)
			e.DB.Set("something new")
			started, err := e.Backup(t.Context(), "alice", "shop")
			if err != nil {
				t.Fatal(err)
			}
			run := wait(t, e, started.ID)
			if took := run.Ended.Sub(run.Created); run.State != backup.StateFailed || took > 33*time.Minute || !strings.Contains(run.Error, "hung while ") {
				t.Errorf("%s after %v: %s", run.State, took, run.Error)
			}
			time.Sleep(time.Minute)
			if box.events() != "failure" || !strings.Contains(box.last().Text, "nothing has moved for 30m0s") {
				t.Errorf("told of %s: %+v", box.events(), box.last())
			}
			next, err := e.Backup(t.Context(), "alice", "shop")
			if err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Minute)
			close(disk.alive)
			if run := wait(t, e, next.ID); run.State != backup.StateOK {
				t.Errorf("the next one is %s: %s", run.State, run.Error)
			}
			list, err := e.Snapshots(t.Context(), backup.SnapshotQuery{})
			if err != nil || len(list.Snapshots) != 2 {
				t.Errorf("%d snapshots, %v", len(list.Snapshots), err)
			}
		})
	}
}
