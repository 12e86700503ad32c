package backup_test

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-backup/caddy-backup/backup"
	"github.com/caddy-backup/caddy-backup/backup/backuptest"
	"github.com/caddy-backup/caddy-backup/storage"
)

// TestFound loses Caddy's storage, with the history: what lies in the repository is told as found, and is not green until a backup was
// made. A storage that does not answer keeps neither the start nor health waiting.
func TestFound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := &farDisk{Memory: backuptest.Repository(t)}
		m := newMachine(t, func(c *backup.Config) { c.Repositories[0].Storage = disk })
		m.start()
		good := m.Backed(t, "shop")
		m.DB.Set("")
		if run := m.RunBackup(t, "shop"); run.State == backup.StateOK {
			t.Fatalf("%+v", run)
		}
		m.stop()
		m.Config.Store = &backuptest.Store{}
		m.DB.Set("create table customer;\n")
		disk.away.Store(true)
		m.start()
		health := func(want string) backup.JobStatus {
			t.Helper()
			if h := m.Health(t.Context()); h.OK || len(h.Reasons) != 1 || !strings.HasPrefix(h.Reasons[0], "job shop: "+want) {
				t.Errorf("%q", h.Reasons)
			}
			return must(m.Job(t.Context(), "shop"))(t)
		}
		if job := health("no backup yet"); job.Standing != backup.StandingNever {
			t.Errorf("%+v", job)
		}
		m.sleep(2 * time.Second)
		disk.away.Store(false)
		m.sleep(10 * time.Second)
		job := health("no backup by this installation yet; the last good snapshot that was found in repository default is of 2")
		if job.Standing != backup.StandingFound || job.Found == nil || job.Found.Snapshot != good.ID || !job.Found.Time.Equal(good.Time) {
			t.Errorf("%+v", job)
		}
		m.Backed(t, "shop")
		if job := must(m.Job(t.Context(), "shop"))(t); job.Standing != backup.StandingOK || job.Found != nil {
			t.Errorf("%+v", job)
		}
		m.stop()
	})
}

// TestFoundElsewhere gives a job another repository: what lies in the one before is told no longer.
func TestFoundElsewhere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMachine(t, nil)
		m.start()
		m.Backed(t, "shop")
		m.stop()
		m.Config.Store = &backuptest.Store{}
		m.start()
		m.sleep(time.Second)
		if job := must(m.Job(t.Context(), "shop"))(t); job.Standing != backup.StandingFound {
			t.Errorf("%+v", job)
		}
		other := storage.NewLocal(t.TempDir())
		backuptest.InitCheaply(t, other)
		m.Config.Repositories = []backup.RepositoryConfig{{Name: "default", Storage: other, Password: []byte(backuptest.Password)}}
		m.reload(false)
		m.sleep(time.Second)
		if job := must(m.Job(t.Context(), "shop"))(t); job.Standing != backup.StandingNever || job.Found != nil {
			t.Errorf("%+v", job)
		}
		m.stop()
	})
}
