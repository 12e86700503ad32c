package backup_test

import (
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-backup/caddy-backup/backup"
	"github.com/caddy-backup/caddy-backup/backup/backuptest"
	"github.com/caddy-backup/caddy-backup/internal/realtest"
	"github.com/caddy-backup/caddy-backup/repo"
	"github.com/caddy-backup/caddy-backup/storage/storagetest"
)

// keeping gives the job of a test a retention.
func keeping(p backup.Retention) func(*backup.Config) {
	return func(c *backup.Config) { c.Jobs[0].Retention = &p }
}

// daily makes backups, one a day, and returns them, oldest first. Only for a bubble of synctest.
func daily(t *testing.T, e *backuptest.Env, n int) (all []backup.Snapshot) {
	t.Helper()
	for range n {
		e.DB.Set("day " + time.Now().String())
		all = append(all, e.Backed(t, "shop"))
		time.Sleep(24 * time.Hour)
	}
	return all
}

func forget(t *testing.T, e *backuptest.Env, q backup.ForgetRequest) backup.Run {
	t.Helper()
	q.Job = "shop"
	return e.Wait(t, must(e.Forget(t.Context(), "tester", q))(t).ID)
}

func deleted(t *testing.T, e *backuptest.Env, q backup.DeleteRequest) backup.Run {
	t.Helper()
	return e.Wait(t, must(e.Delete(t.Context(), "tester", q))(t).ID)
}

func keep(t *testing.T, e *backuptest.Env, id string, keep bool) backup.Run {
	t.Helper()
	return e.Wait(t, must(e.Keep(t.Context(), "tester", backup.KeepRequest{Snapshot: id, Keep: keep}))(t).ID)
}

// ids are those of a list of snapshots, newest first.
func ids(t *testing.T, e *backuptest.Env) (ids []string) {
	t.Helper()
	for _, s := range must(e.Snapshots(t.Context(), backup.SnapshotQuery{}))(t).Snapshots {
		ids = append(ids, s.ID)
	}
	return ids
}

func requireState(t *testing.T, run backup.Run, want backup.State, text string) {
	t.Helper()
	if run.State != want || !strings.Contains(run.Error+run.Summary, text) {
		t.Fatalf("the %s is %s: %s %s\n%s\nwant %s: %s", run.Kind, run.State, run.Error, run.Summary, logOf(run), want, text)
	}
}

// requireRefused expects that nothing was deleted, and why.
func requireRefused(t *testing.T, e *backuptest.Env, run backup.Run, text string) {
	t.Helper()
	requireState(t, run, backup.StateFailed, "refused, nothing was deleted: ")
	requireState(t, run, backup.StateFailed, text)
	if run.Code != "refused" || len(run.Removed) != 0 {
		t.Fatalf("%+v", run)
	}
}

func TestForget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := backuptest.New(t, keeping(backup.Retention{Last: 4, Daily: 2}))
		all := daily(t, e, 6)
		report := must(e.Retention(t.Context(), "shop"))(t)
		if report.Keep != 4 || report.Remove != 2 || report.Refused != "" || len(report.Snapshots) != 6 || report.Host != "shop-server" {
			t.Fatalf("%+v", report)
		}
		if s := report.Snapshots[0]; s.ID != all[5].ID || !s.Kept || !slices.Equal(s.Reasons, []string{"last snapshot", "daily snapshot"}) {
			t.Errorf("%+v", s)
		}
		if s := report.Snapshots[5]; s.ID != all[0].ID || s.Kept || !slices.Equal(s.Reasons, []string{"no rule keeps it"}) {
			t.Errorf("%+v", s)
		}
		dry := forget(t, e, backup.ForgetRequest{DryRun: true})
		requireState(t, dry, backup.StateOK, "2 snapshots would be removed, 4 kept")
		if len(dry.Removed) != 2 || len(ids(t, e)) != 6 {
			t.Fatalf("%+v", dry)
		}
		run := forget(t, e, backup.ForgetRequest{})
		requireState(t, run, backup.StateOK, "2 snapshots were removed, 4 kept; a prune frees the space")
		if len(run.Removed) != 2 || run.Removed[0].ID != all[1].ID || run.Removed[1].ID != all[0].ID || run.Removed[0].Job != "shop" ||
			run.Removed[0].Reasons[0] != "no rule keeps it" || run.Seen.Snapshots != 4 {
			t.Errorf("%+v", run)
		}
		requireSnapshots(t, e, 4)
		requireState(t, forget(t, e, backup.ForgetRequest{}), backup.StateOK, "nothing to remove, 4 snapshots were kept")
		requireClean(t, e)
		e.Backed(t, "shop")
		if h := e.Health(t.Context()); !h.OK {
			t.Errorf("what we removed ourselves is no alarm: %v", h)
		}
	})
}

// TestForgetLeavesAlone touches neither what others made, nor what another host made for a job of the same name.
func TestForgetLeavesAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := backuptest.New(t, keeping(backup.Retention{Last: 1}))
		daily(t, e, 2)
		other := e.Config
		other.Host = "elsewhere"
		detach := must(e.Attach(other))(t)
		daily(t, e, 2)
		detach()
		run := forget(t, e, backup.ForgetRequest{})
		requireState(t, run, backup.StateOK, "1 snapshot was removed, 1 kept")
		requireSnapshots(t, e, 3)
	})
}

func TestForgetWithoutRetention(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := backuptest.New(t)
		e.Backed(t, "shop")
		if _, err := e.Forget(t.Context(), "tester", backup.ForgetRequest{Job: "shop"}); err == nil || !strings.Contains(err.Error(), "job shop has no retention") {
			t.Error(err)
		}
		if report := must(e.Retention(t.Context(), "shop"))(t); report.Keep != 1 || report.Remove != 0 || report.Retention != nil {
			t.Errorf("%+v", report)
		}
	})
}

func TestForgetTooMuch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := backuptest.New(t, keeping(backup.Retention{Last: 3}))
		daily(t, e, 7)
		if report := must(e.Retention(t.Context(), "shop"))(t); !strings.Contains(report.Refused, "add --confirm") {
			t.Errorf("%+v", report)
		}
		requireRefused(t, e, forget(t, e, backup.ForgetRequest{}), "would remove 4 of 7 snapshots of job shop, more than half")
		requireSnapshots(t, e, 7)
		requireState(t, forget(t, e, backup.ForgetRequest{Confirm: true}), backup.StateOK, "4 snapshots were removed")
	})
}

// TestKeep pins a snapshot: it gets another ID and keeps its stable one, survives every retention, and is no limit's.
func TestKeep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := backuptest.New(t, keeping(backup.Retention{LimitCount: 2}))
		all := daily(t, e, 4)
		run := keep(t, e, all[0].ID[:10], true)
		requireState(t, run, backup.StateOK, "is pinned")
		pinned := must(e.Snapshot(t.Context(), "", all[0].ID, ""))(t)
		if pinned.ID != run.Snapshot || pinned.ID == all[0].ID || pinned.StableID != all[0].ID || !slices.Contains(pinned.Tags, "keep") || run.Job != "shop" {
			t.Fatalf("%+v", pinned)
		}
		requireState(t, keep(t, e, all[0].ID, true), backup.StateOK, "is pinned already")
		requireState(t, forget(t, e, backup.ForgetRequest{}), backup.StateOK, "1 snapshot was removed, 3 kept")
		if got := ids(t, e); !slices.Equal(got, []string{all[3].ID, all[2].ID, pinned.ID}) {
			t.Fatal(got)
		}
		requireState(t, deleted(t, e, backup.DeleteRequest{Snapshots: []string{all[0].ID}}), backup.StateFailed, "is pinned; first: caddy backup unkeep")
		requireState(t, keep(t, e, all[0].ID, false), backup.StateOK, "is no longer pinned")
		requireState(t, keep(t, e, all[0].ID, false), backup.StateOK, "was not pinned")
		if _, err := e.Keep(t.Context(), "tester", backup.KeepRequest{Snapshot: "ffffffff"}); !errors.Is(err, repo.ErrNotFound) {
			t.Error(err)
		}
		requireState(t, forget(t, e, backup.ForgetRequest{}), backup.StateOK, "1 snapshot was removed, 2 kept")
		e.Backed(t, "shop")
		if h := e.Health(t.Context()); !h.OK {
			t.Errorf("%v", h)
		}
	})
}

func TestDelete(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := backuptest.New(t)
		all := daily(t, e, 3)
		for _, q := range []backup.DeleteRequest{{}, {Snapshots: []string{"latest"}}} {
			if _, err := e.Delete(t.Context(), "tester", q); err == nil {
				t.Errorf("%+v is taken", q)
			}
		}
		requireState(t, deleted(t, e, backup.DeleteRequest{Snapshots: []string{all[0].ID}, DryRun: true}), backup.StateOK, "1 snapshot would be removed, 2 kept")
		requireSnapshots(t, e, 3)
		run := deleted(t, e, backup.DeleteRequest{Snapshots: []string{all[1].ID[:8], "00000000", all[1].ID}})
		requireState(t, run, backup.StateFailed, "2 of 3 snapshots were deleted, the first of the others: not deleted: snapshot \"00000000\": not found")
		if len(run.Removed) != 1 || run.Removed[0].ID != all[1].ID || run.Removed[0].Reasons[0] != "named" || len(run.Findings) != 1 || run.Findings[0].File != "00000000" {
			t.Errorf("%+v", run)
		}
		run = deleted(t, e, backup.DeleteRequest{Snapshots: []string{all[0].ID, all[2].ID}})
		requireState(t, run, backup.StateFailed, "is the last good one of job shop on shop-server")
		if got := ids(t, e); !slices.Equal(got, []string{all[2].ID}) {
			t.Fatal(got)
		}
		time.Sleep(time.Hour)
		requireState(t, deleted(t, e, backup.DeleteRequest{Snapshots: []string{all[2].ID}, Confirm: true}), backup.StateOK, "1 snapshot was removed")
		if job := must(e.Job(t.Context(), "shop"))(t); job.Standing != backup.StandingDamaged || e.Health(t.Context()).OK {
			t.Errorf("green without a snapshot: %+v", job)
		}
		time.Sleep(time.Hour)
		e.Backed(t, "shop")
		if h := e.Health(t.Context()); !h.OK {
			t.Errorf("what we deleted ourselves is no alarm: %v", h)
		}
	})
}

// TestDeletingRefuses has forget, delete and prune meet everything in which what is missing may be taken for not needed.
func TestDeletingRefuses(t *testing.T) {
	day := 24 * time.Hour
	for name, c := range map[string]struct {
		damage func(t *testing.T, e *backuptest.Env, all []backup.Snapshot)
		want   string
		accept bool // --accept-fewer helps
	}{
		"a snapshot is damaged": {func(t *testing.T, e *backuptest.Env, all []backup.Snapshot) {
			storagetest.Flip(t, e.Storage, "snapshots/"+all[1].ID, 300)
			*e = *reopen(t, e) // the one that made it knows what it said
		}, "give it up: caddy backup repair snapshots --forget --repository default", false},
		"the folder was emptied": {func(t *testing.T, e *backuptest.Env, all []backup.Snapshot) {
			for _, s := range all {
				storagetest.Remove(t, e.Storage, "snapshots/"+s.ID)
			}
		}, "the repository was emptied, and had 4 snapshots", true},
		"others removed some": {func(t *testing.T, e *backuptest.Env, all []backup.Snapshot) {
			storagetest.Remove(t, e.Storage, "snapshots/"+all[1].ID)
		}, "1 snapshot was removed by another program, the newest of 2000-01-02 00:00 UTC; 3 are left; put that right, or accept what is there now (caddy backup check --accept-fewer --repository default)", true},
		"an older copy": {func(t *testing.T, e *backuptest.Env, all []backup.Snapshot) {
			storagetest.Remove(t, e.Storage, "snapshots/"+all[3].ID)
			storagetest.Remove(t, e.Storage, "snapshots/"+all[2].ID)
		}, "looks like an older copy of itself, which ends with the snapshot of 2000-01-02 00:00 UTC, and had 2 snapshots after that, the last of 2000-01-04", true},
		"a key was added": {func(t *testing.T, e *backuptest.Env, all []backup.Snapshot) {
			storagetest.Write(t, e.Storage, "keys/"+repo.Hash([]byte("x")).String(), []byte("x"))
		}, "the key 2d711642 was added by another program", true},
		"the memory cannot be read": {func(t *testing.T, e *backuptest.Env, all []backup.Snapshot) {
			if err := e.Store.Store(t.Context(), backup.MemoryKey("memory"), []byte("{")); err != nil {
				t.Fatal(err)
			}
		}, "cannot read what is remembered of it", false},
		"the clock is slow": {func(t *testing.T, e *backuptest.Env, all []backup.Snapshot) {
			e.SetClock(-5 * day)
		}, "correct the clock", false},
		"the clock was fast": {func(t *testing.T, e *backuptest.Env, all []backup.Snapshot) {
			e.SetClock(2 * time.Hour)
			runCheck(t, e, false)
			e.SetClock(0)
		}, "the last run here was at 2000-01-05 02:00 UTC", true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				e := backuptest.New(t, keeping(backup.Retention{Last: 2}))
				all := daily(t, e, 4)
				c.damage(t, e, all)
				before := storagetest.Names(t, e.Storage, "")
				requireRefused(t, e, forget(t, e, backup.ForgetRequest{}), c.want)
				requireRefused(t, e, forget(t, e, backup.ForgetRequest{DryRun: true}), c.want)
				requireRefused(t, e, deleted(t, e, backup.DeleteRequest{Snapshots: []string{all[0].ID}}), c.want)
				requireRefused(t, e, pruned(t, e, backup.PruneRequest{}), c.want)
				if report := must(e.Retention(t.Context(), "shop"))(t); !strings.Contains(report.Refused, c.want) {
					t.Errorf("the preview says %q", report.Refused)
				}
				if after := storagetest.Names(t, e.Storage, ""); !slices.Equal(before, after) {
					t.Fatalf("there was\n%v\nthere is\n%v", before, after)
				}
				switch run := forget(t, e, backup.ForgetRequest{AcceptFewer: true, Confirm: true}); {
				case c.accept:
					requireState(t, run, backup.StateOK, "")
					requireState(t, forget(t, e, backup.ForgetRequest{Confirm: true, AcceptFewer: len(ids(t, e)) == 0}), backup.StateOK, "")
				default:
					requireRefused(t, e, run, c.want)
				}
			})
		})
	}
}

// TestListingFails has the listing of the snapshots fail, and that of the keys.
func TestListingFails(t *testing.T) {
	for _, dir := range []string{"snapshots", "keys"} {
		synctest.Test(t, func(t *testing.T) {
			f := storagetest.NewFaulty(backuptest.Repository(t))
			e := newPlace(t, f, func(c *backup.Config) { c.Repositories[0].Password = []byte(backuptest.Password) }, keeping(backup.Retention{Last: 1}))
			daily(t, e, 3)
			f.Inject(storagetest.Fault{Times: storagetest.Forever, Only: func(op storagetest.Op) bool { return op.Kind == storagetest.List && op.Name == dir }})
			before := storagetest.Names(t, f, "data")
			for _, run := range []backup.Run{forget(t, e, backup.ForgetRequest{}), pruned(t, e, backup.PruneRequest{}), deleted(t, e, backup.DeleteRequest{Snapshots: []string{"ab"}})} {
				requireRefused(t, e, run, dir)
			}
			f.Heal()
			if after := storagetest.Names(t, f, "data"); !slices.Equal(before, after) || len(ids(t, e)) != 3 {
				t.Error(before, after)
			}
		})
	}
}

// TestFutureSnapshot was made while the clock was wrong: nothing is deleted before it is gone itself.
func TestFutureSnapshot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := backuptest.New(t, keeping(backup.Retention{Last: 1}))
		daily(t, e, 3)
		e.SetClock(10 * 365 * 24 * time.Hour)
		future := e.Backed(t, "shop")
		e.SetClock(0)
		e.Backed(t, "shop")
		requireRefused(t, e, forget(t, e, backup.ForgetRequest{}), "delete that snapshot first (caddy backup delete "+future.ID[:8]+" --repository default)")
		requireRefused(t, e, deleted(t, e, backup.DeleteRequest{Snapshots: []string{future.ID}}), "the last run here was at 2010-")
		run := deleted(t, e, backup.DeleteRequest{Snapshots: []string{future.ID}, AcceptFewer: true})
		requireState(t, run, backup.StateOK, "1 snapshot was removed, 4 kept")
		requireState(t, forget(t, e, backup.ForgetRequest{}), backup.StateOK, "3 snapshots were removed, 1 kept")
	})
}

// TestWatchOthers sees what others removed in a backup and a check, which both go on, until it is back or accepted.
func TestWatchOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := backuptest.New(t)
		all := daily(t, e, 3)
		name := "snapshots/" + all[1].ID
		file := storagetest.Read(t, e.Storage, name)
		alarmed := func(want bool) {
			t.Helper()
			status, h := must(e.Repositories(t.Context()))(t)[0], e.Health(t.Context())
			if want != (len(status.Alarms) == 1 && !h.OK && len(h.Reasons) == 1 && strings.HasPrefix(h.Reasons[0], "repository default: 1 snapshot was removed by another program")) ||
				!want && (len(status.Alarms) > 0 || !h.OK) {
				t.Fatalf("alarms %q, health %+v, want alarmed: %v", status.Alarms, h, want)
			}
		}
		storagetest.Remove(t, e.Storage, name)
		alarmed(false)
		run := e.RunBackup(t, "shop")
		if requireState(t, run, backup.StateOK, "was made"); !strings.Contains(logOf(run), "ERROR 1 snapshot was removed by another program") || run.Seen.Snapshots != 3 {
			t.Error(logOf(run))
		}
		alarmed(true)
		alarmedAfterRestart := reopen(t, e)
		if h := alarmedAfterRestart.Health(t.Context()); h.OK {
			t.Error("a restart silences the alarm")
		}
		e.Backed(t, "shop")
		alarmed(true)
		storagetest.Write(t, e.Storage, name, file) // it is back
		runCheck(t, e, false)
		alarmed(false)
		storagetest.Remove(t, e.Storage, name)
		runCheck(t, e, false)
		alarmed(true)
		accepted := e.Wait(t, must(e.Check(t.Context(), "tester", backup.CheckRequest{AcceptFewer: true}))(t).ID)
		if !strings.Contains(logOf(accepted), "WARN alarm accepted by=tester") {
			t.Error(logOf(accepted))
		}
		alarmed(false)
		e.Backed(t, "shop")
		alarmed(false)
	})
}

// TestForgetEveryOperationFails has the k-th operation on the storage fail while a forget and then a prune work, and the
// process die there. Nothing that stays is lost, what went was named as going, and it is never taken for somebody else's doing.
func TestForgetEveryOperationFails(t *testing.T) {
	for _, how := range []storagetest.How{storagetest.Before, storagetest.After, storagetest.Midway} {
		for _, crash := range []bool{false, true} {
			if (how == storagetest.After) != crash && !realtest.Soak() {
				continue
			}
			t.Run(fmt.Sprintf("%v, crash %v", how, crash), func(t *testing.T) {
				k, step := realtest.Points(t)
				for more := true; more; k += step {
					synctest.Test(t, func(t *testing.T) { more = forgetFails(t, k, how, crash) })
					if t.Failed() {
						t.Fatalf("at operation %d", k)
					}
				}
			})
		}
	}
}

// forgetFails is one case. It reports whether the fault hit anything.
func forgetFails(t *testing.T, k int, how storagetest.How, crash bool) bool {
	f := storagetest.NewFaulty(backuptest.Repository(t))
	dir := t.TempDir()
	e := newPlace(t, f, func(c *backup.Config) {
		c.Repositories[0].Password, c.DataDir = []byte(backuptest.Password), dir
		c.Logger = slog.New(slog.DiscardHandler)
	}, keeping(backup.Retention{Last: 2}))
	all := daily(t, e, 4)
	stay := map[string]bool{all[2].ID: true, all[3].ID: true}
	if crash {
		at := f.Count() + k
		f.Hook(func(op storagetest.Op) error {
			if op.N == at {
				e.Store.Fail(storagetest.ErrCrashed) // a dead process writes nothing there either
			}
			return nil
		})
		f.Crash(k, how)
	} else {
		f.Inject(storagetest.Fault{At: k, How: how})
	}
	run := forget(t, e, backup.ForgetRequest{})
	pruned(t, e, backup.PruneRequest{MaxUnused: "0%"})
	hit := f.Fired() > 0
	f.Heal()
	if crash {
		e.Store.Fail(nil)
		f.Hook(nil)
		e = afterCrash(t, e)[0]
	}
	there := ids(t, e)
	for id := range maps.Keys(stay) {
		if !slices.Contains(there, id) {
			t.Errorf("snapshot %s is gone", id[:8])
		}
	}
	for _, gone := range run.Removed {
		if slices.Contains(there, gone.ID) {
			t.Errorf("%s is told to be gone, and is there", gone.ID[:8])
		}
	}
	if run.State == backup.StateOK && len(there) != 2 {
		t.Errorf("%s, and %d are there", run.Summary, len(there))
	}
	e.Backed(t, "shop")
	if h := e.Health(t.Context()); !h.OK {
		t.Errorf("health is not well: %v", h.Reasons)
	}
	requireState(t, forget(t, e, backup.ForgetRequest{}), backup.StateOK, "")
	requireState(t, pruned(t, e, backup.PruneRequest{}), backup.StateOK, "")
	requireSnapshots(t, e, 2)
	requireClean(t, e)
	return hit
}

// TestForgetStoreFails cannot write down what is about to go: nothing goes.
func TestForgetStoreFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := backuptest.New(t, keeping(backup.Retention{Last: 1}))
		daily(t, e, 3)
		e.Store.Fail(fmt.Errorf("the disk of the store is full"))
		requireRefused(t, e, forget(t, e, backup.ForgetRequest{}), "the disk of the store is full")
		requireSnapshots(t, e, 3)
	})
}

func pruned(t *testing.T, e *backuptest.Env, q backup.PruneRequest) backup.Run {
	t.Helper()
	return e.Wait(t, must(e.Prune(t.Context(), "tester", q))(t).ID)
}
