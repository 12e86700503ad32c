package backup_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/caddy-backup/caddy-backup/backup"
	"github.com/caddy-backup/caddy-backup/backup/backuptest"
	"github.com/caddy-backup/caddy-backup/storage"
)

// unread is a storage that gives no pack until it is alive, and does not care who waits.
type unread struct {
	*storage.Memory
	alive chan struct{}
}

func (u *unread) Get(ctx context.Context, name string, off, n int64) ([]byte, error) {
	if strings.HasPrefix(name, "data/") {
		<-u.alive
	}
	return u.Memory.Get(ctx, name, off, n)
}

// TestStallOfCheck: a check whose storage does not answer any more ends as failed, so that it is seen, and the next can be made.
func TestStallOfCheck(t *testing.T) {
	inBubble(t, "", func(t *testing.T) {
		disk := &unread{Memory: backuptest.Repository(t), alive: make(chan struct{})}
		e := backuptest.New(t, func(c *backup.Config) { c.Repositories[0].Storage = disk })
		e.RunBackup(t, "shop")
		started, err := e.Check(t.Context(), "alice", backup.CheckRequest{ReadData: true})
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(backup.DefaultStall + 5*time.Minute)
		run, err := e.Run(t.Context(), started.ID)
		if err != nil || run.State != backup.StateFailed || !strings.Contains(run.Error, "hung while checking: nothing has moved for 1h0m0s") {
			t.Errorf("it is %s, %s, %v", run.State, run.Error, err)
		}
		close(disk.alive)
		time.Sleep(time.Minute)
		again, err := e.Check(t.Context(), "alice", backup.CheckRequest{ReadData: true})
		if err != nil {
			t.Fatal(err)
		}
		if run := wait(t, e, again.ID); run.State != backup.StateOK {
			t.Errorf("the next one is %s: %s", run.State, run.Error)
		}
	})
}
