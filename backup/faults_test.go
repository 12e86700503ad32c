package backup_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/caddy-backup/caddy-backup/backup"
	"github.com/caddy-backup/caddy-backup/backup/backuptest"
	"github.com/caddy-backup/caddy-backup/internal/realtest"
	"github.com/caddy-backup/caddy-backup/storage"
	"github.com/caddy-backup/caddy-backup/storage/storagetest"
)

// TestEveryOperationFails has the k-th operation on the storage fail, for every k of a backup: once and for ever,
// before and after it is done. The run is ok only when its snapshot is really there and everything is whole; what was
// acknowledged before stays; and as soon as the storage works again the next backup is green, also in a new process.
func TestEveryOperationFails(t *testing.T) {
	for _, created := range []bool{true, false} {
		for _, how := range []storagetest.How{storagetest.Before, storagetest.After, storagetest.Midway} {
			for _, times := range []int{1, storagetest.Forever} {
				if testing.Short() && (how != storagetest.Before || times != 1) {
					continue // the race detector makes them slow
				}
				name := fmt.Sprintf("%v/%v/times %d", map[bool]string{true: "existing", false: "new"}[created], how, times)
				t.Run(name, func(t *testing.T) {
					n := enumerate(t, created, "", sameProcess, func(f *storagetest.Faulty, k int) {
						f.Inject(storagetest.Fault{At: k, Times: times, How: how})
					})
					t.Logf("%d operations", n)
				})
			}
		}
	}
}

// TestEveryCrash has the process die at the k-th operation, as far as the storage can tell.
func TestEveryCrash(t *testing.T) {
	for _, how := range []storagetest.How{storagetest.Before, storagetest.Midway, storagetest.After} {
		t.Run(how.String(), func(t *testing.T) {
			enumerate(t, true, t.TempDir(), afterCrash, func(f *storagetest.Faulty, k int) { f.Crash(k, how) })
		})
	}
}

// enumerate tries a fault at every operation of a backup, and returns how many there are. dataDir is only needed by
// lives that come after a crash: the journal's fsyncs are what costs most.
func enumerate(t *testing.T, created bool, dataDir string, lives func(*testing.T, *backuptest.Env) []*backuptest.Env, inject func(*storagetest.Faulty, int)) int {
	for k, step := realtest.Points(t); ; k += step {
		more := true
		synctest.Test(t, func(t *testing.T) { more = tryFault(t, created, dataDir, k, lives, inject) })
		if t.Failed() {
			t.Fatalf("at operation %d", k)
		}
		if !more {
			return k - 1
		}
	}
}

// tryFault is one case. It reports whether the fault hit anything.
func tryFault(t *testing.T, created bool, dataDir string, k int, lives func(*testing.T, *backuptest.Env) []*backuptest.Env,
	inject func(*storagetest.Faulty, int)) bool {
	below := new(storage.Memory)
	if created {
		backuptest.InitCheaply(t, below)
	}
	f := storagetest.NewFaulty(below)
	e := newPlace(t, f, func(c *backup.Config) {
		c.Logger = slog.New(slog.DiscardHandler)
		c.DataDir = dataDir
		c.Repositories[0].Password = []byte(backuptest.Password)
		c.Jobs[0].Sources = append(c.Jobs[0].Sources, backup.NamedSource{
			Name: "media", Kind: "fake", Source: backuptest.Folder{"a/1.jpg": "one", "a/b/2.jpg": "two"},
		})
	})
	var acknowledged []backup.Run
	if created {
		acknowledged = append(acknowledged, e.RunBackup(t, "shop"))
	}
	e.DB.Set("changed data")
	inject(f, k)
	run := e.RunBackup(t, "shop")
	hit := f.Fired() > 0
	f.Heal()
	switch {
	case run.State == backup.StateOK:
		acknowledged = append(acknowledged, run)
	case !hit:
		t.Errorf("without a fault the run is %s: %s", run.State, run.Error)
	case run.Error == "" || run.Snapshot != "":
		t.Errorf("%+v", run)
	}

	for _, e := range lives(t, e) {
		if run := e.RunBackup(t, "shop"); run.State != backup.StateOK {
			t.Fatalf("the next backup is %s: %s", run.State, run.Error)
		}
		requireClean(t, e)
		for _, a := range acknowledged {
			requireWhole(t, e, a)
		}
	}
	requireUnlocked(t, below)
	return hit
}

// sameProcess goes on with the Service that met the fault, and then with a new one.
func sameProcess(t *testing.T, e *backuptest.Env) []*backuptest.Env {
	return []*backuptest.Env{e, reopen(t, e)}
}

// afterCrash goes on with a new Service, which finds the journal of a process of an earlier boot.
func afterCrash(t *testing.T, e *backuptest.Env) []*backuptest.Env {
	before := e.Config.DataDir
	e.Config.DataDir = t.TempDir()
	if err := os.Mkdir(filepath.Join(e.Config.DataDir, "journal"), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, path := range must(filepath.Glob(filepath.Join(before, "journal", "*.json")))(t) {
		data := must(os.ReadFile(path))(t)
		_, events, _ := strings.Cut(string(data), "\n")
		dead := `{"boot":"an earlier one","pid":1,"start":1}` + "\n" + events
		if err := os.WriteFile(filepath.Join(e.Config.DataDir, "journal", filepath.Base(path)), []byte(dead), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	next := reopen(t, e)
	t.Cleanup(func() {
		if left := must(filepath.Glob(filepath.Join(e.Config.DataDir, "journal", "*.json")))(t); len(left) > 1 {
			t.Errorf("journals of the dead are left: %v", left)
		}
	})
	return []*backuptest.Env{next}
}

// requireWhole reads everything of an acknowledged snapshot.
func requireWhole(t *testing.T, e *backuptest.Env, run backup.Run) {
	t.Helper()
	s, err := e.Snapshot(t.Context(), "", run.Snapshot, "")
	if err != nil {
		t.Fatalf("acknowledged snapshot: %v", err)
	}
	if len(s.Parts) != 4 || len(s.Manifest.Parts) != 2 {
		t.Errorf("%+v", s)
	}
	if got := e.Read(t, s.ID, "/shop/media/a/b/2.jpg"); string(got) != "two" {
		t.Errorf("%q", got)
	}
	if got := e.Read(t, s.ID, "/shop/db.sql"); len(got) == 0 {
		t.Errorf("%q", got)
	}
}

// TestCancelAtEveryOperation cancels a backup, and stops the server, while it is in its k-th operation on the storage,
// for every k. There is a snapshot exactly when the run is ok.
func TestCancelAtEveryOperation(t *testing.T) {
	stops := map[string]func(*backuptest.Env, string) error{
		"cancel": func(e *backuptest.Env, id string) error { return e.Cancel(context.Background(), "bob", id) },
		"close": func(e *backuptest.Env, _ string) error {
			ctx, cancel := context.WithCancel(context.Background())
			cancel() // do not wait: we are one of those that would be waited for
			e.Service.Close(ctx)
			return nil
		},
	}
	for name, stop := range stops {
		t.Run(name, func(t *testing.T) {
			k, step := realtest.Points(t)
			for more := true; more && !t.Failed(); k += step {
				synctest.Test(t, func(t *testing.T) { more = tryStop(t, k, stop) })
			}
		})
	}
}

// tryStop reports whether the run has a k-th operation.
func tryStop(t *testing.T, k int, stop func(*backuptest.Env, string) error) bool {
	f := storagetest.NewFaulty(backuptest.Repository(t))
	e := newPlace(t, f, func(c *backup.Config) {
		c.Logger, c.DataDir = slog.New(slog.DiscardHandler), ""
		c.Repositories[0].Password = []byte(backuptest.Password)
	})
	ids := make(chan string, 1)
	var stopped atomic.Bool
	f.Hook(func(op storagetest.Op) error {
		if op.N == k {
			stopped.Store(true)
			return stop(e, <-ids)
		}
		return nil
	})
	run := must(e.Backup(t.Context(), "alice", "shop"))(t)
	ids <- run.ID
	run = e.Wait(t, run.ID)
	synctest.Wait()
	f.Heal()
	snapshots := 0
	if run.State == backup.StateOK {
		snapshots = 1
	} else if !stopped.Load() || run.State != backup.StateCancelled && run.State != backup.StateInterrupted {
		t.Errorf("at operation %d: %+v", k, run)
	}
	next := reopen(t, e)
	list := must(next.Snapshots(t.Context(), backup.SnapshotQuery{}))(t)
	if list.Total != snapshots {
		t.Errorf("at operation %d: %d snapshots, and the run is %s", k, list.Total, run.State)
	}
	next.Backed(t, "shop")
	requireClean(t, next)
	return stopped.Load()
}

// TestLies has the storage say that all is well when it is not: a lost write, half a write, a flipped bit. What was
// promised cannot be kept then, but the check must find it.
func TestLies(t *testing.T) {
	for _, how := range []storagetest.How{storagetest.Lie, storagetest.Short, storagetest.Corrupt} {
		for _, dir := range []string{"data/", "index/", "snapshots/"} {
			t.Run(how.String()+" "+dir, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					below := backuptest.Repository(t)
					f := storagetest.NewFaulty(below)
					e := newPlace(t, f, func(c *backup.Config) { c.Repositories[0].Password = []byte(backuptest.Password) })
					e.Backed(t, "shop")
					e.DB.Set("changed data")
					f.Inject(storagetest.Fault{How: how, Only: func(op storagetest.Op) bool {
						return op.Kind == storagetest.Put && strings.HasPrefix(op.Name, dir)
					}})
					run := e.RunBackup(t, "shop")
					f.Heal()
					if run.State != backup.StateOK {
						return // even better
					}
					if how == storagetest.Lie && dir == "snapshots/" {
						if _, err := e.Snapshot(t.Context(), "", run.Snapshot, ""); err == nil {
							t.Error("a snapshot that was never stored is found")
						}
						return
					}
					check := must(e.Check(t.Context(), "tester", backup.CheckRequest{ReadData: true}))(t)
					if check = e.Wait(t, check.ID); check.State != backup.StateFailed || len(check.Findings) == 0 {
						t.Errorf("%+v", check)
					}
					if h := e.Health(t.Context()); h.OK || !strings.Contains(strings.Join(h.Reasons, " "), "repository default: the last check failed") {
						t.Errorf("%+v", h)
					}
				})
			})
		}
	}
}

// TestBlame: when the repository fails in the middle of a dump, it is blamed, not the program that lost its reader.
func TestBlame(t *testing.T) {
	f := storagetest.NewFaulty(backuptest.Repository(t))
	e := newPlace(t, f, func(c *backup.Config) { c.Repositories[0].Password = []byte(backuptest.Password) })
	f.Inject(storagetest.Fault{Times: storagetest.Forever, Err: errors.New("no space left on device"), Only: func(op storagetest.Op) bool {
		return op.Kind == storagetest.Put && strings.HasPrefix(op.Name, "data/")
	}})
	e.DB.Do(brokenPipe)
	run := e.RunBackup(t, "shop")
	if run.State != backup.StateFailed || !strings.Contains(run.Error, "no space left on device") || !strings.Contains(run.Error, "the source says: exit status 141") {
		t.Errorf("%+v", run)
	}
	requireSnapshots(t, e, 0)
	f.Heal()
	e.DB.Set("data")
	e.Backed(t, "shop")
}
