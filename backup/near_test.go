package backup_test

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/caddy-backup/caddy-backup/backup"
	"github.com/caddy-backup/caddy-backup/backup/backuptest"
)

// TestMisspelt: an error says what may have been meant.
func TestMisspelt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := backuptest.New(t)
		if _, err := e.Backup(t.Context(), "alice", "shpo"); !errors.Is(err, backup.ErrNotFound) || !strings.Contains(err.Error(), `no job is named "shpo"; did you mean shop? there are: shop`) {
			t.Error(err)
		}
		if _, err := e.Backup(t.Context(), "alice", "wiki"); err == nil || strings.Contains(err.Error(), "did you mean") {
			t.Error(err)
		}
		if _, err := e.Check(t.Context(), "alice", backup.CheckRequest{Repository: "defualt"}); err == nil || !strings.Contains(err.Error(), "did you mean default?") {
			t.Error(err)
		}
		c := e.Config
		told(&inbox{})(&c)
		c.Jobs[0].Notify[0].Notifiers = []string{"opps"}
		if _, err := backup.New().Attach(c); err == nil || !strings.Contains(err.Error(), `there is no notifier "opps"; did you mean ops?`) {
			t.Error(err)
		}
	})
}

// TestDeleteOfJob: the job says in which repository, and snapshots of others are spared.
func TestDeleteOfJob(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := backuptest.New(t, func(c *backup.Config) {
			c.Repositories = append(c.Repositories, second(t))
			for _, name := range []string{"blog", "wiki"} {
				c.Jobs = append(c.Jobs, backup.Job{Name: name, To: "second", Sources: c.Jobs[0].Sources})
			}
		})
		blog, wiki := e.RunBackup(t, "blog"), e.RunBackup(t, "wiki")
		q := backup.DeleteRequest{Job: "blog", Snapshots: []string{wiki.Snapshot, blog.Snapshot}, Confirm: true}
		run := e.Wait(t, must(e.Delete(t.Context(), "alice", q))(t).ID)
		if run.Repository != "second" || len(run.Removed) != 1 || run.Removed[0].Job != "blog" || !strings.Contains(run.Error, "is of job wiki, not of blog") {
			t.Errorf("%+v", run)
		}
	})
}
