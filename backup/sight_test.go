package backup_test

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-backup/caddy-backup/backup"
	"github.com/caddy-backup/caddy-backup/backup/backuptest"
)

// requireSight compares what a list of repositories and jobs tells, without asking the storage, with what lies there.
func requireSight(t *testing.T, e *backuptest.Env, after string, jobs int) {
	t.Helper()
	there := int64(0)
	for f, err := range e.Storage.List(t.Context(), "data") {
		if err != nil {
			t.Fatal(err)
		}
		there += f.Size
	}
	all := len(ids(t, e))
	r, j := must(e.Repositories(t.Context()))(t)[0], must(e.Job(t.Context(), "shop"))(t)
	if r.Snapshots == nil || r.PackBytes == nil || j.Snapshots == nil {
		t.Fatalf("after %s nothing is known: %+v", after, r)
	}
	if *r.Snapshots != all || *r.PackBytes != there || *j.Snapshots != jobs {
		t.Errorf("after %s: %d snapshots, %d of the job, packs of %d bytes; there are %d, %d, %d", after, *r.Snapshots, *j.Snapshots, *r.PackBytes,
			all, jobs, there)
	}
}

// TestSight: whatever runs, lists know how much there is.
func TestSight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := backuptest.New(t, keeping(backup.Retention{Last: 3, Manual: true}), func(c *backup.Config) {
			other := c.Jobs[0]
			other.Name = "blog"
			c.Jobs = append(c.Jobs, other)
		})
		if r := must(e.Repositories(t.Context()))(t)[0]; r.Snapshots != nil || r.PackBytes != nil {
			t.Errorf("before any run it is told %+v", r)
		}
		e.Backed(t, "blog")
		requireSight(t, e, "a backup of the other job", 0)
		made := daily(t, e, 5)
		requireSight(t, e, "backups", 5)
		e.DB.Set(strings.Repeat("row\n", 10_000))
		e.DB.Fail(errors.New("cut off"))
		e.RunBackup(t, "shop")
		requireSight(t, e, "a failed backup", 5)
		forget(t, e, backup.ForgetRequest{DryRun: true})
		requireSight(t, e, "a forget that only tries", 5)
		requireState(t, forget(t, e, backup.ForgetRequest{}), backup.StateOK, "2 snapshots were removed")
		requireSight(t, e, "a forget", 3)
		requireState(t, deleted(t, e, backup.DeleteRequest{Snapshots: []string{made[3].ID}}), backup.StateOK, "")
		requireSight(t, e, "a deletion", 2)
		requireState(t, keep(t, e, made[4].ID, true), backup.StateOK, "")
		requireSight(t, e, "a pin", 2)
		requireState(t, e.Wait(t, must(e.Prune(t.Context(), "tester", backup.PruneRequest{MaxUnused: "0%"}))(t).ID), backup.StateOK, "freed")
		requireSight(t, e, "a prune", 2)
		requireState(t, e.Wait(t, must(e.Check(t.Context(), "tester", backup.CheckRequest{}))(t).ID), backup.StateOK, "")
		requireSight(t, e, "a check", 2)
	})
}

// TestBadInARow: what a person cancelled is not counted, and a good one begins anew.
func TestBadInARow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := backuptest.New(t)
		want := func(n int) {
			t.Helper()
			if j := must(e.Job(t.Context(), "shop"))(t); j.Bad != n {
				t.Errorf("%d bad backups in a row, want %d", j.Bad, n)
			}
		}
		want(0)
		e.Backed(t, "shop")
		want(0)
		e.DB.Fail(errors.New("gone"))
		e.RunBackup(t, "shop")
		e.RunBackup(t, "shop")
		want(2)
		entered, release := e.DB.Hold("data")
		run := must(e.Backup(t.Context(), "alice", "shop"))(t)
		<-entered
		if err := e.Cancel(t.Context(), "alice", run.ID); err != nil {
			t.Fatal(err)
		}
		release()
		e.Wait(t, run.ID)
		want(2)
		time.Sleep(time.Second)
		e.DB.Set("data")
		e.Backed(t, "shop")
		want(0)
	})
}
