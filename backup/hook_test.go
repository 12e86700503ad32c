package backup_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-backup/caddy-backup/backup"
	"github.com/caddy-backup/caddy-backup/backup/backuptest"
)

// hook is a program that notes when it is run and does as it is told.
type hook struct {
	name  string
	notes *notes
	do    func(ctx context.Context, m backup.Moment) error // nil: it ends well
}

func (h hook) Title() string { return h.name }

func (h hook) Run(ctx context.Context, m backup.Moment, _ *backup.Task) error {
	h.notes.add(strings.TrimSpace(h.name + " " + string(m.Outcome)))
	if ctx.Err() != nil {
		return fmt.Errorf("%s was given a context that is done: %w", h.name, ctx.Err())
	}
	if h.do != nil {
		return h.do(ctx, m)
	}
	return nil
}

// notes says what happened, in order.
type notes struct {
	mu   sync.Mutex
	list []string
}

func (n *notes) add(what string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.list = append(n.list, what)
}

func (n *notes) take() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	list := n.list
	n.list = nil
	return list
}

// hooked makes an Env whose job has two programs before and two after its dumps.
func hooked(t *testing.T, n *notes, before, after func(context.Context, backup.Moment) error, more ...func(*backup.Config)) *backuptest.Env {
	return backuptest.New(t, append(more, func(c *backup.Config) {
		c.Jobs[0].Before = []backup.Hook{hook{"pause", n, before}, hook{"sync", n, nil}}
		c.Jobs[0].After = []backup.Hook{hook{"resume", n, after}, hook{"report", n, nil}}
	})...)
}

// TestHooks: what is before the dumps keeps them from being made when it fails, and what is after them comes in any case.
func TestHooks(t *testing.T) {
	fails := func(text string) func(context.Context, backup.Moment) error {
		return func(context.Context, backup.Moment) error {
			return backup.WithOutput(fmt.Errorf("%s ended with status 1", text), text+": canary")
		}
	}
	synctest.Test(t, func(t *testing.T) {
		var n notes
		var before, after, dump error
		maybe := func(err *error, text string) func(context.Context, backup.Moment) error {
			return func(ctx context.Context, m backup.Moment) error {
				if m.Job != "shop" || m.Run == "" {
					t.Errorf("%s is told %+v", text, m)
				}
				if *err != nil {
					return fails(text)(ctx, m)
				}
				return nil
			}
		}
		e := hooked(t, &n, maybe(&before, "pause"), maybe(&after, "resume"))
		bad := errors.New("bad")
		for _, c := range []struct {
			name                string
			before, dump, after error
			state               backup.State
			says, output        string
			notes               []string
		}{
			{name: "all is well", state: backup.StateOK, notes: []string{"pause", "sync", "dump", "resume dumped", "report dumped"}},
			{"before fails", bad, nil, nil, backup.StateFailed, "before program pause failed: pause ended with status 1; nothing was dumped", "pause: canary",
				[]string{"pause", "resume failed", "report failed"}},
			{"dump fails", nil, bad, nil, backup.StateFailed, "db.sql (source db): bad", "", []string{"pause", "sync", "dump", "resume failed", "report failed"}},
			{"after fails", nil, nil, bad, backup.StateSuspect, "the after program resume failed: resume ended with status 1; all was dumped, but look whether",
				"resume: canary", []string{"pause", "sync", "dump", "resume dumped", "report dumped"}},
			{"both fail", nil, bad, bad, backup.StateFailed, "db.sql (source db): bad; and then the after program resume failed: resume ended with status 1",
				"resume: canary", []string{"pause", "sync", "dump", "resume failed", "report failed"}},
			{name: "all is well again", state: backup.StateOK, notes: []string{"pause", "sync", "dump", "resume dumped", "report dumped"}},
		} {
			before, after, dump = c.before, c.after, c.dump
			e.DB.Do(dumping(&n, &dump))
			run := must(e.Run(t.Context(), e.RunBackup(t, "shop").ID))(t)
			if run.State != c.state || !strings.HasPrefix(run.Error, c.says) || c.says == "" && run.Error != "" || run.Output != c.output {
				t.Errorf("%s: the run is %s: %q, output %q", c.name, run.State, run.Error, run.Output)
			}
			if got := n.take(); !slices.Equal(got, c.notes) {
				t.Errorf("%s: %v, want %v", c.name, got, c.notes)
			}
			if stored := run.Snapshot != ""; stored != (c.dump == nil && c.before == nil) {
				t.Errorf("%s: snapshot %q", c.name, run.Snapshot)
			}
			if c.state == backup.StateSuspect {
				s := must(e.Snapshot(t.Context(), "", run.Snapshot, ""))(t)
				if !slices.Contains(s.Tags, "suspect") || len(s.Manifest.Doubts) != 1 || strings.Contains(s.Manifest.Doubts[0], "canary") {
					t.Errorf("%s: %v %+v", c.name, s.Tags, s.Manifest)
				}
			}
		}
		requireSnapshots(t, e, 3)
		requireClean(t, e)
	})
}

func dumping(n *notes, err *error) backuptest.DumpFunc {
	return func(_ context.Context, w io.Writer, _ *backup.Task) error {
		n.add("dump")
		w.Write([]byte("data"))
		return *err
	}
}

// TestHooksAfterTheEnd: whatever ended the run, what comes after the dumps has a context that is not done, and is told why.
func TestHooksAfterTheEnd(t *testing.T) {
	for name, c := range map[string]struct {
		end     func(t *testing.T, e *backuptest.Env, run backup.Run)
		outcome string
		state   backup.State
	}{
		"cancelled": {func(t *testing.T, e *backuptest.Env, run backup.Run) {
			if err := e.Cancel(t.Context(), "bob", run.ID); err != nil {
				t.Error(err)
			}
		}, "cancelled", backup.StateCancelled},
		"timed out":     {func(*testing.T, *backuptest.Env, backup.Run) { time.Sleep(3 * time.Hour) }, "failed", backup.StateFailed},
		"the end of it": {func(t *testing.T, e *backuptest.Env, _ backup.Run) { backuptest.Close(t, e.Service) }, "interrupted", backup.StateInterrupted},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var n notes
				e := hooked(t, &n, nil, func(ctx context.Context, _ backup.Moment) error {
					time.Sleep(2 * time.Second)
					return ctx.Err()
				}, func(c *backup.Config) { c.Jobs[0].Timeout, c.Jobs[0].Stall = 2*time.Hour, -1 })
				entered, release := e.DB.Hold("data")
				defer release()
				run := must(e.Backup(t.Context(), "alice", "shop"))(t)
				<-entered
				c.end(t, e, run)
				for got, err := range e.Watch(context.Background(), run.ID) {
					if err != nil {
						break // the Service is closed
					}
					run = got
				}
				if want := []string{"pause", "sync", "resume " + c.outcome, "report " + c.outcome}; !slices.Equal(n.take(), want) {
					t.Errorf("want %v", want)
				}
				if c.state != backup.StateInterrupted && run.State != c.state {
					t.Errorf("%+v", run)
				}
			})
		})
	}
}

// TestHookIsSlow: a program before or after the dumps that takes long is not taken for hung, and the run says that it is at it.
func TestHookIsSlow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var n notes
		slow := func(context.Context, backup.Moment) error { time.Sleep(time.Hour); return nil }
		e := hooked(t, &n, slow, slow, stalls(10*time.Minute))
		run := must(e.Backup(t.Context(), "alice", "shop"))(t)
		time.Sleep(30 * time.Minute)
		if now := must(e.Run(t.Context(), run.ID))(t); now.Step != "running the before program pause" {
			t.Errorf("%+v", now)
		}
		time.Sleep(time.Hour)
		if now := must(e.Run(t.Context(), run.ID))(t); now.Step != "running the after program resume" {
			t.Errorf("%+v", now)
		}
		if run = wait(t, e, run.ID); run.State != backup.StateOK {
			t.Errorf("%+v", run)
		}
		// Also when the dump was hung: what comes after has its time, and says with its end what became of it.
		e.DB.Do(hang)
		if run = wait(t, e, must(e.Backup(t.Context(), "alice", "shop"))(t).ID); run.State != backup.StateFailed || !strings.HasPrefix(run.Error, "hung while dumping db.sql") {
			t.Errorf("%+v", run)
		}
		if took := run.Ended.Sub(run.Started); took < 130*time.Minute {
			t.Errorf("the run was given up after %v, while a program was at work", took)
		}
	})
}
