package handler

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/caddy-backup/caddy-backup/backup"
	"github.com/caddy-backup/caddy-backup/backup/backuptest"
	"github.com/caddy-backup/caddy-backup/repo"
	"github.com/caddy-backup/caddy-backup/storage/storagetest"
)

// TestStatsAndDiff through the client; a comparison that breaks off is never taken for a whole one.
func TestStatsAndDiff(t *testing.T) {
	clients(t, func(t *testing.T, env *backuptest.Env, c *Client) {
		first := env.Backed(t, "shop")
		env.DB.Set("something longer than before, by far")
		second := env.Backed(t, "shop")
		stats, err := c.Stats(t.Context(), "")
		if err != nil || stats.Snapshots != 2 || len(stats.Groups) != 1 || stats.Groups[0].Name != "shop" || stats.Files != 10 {
			t.Errorf("%+v, %v", stats, err)
		}
		var lines []string
		sum, err := c.Diff(t.Context(), "", first.ID[:8], second.ID, func(x repo.Change) error {
			lines = append(lines, x.Kind+" "+x.Path)
			return nil
		})
		if err != nil || !slices.Contains(lines, "changed /shop/db.sql") || sum.Changed != 3 || sum.New == 0 || sum.NewStored == 0 {
			t.Errorf("%q, %+v, %v", lines, sum, err)
		}
		if _, err := c.Diff(t.Context(), "", first.ID, "ffffffffffffffff", nil); !errors.Is(err, repo.ErrNotFound) {
			t.Error(err)
		}
		if _, err := c.Diff(t.Context(), "", first.ID, "", nil); !errors.Is(err, backup.ErrInvalid) {
			t.Error(err)
		}
		enough := errors.New("enough")
		if _, err := c.Diff(t.Context(), "", first.ID, second.ID, func(repo.Change) error { return enough }); !errors.Is(err, enough) {
			t.Error(err)
		}
		for _, name := range storagetest.Names(t, env.Storage, "data") { // trees of both are gone
			storagetest.Remove(t, env.Storage, name)
		}
		if _, err := c.Diff(t.Context(), "", first.ID, second.ID, func(repo.Change) error { return nil }); err == nil {
			t.Error("no error without the data")
		}
		if _, err := c.Stats(t.Context(), ""); err == nil || !strings.Contains(err.Error(), "repository") {
			t.Errorf("no error without the data: %v", err)
		}
	})
}

// TestRepairOverTheAPI decodes what the client sends.
func TestRepairOverTheAPI(t *testing.T) {
	clients(t, func(t *testing.T, env *backuptest.Env, c *Client) {
		env.Backed(t, "shop")
		for _, q := range []backup.RepairRequest{{What: backup.RepairIndex, ReadAll: true, DryRun: true}, {What: backup.RepairSnapshots, Forget: true}} {
			run, err := c.Repair(t.Context(), q)
			if err != nil {
				t.Fatal(err)
			}
			if run = wait(t, c, run.ID); run.State != backup.StateOK || run.DryRun != q.DryRun || run.Kind != backup.KindRepair {
				t.Errorf("%+v", run)
			}
		}
		if _, err := c.Repair(t.Context(), backup.RepairRequest{What: "all"}); !errors.Is(err, backup.ErrInvalid) {
			t.Error(err)
		}
		run, err := c.Check(t.Context(), backup.CheckRequest{Subset: "50%"})
		if err != nil {
			t.Fatal(err)
		}
		if run = wait(t, c, run.ID); run.State != backup.StateOK || run.Subset != "50%" {
			t.Errorf("%+v", run)
		}
	})
}
