package backup_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddy-backup/caddy-backup/backup"
	"github.com/caddy-backup/caddy-backup/backup/backuptest"
	"github.com/caddy-backup/caddy-backup/internal/realtest"
	"github.com/caddy-backup/caddy-backup/storage"
	"github.com/caddy-backup/caddy-backup/storage/storagetest"
)

// withRestic makes an Env on a local repository, and restic on the same.
func withRestic(t *testing.T, change ...func(*backup.Config)) (*backuptest.Env, func(args ...string) string) {
	t.Helper()
	realtest.Need(t, "restic")
	dir := filepath.Join(t.TempDir(), "repository")
	st := storage.NewLocal(dir)
	backuptest.InitCheaply(t, st)
	e := newPlace(t, st, append(change, func(c *backup.Config) {
		c.Repositories[0].Password = []byte(backuptest.Password)
		c.Zone = time.UTC
	})...)
	return e, func(args ...string) string { t.Helper(); return realtest.Restic(t, dir, backuptest.Password, args...) }
}

// keptByRestic asks restic what it would keep of the job's snapshots.
func keptByRestic(t *testing.T, restic func(...string) string, rules string) (ids []string) {
	t.Helper()
	out := restic(append([]string{"forget", "--dry-run", "--json", "--tag", "caddy-backup", "--host", "shop-server", "--path", "/shop", "--keep-tag", "keep"},
		strings.Fields(rules)...)...)
	var groups []struct {
		Keep []struct {
			ID string `json:"id"`
		} `json:"keep"`
	}
	if err := json.Unmarshal([]byte(out), &groups); err != nil || len(groups) != 1 {
		t.Fatalf("%v: %s", err, out)
	}
	for _, s := range groups[0].Keep {
		ids = append(ids, s.ID)
	}
	return ids
}

// TestRetentionBesideRestic has both write snapshots of one job, over weeks, and holds what we would keep to what the
// installed restic would. Only the oldest snapshot may differ: before 0.18 restic had no rule for it.
func TestRetentionBesideRestic(t *testing.T) {
	policies := map[string]backup.Retention{
		"--keep-last 3":                                                 {Last: 3},
		"--keep-daily 7 --keep-weekly 4":                                {Daily: 7, Weekly: 4},
		"--keep-hourly 4 --keep-monthly 2":                              {Hourly: 4, Monthly: 2},
		"--keep-within 3d --keep-yearly 1":                              {Within: backup.Period{Days: 3}, Yearly: 1},
		"--keep-within-daily 10d --keep-within-weekly 1m --keep-last 1": {WithinDaily: backup.Period{Days: 10}, WithinWeekly: backup.Period{Months: 1}, Last: 1},
		"--keep-hourly 3 --keep-yearly 5":                               {Hourly: 3, Yearly: 5},
		"--keep-within-hourly 5d --keep-within-monthly 1y":              {WithinHourly: backup.Period{Days: 5}, WithinMonthly: backup.Period{Years: 1}},
		"--keep-tag release --keep-last 1":                              {Tags: [][]string{{"release"}}, Last: 1},
	}
	jobs := func(c *backup.Config) { c.Jobs[0].Retention = &backup.Retention{Last: 1} }
	e, restic := withRestic(t, jobs)
	now := time.Now().UTC()
	for day := 30; day > 0; day -= 3 {
		at := now.AddDate(0, 0, -day)
		tags := "caddy-backup"
		if day%2 == 0 {
			tags += ",release"
		}
		cmd := exec.Command(realtest.Need(t, "restic"), "--no-cache", "backup", "--stdin", "--stdin-filename", "shop", "--host", "shop-server",
			"--tag", tags, "--time", at.Format("2006-01-02 15:04:05"))
		cmd.Env = append(os.Environ(), "RESTIC_REPOSITORY="+e.Config.Repositories[0].Storage.Location(), "RESTIC_PASSWORD="+backuptest.Password, "TZ=UTC")
		cmd.Stdin = strings.NewReader("dump of " + at.String())
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	for day := 25; day >= 0; day -= 4 {
		e.SetClock(-time.Duration(day)*24*time.Hour - time.Duration(day)*time.Hour)
		e.Backed(t, "shop")
	}
	e.SetClock(0)
	all := ids(t, e)
	oldest := all[len(all)-1]
	keep(t, e, all[len(all)-4], true)
	for rules, policy := range policies {
		changed := e.Config
		changed.Jobs = slices.Clone(changed.Jobs)
		changed.Jobs[0].Retention = &policy
		detach := must(e.Attach(changed))(t)
		report := must(e.Retention(t.Context(), "shop"))(t)
		detach()
		theirs := keptByRestic(t, restic, rules)
		for _, s := range report.Snapshots {
			if s.Kept != slices.Contains(theirs, s.ID) && !(s.ID == oldest && s.Kept) {
				t.Errorf("%s: of %s we keep %v: %q; restic keeps %d of %d", rules, s.Time, s.Kept, s.Reasons, len(theirs), len(report.Snapshots))
			}
		}
	}
	// Done, not only said: what is left is what restic would have left, and all that is not of the job.
	restic("backup", "--host", "shop-server", "--tag", "other", t.TempDir())
	theirs := keptByRestic(t, restic, "--keep-last 5")
	changed := e.Config
	changed.Jobs = slices.Clone(changed.Jobs)
	changed.Jobs[0].Retention = &backup.Retention{Last: 5}
	must(e.Attach(changed))(t)
	requireState(t, forget(t, e, backup.ForgetRequest{Confirm: true}), backup.StateOK, "removed")
	left := must(e.Snapshots(t.Context(), backup.SnapshotQuery{Job: "shop"}))(t)
	for _, s := range left.Snapshots {
		if !slices.Contains(theirs, s.ID) {
			t.Errorf("the snapshot of %s is left, and restic would not keep it", s.Time)
		}
	}
	if all := ids(t, e); left.Total != len(theirs) || len(all) != left.Total+1 {
		t.Errorf("%d of the job and %d in all are left, restic would keep %d", left.Total, len(all), len(theirs))
	}
	restic("check", "--read-data")
}

// TestResticForgetsBesideUs removes snapshots with restic: what we pinned stays, the rest is an alarm until it is accepted.
func TestResticForgetsBesideUs(t *testing.T) {
	e, restic := withRestic(t, keeping(backup.Retention{Last: 1}))
	pinned := e.Backed(t, "shop")
	for range 3 {
		e.Backed(t, "shop")
	}
	requireState(t, noted(t, e, pinned.ID, "before the upgrade"), backup.StateOK, "is pinned")
	restic("forget", "--keep-last", "2", "--keep-tag", "keep", "--prune")
	if left := ids(t, e); len(left) != 3 || must(e.Snapshot(t.Context(), "", pinned.ID, ""))(t).StableID != pinned.ID || noteOf(t, e, pinned.ID) != "before the upgrade" {
		t.Fatal(left)
	}
	requireRefused(t, e, forget(t, e, backup.ForgetRequest{}), "1 snapshot was removed by another program")
	requireRefused(t, e, pruned(t, e, backup.PruneRequest{}), "1 snapshot was removed by another program")
	e.Backed(t, "shop")
	if h := e.Health(t.Context()); h.OK {
		t.Error("no alarm")
	}
	requireState(t, forget(t, e, backup.ForgetRequest{AcceptFewer: true}), backup.StateOK, "2 snapshots were removed, 2 kept")
	if h := e.Health(t.Context()); !h.OK {
		t.Error(h.Reasons)
	}
	requireState(t, pruned(t, e, backup.PruneRequest{MaxUnused: "0%"}), backup.StateOK, "freed")
	requireClean(t, e)
	restic("check", "--read-data")
	restic("tag", "--add", "seen", "latest") // another ID, the same stable one: no loss
	e.Backed(t, "shop")
	if h := e.Health(t.Context()); !h.OK {
		t.Error(h.Reasons)
	}
}

// TestPruneOfEmptied has the folder of the snapshots taken away: a prune would delete everything.
func TestPruneOfEmptied(t *testing.T) {
	e, restic := withRestic(t)
	e.DB.Set(dump)
	e.Backed(t, "shop")
	e.Backed(t, "shop")
	dir := e.Config.Repositories[0].Storage.Location()
	if err := os.Rename(filepath.Join(dir, "snapshots"), filepath.Join(dir, "away")); err != nil {
		t.Fatal(err)
	}
	packs := storagetest.Names(t, e.Config.Repositories[0].Storage, "data")
	for _, e := range []*backuptest.Env{e, reopen(t, e)} {
		requireRefused(t, e, pruned(t, e, backup.PruneRequest{}), "the repository was emptied, and had 2 snapshots")
		requireRefused(t, e, pruned(t, e, backup.PruneRequest{DryRun: true}), "the repository was emptied, and had 2 snapshots")
	}
	// Nor does it when nothing is known of the repository.
	if err := e.Store.Delete(t.Context(), backup.MemoryKey(dir)); err != nil {
		t.Fatal(err)
	}
	requireRefused(t, e, pruned(t, e, backup.PruneRequest{}), "there is no snapshot in the repository")
	if now := storagetest.Names(t, e.Config.Repositories[0].Storage, "data"); !slices.Equal(packs, now) {
		t.Fatalf("packs were deleted: %d of %d are left", len(now), len(packs))
	}
	if err := os.RemoveAll(filepath.Join(dir, "snapshots")); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(filepath.Join(dir, "away"), filepath.Join(dir, "snapshots")); err != nil {
		t.Fatal(err)
	}
	requireState(t, pruned(t, e, backup.PruneRequest{}), backup.StateOK, "freed")
	restic("check", "--read-data")
}

// TestForgetAndPrune frees the space of what retention removes; its dry run says so before.
func TestForgetAndPrune(t *testing.T) {
	e, restic := withRestic(t, keeping(backup.Retention{Last: 1}))
	for _, data := range []string{"first ", "second "} {
		e.DB.Set(data + dump)
		e.Backed(t, "shop")
	}
	requireState(t, forget(t, e, backup.ForgetRequest{}), backup.StateOK, "1 snapshot was removed, 1 kept; a prune frees the space")
	packs := storagetest.Names(t, e.Config.Repositories[0].Storage, "data")
	dry := pruned(t, e, backup.PruneRequest{DryRun: true, MaxUnused: "0%"})
	requireState(t, dry, backup.StateOK, "would be freed")
	if now := storagetest.Names(t, e.Config.Repositories[0].Storage, "data"); !slices.Equal(packs, now) {
		t.Fatal("a dry run changed something")
	}
	run := pruned(t, e, backup.PruneRequest{MaxUnused: "0%"})
	requireState(t, run, backup.StateOK, "freed: ")
	if !dry.Prune.DryRun || run.Prune.BytesFreed < int64(len(dump)) || dry.Prune.BytesFreed < int64(len(dump)) {
		t.Errorf("%+v\n%+v", dry.Prune, run.Prune)
	}
	requireClean(t, e)
	restic("check", "--read-data")
	for _, bad := range []string{"5", "-1%", "101%", "x%", "NaN%"} {
		if _, err := e.Prune(t.Context(), "tester", backup.PruneRequest{MaxUnused: bad}); err == nil {
			t.Errorf("max unused %q is taken", bad)
		}
	}
}
