package backup_test

import (
	"testing"

	"github.com/caddy-backup/caddy-backup/backup"
	"github.com/caddy-backup/caddy-backup/backup/backuptest"
)

// TestRepositoryOfJob: who names a job means the repository that it writes to.
func TestRepositoryOfJob(t *testing.T) {
	e := backuptest.New(t, func(c *backup.Config) {
		c.Repositories = append(c.Repositories, backup.RepositoryConfig{Name: "second", Storage: elsewhere{backuptest.Repository(t), "second"}, Password: []byte(backuptest.Password)})
		c.Jobs = append(c.Jobs, backup.Job{Name: "small", To: "second", Sources: c.Jobs[0].Sources})
	})
	e.Backed(t, "shop")
	e.Backed(t, "small")
	x := must(e.Snapshot(t.Context(), "", "latest", "small"))(t)
	list := must(e.Snapshots(t.Context(), backup.SnapshotQuery{Job: "small"}))(t)
	if x.Repository != "second" || list.Total != 1 || list.Snapshots[0].ID != x.ID {
		t.Errorf("%+v, %+v", x, list)
	}
	run := must(e.Restore(t.Context(), "tester", backup.RestoreRequest{Job: "small", Snapshot: "latest", Target: t.TempDir() + "/new"}))(t)
	if run = e.Wait(t, run.ID); run.State != backup.StateOK || run.Repository != "second" {
		t.Errorf("%+v", run)
	}
}
