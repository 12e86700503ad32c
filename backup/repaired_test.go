package backup_test

import (
	"slices"
	"testing"
	"testing/synctest"

	"github.com/caddy-backup/caddy-backup/backup"
	"github.com/caddy-backup/caddy-backup/backup/backuptest"
	"github.com/caddy-backup/caddy-backup/repo"
)

// TestRepairedBesideOld: while the old snapshot is there beside the one that it was repaired as, each is named by its own ID,
// and neither takes the place of a good one.
func TestRepairedBesideOld(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := backuptest.New(t, keeping(backup.Retention{Last: 1}))
		all := daily(t, e, 2)
		good, old := all[0], all[1]
		e.DB.Set(dump)
		old = e.Backed(t, "shop")
		requireState(t, deleted(t, e, backup.DeleteRequest{Snapshots: []string{all[1].ID}}), backup.StateOK, "1 snapshot was removed")
		flipPack(t, e)
		runCheck(t, e, true)
		runRepair(t, e, backup.RepairRequest{What: backup.RepairIndex})
		runRepair(t, e, backup.RepairRequest{What: backup.RepairSnapshots})
		list := must(e.Snapshots(t.Context(), backup.SnapshotQuery{}))(t).Snapshots
		i := slices.IndexFunc(list, func(s backup.Snapshot) bool { return slices.Contains(s.Tags, repo.TagRepaired) })
		if len(list) != 3 || i < 0 {
			t.Fatalf("%+v", list)
		}
		repaired := list[i]
		if best := backup.AllSeries(list, "")[0].Best(); best.ID != good.ID {
			t.Errorf("%s would be recovered, the good one is %s", best.ID, good.ID)
		}
		requireState(t, forget(t, e, backup.ForgetRequest{}), backup.StateOK, "nothing to remove, 3 snapshots were kept")
		requireState(t, deleted(t, e, backup.DeleteRequest{Snapshots: []string{good.ID}}), backup.StateFailed, "is the last good one of job shop")
		run := keep(t, e, repaired.ID, true)
		requireState(t, run, backup.StateOK, "is pinned")
		pinned := must(e.Snapshot(t.Context(), "", run.Snapshot, ""))(t)
		if !slices.Contains(pinned.Tags, "keep") || !slices.Contains(pinned.Tags, repo.TagRepaired) || pinned.StableID != old.ID {
			t.Errorf("another one was pinned: %+v", pinned)
		}
		run = deleted(t, e, backup.DeleteRequest{Snapshots: []string{old.ID[:10]}})
		requireState(t, run, backup.StateOK, "1 snapshot was removed")
		if got := ids(t, e); !slices.Equal(got, []string{pinned.ID, good.ID}) {
			t.Errorf("%q is left, without %s it should be %s and %s", got, old.ID, pinned.ID, good.ID)
		}
	})
}

// TestKeepCutOff: after a change of tags that did not end, the snapshot is as pinned as any of its files, and pinning it again
// leaves one.
func TestKeepCutOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := backuptest.New(t, keeping(backup.Retention{LimitCount: 1}))
		first := daily(t, e, 3)[0].ID
		keep(t, e, first, true)
		loose := "snapshots/" + keep(t, e, first, false).Snapshot
		file := must(e.Storage.Get(t.Context(), loose, 0, -1))(t)
		pinned := keep(t, e, first, true).Snapshot
		if err := e.Storage.Put(t.Context(), loose, file); err != nil {
			t.Fatal(err)
		}
		requireState(t, forget(t, e, backup.ForgetRequest{}), backup.StateOK, "1 snapshot was removed, 2 kept")
		requireState(t, deleted(t, e, backup.DeleteRequest{Snapshots: []string{loose[10:]}}), backup.StateFailed, "is pinned; first: caddy backup unkeep")
		if got := ids(t, e); len(got) != 3 || !slices.Contains(got, pinned) {
			t.Fatalf("%q is left, without the pinned %s", got, pinned)
		}
		pinned = keep(t, e, first, true).Snapshot
		if got := ids(t, e); len(got) != 2 || got[1] != pinned {
			t.Errorf("%q is left, and the second should be %s", got, pinned)
		}
	})
}
