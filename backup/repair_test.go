package backup_test

import (
	"errors"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/caddy-backup/caddy-backup/backup"
	"github.com/caddy-backup/caddy-backup/backup/backuptest"
	"github.com/caddy-backup/caddy-backup/internal/realtest"
	"github.com/caddy-backup/caddy-backup/repo"
	"github.com/caddy-backup/caddy-backup/storage"
	"github.com/caddy-backup/caddy-backup/storage/storagetest"
)

func runRepair(t *testing.T, e *backuptest.Env, q backup.RepairRequest) backup.Run {
	t.Helper()
	run := must(e.Repair(t.Context(), "tester", q))(t)
	if run = e.Wait(t, run.ID); run.State != backup.StateOK {
		t.Fatalf("%+v", run)
	}
	return run
}

// TestRepairAfterDamage goes the whole way from a flipped bit: check, repair of the index and of the snapshots, check. The
// repaired snapshot is no good one, and what it lost is told in the run, in the snapshot, and by Health.
func TestRepairAfterDamage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := backuptest.New(t)
		e.Backed(t, "shop")
		e.DB.Set(dump)
		spoilt := e.Backed(t, "shop")
		flipPack(t, e)
		if run := runCheck(t, e, true); run.State != backup.StateFailed {
			t.Fatalf("%+v", run)
		}
		before := storagetest.Names(t, e.Storage, "")
		for _, q := range []backup.RepairRequest{
			{What: backup.RepairIndex, DryRun: true}, {What: backup.RepairIndex, DryRun: true, ReadAll: true},
		} {
			if run := runRepair(t, e, q); !strings.HasPrefix(run.Summary, "the index would be repaired: 1 file written") || !run.DryRun {
				t.Errorf("%+v", run)
			}
		}
		if after := storagetest.Names(t, e.Storage, ""); !slices.Equal(before, after) {
			t.Error("a dry run has changed something")
		}
		run := runRepair(t, e, backup.RepairRequest{What: backup.RepairIndex})
		if !strings.Contains(run.Summary, "data may be lost, what is in need of them is repaired by: caddy backup repair snapshots --repository default") ||
			!slices.ContainsFunc(run.Findings, func(f backup.Finding) bool { return f.Error && strings.Contains(f.Text, "2 are whole and 1 lost") }) {
			t.Errorf("%+v", run)
		}
		run = runRepair(t, e, backup.RepairRequest{What: backup.RepairSnapshots})
		if !strings.HasPrefix(run.Summary, "1 of 2 snapshots lost something: 1 file or folder (64 KiB); what is left was written anew, tagged repaired; the old ones") ||
			!slices.Equal(run.Spoilt, []string{spoilt.ID}) ||
			!slices.Contains(run.Findings, backup.Finding{File: "snapshot " + spoilt.ID[:8], Error: true, Text: "/shop/db.sql: all 65536 bytes are lost"}) {
			t.Errorf("%+v", run)
		}
		if run := runCheck(t, e, true); run.State != backup.StateFailed {
			t.Errorf("the old one is still there: %+v", run)
		}
		run = runRepair(t, e, backup.RepairRequest{What: backup.RepairSnapshots, Forget: true})
		if !strings.HasSuffix(run.Summary, "; 1 old snapshot file was deleted") {
			t.Errorf("%+v", run)
		}
		if run := runCheck(t, e, false); run.State != backup.StateOK {
			t.Errorf("%+v", run)
		}
		if run := runSubset(t, e, "1"); run.State != backup.StateOK {
			t.Errorf("%+v", run)
		}
		mustBeRepaired(t, e, spoilt)
	})
}

func mustBeRepaired(t *testing.T, e *backuptest.Env, spoilt backup.Snapshot) {
	t.Helper()
	s := must(e.Snapshot(t.Context(), "", spoilt.ID, ""))(t)
	if s.ID == spoilt.ID || s.StableID != spoilt.ID || !slices.Contains(s.Tags, repo.TagRepaired) || s.Job != "shop" || !s.Time.Equal(spoilt.Time) {
		t.Errorf("%+v", s)
	}
	if list := string(e.Read(t, s.ID, "LOST.txt")); !strings.Contains(list, "\n/shop/db.sql: all 65536 bytes are lost\n") || !strings.Contains(list, spoilt.ID) {
		t.Errorf("%s", list)
	}
	if _, err := e.Open(t.Context(), "", s.ID, "db.sql"); !errors.Is(err, repo.ErrNotFound) {
		t.Errorf("the lost file: %v", err)
	}
	if got := e.Read(t, s.ID, "db.sql.LOST"); len(got) != 0 {
		t.Errorf("%d bytes", len(got))
	}
	if h := e.Health(t.Context()); h.OK || !strings.Contains(h.Reasons[0], "job shop: some of what its last backup stored is lost") {
		t.Errorf("%+v", h)
	}
	job := must(e.Job(t.Context(), "shop"))(t)
	if !job.LastGood.Before(job.LastRun.Ended) {
		t.Errorf("last good %v, last run %v", job.LastGood, job.LastRun.Ended)
	}
	dir := filepath.Join(t.TempDir(), "repo")
	storagetest.Copy(t, storage.NewLocal(dir), e.Storage)
	realtest.Restic(t, dir, backuptest.Password, "check", "--read-data")
	if out := realtest.Restic(t, dir, backuptest.Password, "ls", s.ID); !strings.Contains(out, "/shop/LOST.txt") || !strings.Contains(out, "/shop/db.sql.LOST") {
		t.Errorf("%s", out)
	}
	next := e.RunBackup(t, "shop")
	if next.State != backup.StateOK || next.Unchanged {
		t.Errorf("%+v", next)
	}
	if h := e.Health(t.Context()); !h.OK {
		t.Errorf("%+v", h)
	}
}

// TestRepairUnreadableSnapshot gives up a snapshot file that cannot be read. That we deleted it is no alarm afterwards.
// What is still remembered of it does not count.
func TestRepairUnreadableSnapshot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := backuptest.New(t)
		e.Backed(t, "shop")
		gone := e.Backed(t, "shop")
		storagetest.Flip(t, e.Storage, "snapshots/"+gone.ID, 99)
		run := runRepair(t, e, backup.RepairRequest{What: backup.RepairSnapshots, DryRun: true, Forget: true})
		if run.Summary != "1 snapshot was looked at, nothing is lost; 1 snapshot file cannot be read" || !run.Findings[0].Error {
			t.Errorf("%+v", run)
		}
		run = runRepair(t, e, backup.RepairRequest{What: backup.RepairSnapshots, Forget: true})
		if !strings.HasSuffix(run.Summary, "; 1 old snapshot file was deleted") {
			t.Errorf("%+v", run)
		}
		if run := runCheck(t, e, true); run.State != backup.StateOK {
			t.Errorf("%+v", run)
		}
		e.Backed(t, "shop")
		if h := e.Health(t.Context()); !h.OK {
			t.Errorf("%+v", h)
		}
	})
}

func TestRepairNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := backuptest.New(t)
		e.Backed(t, "shop")
		if run := runRepair(t, e, backup.RepairRequest{What: backup.RepairIndex}); run.Summary != "the index is right; 2 packs" {
			t.Errorf("%+v", run)
		}
		if run := runRepair(t, e, backup.RepairRequest{What: backup.RepairSnapshots, Forget: true}); run.Summary != "1 snapshot was looked at, nothing is lost" {
			t.Errorf("%+v", run)
		}
		for _, q := range []backup.RepairRequest{{}, {What: "packs"}, {What: backup.RepairIndex, Forget: true}, {What: backup.RepairSnapshots, ReadAll: true}} {
			if _, err := e.Repair(t.Context(), "tester", q); !errors.Is(err, backup.ErrInvalid) {
				t.Errorf("%+v: %v", q, err)
			}
		}
	})
}

// TestWayOut: what cannot go on without the index names the command that repairs it.
func TestWayOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := backuptest.New(t)
		e.Backed(t, "shop")
		storagetest.Flip(t, e.Storage, storagetest.Names(t, e.Storage, "index")[0], 99)
		e = reopen(t, e)
		run := must(e.Repair(t.Context(), "tester", backup.RepairRequest{What: backup.RepairSnapshots}))(t)
		if run = e.Wait(t, run.ID); run.State != backup.StateFailed || !strings.HasSuffix(run.Error, "repair the index: caddy backup repair index --repository default") {
			t.Errorf("%+v", run)
		}
	})
}
