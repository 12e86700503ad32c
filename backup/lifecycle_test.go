package backup_test

import (
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-backup/caddy-backup/backup"
	"github.com/caddy-backup/caddy-backup/backup/backuptest"
	"github.com/caddy-backup/caddy-backup/repo"
	"github.com/caddy-backup/caddy-backup/storage"
)

func TestCancel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := backuptest.New(t)
		entered, release := e.DB.Hold("data")
		defer release()
		run := must(e.Backup(t.Context(), "alice", "shop"))(t)
		<-entered
		if now := must(e.Service.Run(t.Context(), run.ID))(t); now.State != backup.StateRunning || now.Step != "dumping db.sql" {
			t.Errorf("%+v", now)
		}
		if err := e.Cancel(t.Context(), "bob", run.ID); err != nil {
			t.Fatal(err)
		}
		run = e.Wait(t, run.ID)
		if run.State != backup.StateCancelled || run.Error != "cancelled by bob" {
			t.Fatalf("%+v", run)
		}
		if err := e.Cancel(t.Context(), "bob", run.ID); !errors.Is(err, backup.ErrConflict) {
			t.Error(err)
		}
		if err := e.Cancel(t.Context(), "bob", "nonsense"); !errors.Is(err, backup.ErrNotFound) {
			t.Error(err)
		}
		requireSnapshots(t, e, 0)
		if h := e.Health(t.Context()); h.OK || h.Reasons[0] != "job shop: no backup yet" {
			t.Errorf("what a person cancelled is no illness, but no backup either: %+v", h)
		}
		e.DB.Set("data")
		e.Backed(t, "shop")
		requireUnlocked(t, e.Storage)
		if h := e.Health(t.Context()); !h.OK {
			t.Errorf("%+v", h)
		}
	})
}

func TestTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := backuptest.New(t, func(c *backup.Config) { c.Jobs[0].Timeout, c.Jobs[0].Stall = 2*time.Hour, -1 })
		_, release := e.DB.Hold("data")
		defer release()
		begin := time.Now()
		run := must(e.Backup(t.Context(), "alice", "shop"))(t)
		time.Sleep(3 * time.Hour)
		run = e.Wait(t, run.ID)
		if run.State != backup.StateFailed || run.Error != "timed out after 2h0m0s while dumping db.sql" {
			t.Fatalf("%+v", run)
		}
		if took := run.Ended.Sub(begin); took < 2*time.Hour || took > 2*time.Hour+time.Minute {
			t.Errorf("it took %v", took)
		}
		requireSnapshots(t, e, 0)
		e.DB.Set("data")
		e.Backed(t, "shop")
	})
}

// TestDeafSource has a dump that does not end when it is told to. Its run does, and the next one works.
func TestDeafSource(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := backuptest.New(t, func(c *backup.Config) { c.Jobs[0].Timeout = time.Hour })
		hold := make(chan struct{})
		e.DB.Do(func(_ context.Context, w io.Writer, task *backup.Task) error {
			io.WriteString(w, "half a du")
			<-hold
			if _, err := w.Write(make([]byte, 9<<20)); err == nil {
				t.Error("a dump that was left behind can still write")
			}
			task.Log.Info("too late")
			return nil
		})
		run := must(e.Backup(t.Context(), "alice", "shop"))(t)
		time.Sleep(2 * time.Hour)
		run = e.Wait(t, run.ID)
		if run.State != backup.StateFailed || !strings.Contains(run.Error, "timed out after 1h0m0s") {
			t.Fatalf("%+v", run)
		}
		requireUnlocked(t, e.Storage)
		dump := e.DB
		dump.Set("data")
		e.Backed(t, "shop")
		close(hold)
		synctest.Wait()
		requireSnapshots(t, e, 1)
		requireClean(t, e)
	})
}

func TestSameJobTwice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := backuptest.New(t)
		entered, release := e.DB.Hold("data")
		first := must(e.Backup(t.Context(), "alice", "shop"))(t)
		<-entered
		second, err := e.Backup(t.Context(), "bob", "shop")
		if !errors.Is(err, backup.ErrConflict) || second.ID != first.ID {
			t.Fatal(second, err)
		}
		release()
		if run := e.Wait(t, first.ID); run.State != backup.StateOK {
			t.Fatalf("%+v", run)
		}
		e.Backed(t, "shop")
		if _, err := e.Backup(t.Context(), "bob", "blog"); !errors.Is(err, backup.ErrNotFound) || !strings.Contains(err.Error(), "there are: shop") {
			t.Error(err)
		}
	})
}

// TestQueue has three jobs that write into one repository: one at a time, in the order in which they came.
func TestQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var order []string
		var inside atomic.Int32
		release := make(chan struct{})
		e := backuptest.New(t, func(c *backup.Config) {
			for _, name := range []string{"a", "b", "c"} {
				s := backuptest.NewSource("")
				s.Do(func(ctx context.Context, w io.Writer, _ *backup.Task) error {
					if inside.Add(1) != 1 {
						t.Error("two writers at once")
					}
					defer inside.Add(-1)
					mu.Lock()
					order = append(order, name)
					mu.Unlock()
					<-release
					_, err := io.WriteString(w, name)
					return err
				})
				c.Jobs = append(c.Jobs, backup.Job{Name: name, Sources: []backup.NamedSource{{Name: "x", Kind: "fake", Source: s}}})
			}
		})
		var runs []backup.Run
		for _, name := range []string{"a", "b", "c"} {
			runs = append(runs, must(e.Backup(t.Context(), "alice", name))(t))
			synctest.Wait()
		}
		time.Sleep(time.Second)
		waiting := must(e.Service.Run(t.Context(), runs[2].ID))(t)
		if waiting.State != backup.StateQueued || waiting.Step != "waiting for backup of job a (run "+runs[0].ID+")" {
			t.Errorf("%+v", waiting)
		}
		if err := e.Cancel(t.Context(), "bob", runs[1].ID); err != nil {
			t.Error(err)
		}
		if run := e.Wait(t, runs[1].ID); run.State != backup.StateCancelled || !run.Started.IsZero() {
			t.Errorf("%+v", run)
		}
		close(release)
		for _, i := range []int{0, 2} {
			if run := e.Wait(t, runs[i].ID); run.State != backup.StateOK {
				t.Errorf("%+v", run)
			}
		}
		if !slices.Equal(order, []string{"a", "c"}) {
			t.Error(order)
		}
		list := must(e.Runs(t.Context(), backup.RunFilter{}))(t)
		if len(list) != 3 || list[0].ID != runs[2].ID || list[2].ID != runs[0].ID || list[0].Log != nil {
			t.Errorf("%+v", list)
		}
		requireClean(t, e)
	})
}

// TestReload changes the configuration during a run: the run goes on with what it began with, and there is one writer.
func TestReload(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := backuptest.New(t)
		entered, release := e.DB.Hold("data of the old configuration")
		first := must(e.Backup(t.Context(), "alice", "shop"))(t)
		<-entered

		next := e.Config
		fresh := backuptest.NewSource("data of the new configuration")
		next.Jobs = []backup.Job{
			{Name: "shop", Sources: []backup.NamedSource{{Name: "db", Kind: "fake", Source: fresh}}},
			{Name: "blog", Sources: []backup.NamedSource{{Name: "db", Kind: "fake", Source: fresh}}},
		}
		detach := must(e.Attach(next))(t)
		e.Detach()
		e.Detach()
		if _, err := e.Backup(t.Context(), "alice", "shop"); !errors.Is(err, backup.ErrConflict) {
			t.Error(err)
		}
		second := must(e.Backup(t.Context(), "alice", "blog"))(t)
		time.Sleep(time.Minute)
		if run := must(e.Service.Run(t.Context(), second.ID))(t); run.State != backup.StateQueued {
			t.Errorf("%+v", run)
		}
		release()
		for _, id := range []string{first.ID, second.ID} {
			if run := e.Wait(t, id); run.State != backup.StateOK {
				t.Fatalf("%+v", run)
			}
		}
		run := must(e.Service.Run(t.Context(), first.ID))(t)
		if got := string(e.Read(t, run.Snapshot, "/shop/db.sql")); got != "data of the old configuration" {
			t.Error(got)
		}

		// Detached in any order: the last one still attached counts.
		again := must(e.Attach(e.Config))(t)
		detach()
		if jobs := must(e.Jobs(t.Context()))(t); len(jobs) != 1 {
			t.Errorf("%+v", jobs)
		}
		again()
		if _, err := e.Jobs(t.Context()); !errors.Is(err, backup.ErrClosed) {
			t.Error(err)
		}
	})
}

// TestManyReloads reloads a hundred times while two jobs back up: there is one writer at a time, and no run suffers.
func TestManyReloads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var inside atomic.Int32
		slow := func(ctx context.Context, w io.Writer, _ *backup.Task) error {
			if inside.Add(1) != 1 {
				t.Error("two writers at once")
			}
			defer inside.Add(-1)
			time.Sleep(3 * time.Second)
			_, err := io.WriteString(w, "data")
			return err
		}
		e := backuptest.New(t, func(c *backup.Config) {
			c.Logger = nil
			c.Jobs = append(c.Jobs, backup.Job{Name: "blog", Sources: c.Jobs[0].Sources})
		})
		e.DB.Do(slow)
		detach := e.Detach
		ids := map[string]bool{}
		for n := range 100 {
			next := must(e.Attach(e.Config))(t)
			if n%10 == 3 { // taken back again, as when another app does not start
				next()
				next = must(e.Attach(e.Config))(t)
			}
			detach()
			detach = next
			for _, job := range []string{"shop", "blog"} {
				run, err := e.Backup(t.Context(), "alice", job)
				if err != nil && !errors.Is(err, backup.ErrConflict) {
					t.Fatal(err)
				}
				ids[run.ID] = true
			}
			time.Sleep(time.Second)
		}
		for id := range ids {
			if run := e.Wait(t, id); run.State != backup.StateOK {
				t.Errorf("%+v", run)
			}
		}
		if len(ids) < 20 {
			t.Errorf("only %d runs", len(ids))
		}
		requireSnapshots(t, e, len(ids))
		requireClean(t, e)
	})
}

func TestClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := backuptest.New(t)
		entered, release := e.DB.Hold("data")
		defer release()
		run := must(e.Backup(t.Context(), "alice", "shop"))(t)
		<-entered
		begin := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		if err := e.Close(ctx); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(begin); took > time.Second {
			t.Errorf("closing took %v", took)
		}
		if _, err := e.Backup(t.Context(), "alice", "shop"); !errors.Is(err, backup.ErrClosed) {
			t.Error(err)
		}
		if _, err := e.Attach(e.Config); !errors.Is(err, backup.ErrClosed) {
			t.Error(err)
		}
		requireUnlocked(t, e.Storage)

		next := reopen(t, e)
		old := must(next.Service.Run(t.Context(), run.ID))(t)
		if old.State != backup.StateInterrupted || old.Error != "the server stopped" || len(old.Log) == 0 {
			t.Errorf("%+v", old)
		}
		if h := next.Health(t.Context()); h.OK || !strings.Contains(h.Reasons[0], "was interrupted") {
			t.Errorf("%+v", h)
		}
		next.DB.Set("data")
		next.Backed(t, "shop")
	})
}

// TestCloseDeaf closes while a source does not listen.
func TestCloseDeaf(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := backuptest.New(t)
		hold := make(chan struct{})
		e.DB.Do(func(context.Context, io.Writer, *backup.Task) error { <-hold; return nil })
		run := must(e.Backup(t.Context(), "alice", "shop"))(t)
		time.Sleep(time.Minute)
		begin := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		if err := e.Close(ctx); err == nil {
			t.Error("a run that does not end is to be told")
		}
		if took := time.Since(begin); took > 3500*time.Millisecond {
			t.Errorf("closing took %v", took)
		}
		next := reopen(t, e)
		if old := must(next.Service.Run(t.Context(), run.ID))(t); old.State != backup.StateInterrupted {
			t.Errorf("%+v", old)
		}
		close(hold)
	})
}

// TestLocked has a lock of somebody else's in the way: it is waited for, and then told.
func TestLocked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := backuptest.New(t)
		other := must(repo.Open(t.Context(), e.Storage, []byte(backuptest.Password), repo.Options{Hostname: "nas"}))(t)
		lock := must(other.Lock(t.Context(), true))(t)
		run := must(e.Backup(t.Context(), "alice", "shop"))(t)
		time.Sleep(10 * time.Second)
		if now := must(e.Service.Run(t.Context(), run.ID))(t); now.State != backup.StateRunning || !strings.Contains(now.Step, "waiting: repository at memory is locked by process") {
			t.Errorf("%+v", now)
		}
		if err := lock.Unlock(); err != nil {
			t.Fatal(err)
		}
		if run = e.Wait(t, run.ID); run.State != backup.StateOK {
			t.Fatalf("%+v", run)
		}

		lock = must(other.Lock(t.Context(), true))(t)
		defer lock.Unlock()
		run = must(e.Backup(t.Context(), "alice", "shop"))(t)
		time.Sleep(2 * time.Minute)
		run = e.Wait(t, run.ID)
		if run.State != backup.StateFailed || !strings.Contains(run.Error, "on nas (an exclusive lock") {
			t.Fatalf("%+v", run)
		}
		requireSnapshots(t, e, 1)
	})
}

// TestLockLost takes the lock away in the middle of a dump.
func TestLockLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := backuptest.New(t)
		entered, release := e.DB.Hold("data")
		defer release()
		run := must(e.Backup(t.Context(), "alice", "shop"))(t)
		<-entered
		for f, err := range e.Storage.List(t.Context(), "locks") {
			if err != nil {
				t.Fatal(err)
			}
			if err := e.Storage.Delete(t.Context(), f.Name); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(time.Hour)
		run = e.Wait(t, run.ID)
		if run.State != backup.StateFailed || !strings.Contains(run.Error, repo.ErrLockLost.Error()) {
			t.Fatalf("%+v", run)
		}
		requireSnapshots(t, e, 0)
		e.DB.Set("data")
		e.Backed(t, "shop")
	})
}

func TestWatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := backuptest.New(t)
		entered, release := e.DB.Hold("data")
		run := must(e.Backup(t.Context(), "alice", "shop"))(t)
		<-entered
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		n := 0
		var last backup.Run
		for r, err := range e.Watch(ctx, run.ID) {
			if err != nil {
				t.Fatal(err)
			}
			if n++; n == 1 {
				release()
			}
			last = r
		}
		if last.State != backup.StateOK || n > 10 {
			t.Errorf("%d times, %+v", n, last)
		}
		for _, err := range e.Watch(ctx, "nonsense") {
			if !errors.Is(err, backup.ErrNotFound) {
				t.Error(err)
			}
		}
		entered, release = e.DB.Hold("data")
		defer release()
		run = must(e.Backup(t.Context(), "alice", "shop"))(t)
		<-entered
		ctx, cancel = context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		var end error
		for _, end = range e.Watch(ctx, run.ID) {
		}
		if !errors.Is(end, context.DeadlineExceeded) {
			t.Error(end)
		}
	})
}

// reopen starts the next life of a Service: the same storage, store and data folder.
func reopen(t *testing.T, e *backuptest.Env) *backuptest.Env {
	t.Helper()
	next := *e
	next.Service = backup.New().Cheap()
	detach, err := next.Attach(e.Config)
	if err != nil {
		t.Fatal(err)
	}
	next.Detach = detach
	t.Cleanup(func() { backuptest.Close(t, next.Service) })
	return &next
}

// must makes an error of a call end the test.
func must[T any](v T, err error) func(testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func requireUnlocked(t *testing.T, st *storage.Memory) {
	t.Helper()
	for f, err := range st.List(context.Background(), "locks") {
		if !strings.Contains(f.Name, "-tmp-") { // what a killed Put left is no lock
			t.Errorf("lock left: %v %v", f, err)
		}
	}
}
