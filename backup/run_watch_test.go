package backup_test

import (
	"context"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-backup/caddy-backup/backup"
	"github.com/caddy-backup/caddy-backup/backup/backuptest"
)

type memoryStore = backuptest.Store

// lateStore is a Store that takes its time to write down how a run ended.
type lateStore struct {
	memoryStore
	late atomic.Int64 // how long
}

func (s *lateStore) Store(ctx context.Context, key string, value []byte) error {
	if strings.HasPrefix(key, "backup/runs/") && strings.Contains(string(value), `"ended":`) {
		select {
		case <-time.After(time.Duration(s.late.Load())):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return s.memoryStore.Store(ctx, key, value)
}

// TestWatchUntilItIsWrittenDown: whoever has seen the end of a run finds it in the history, in another process too. A store that
// hangs does not keep the end from being seen.
func TestWatchUntilItIsWrittenDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &lateStore{}
		e := backuptest.New(t, func(c *backup.Config) { c.Store = store })
		store.late.Store(int64(5 * time.Second))
		run := e.RunBackup(t, "shop")
		if next := must(reopen(t, e).Job(t.Context(), "shop"))(t); next.LastRun == nil || next.LastRun.ID != run.ID || next.LastRun.State != backup.StateOK {
			t.Errorf("the next process knows of %+v", next.LastRun)
		}
		store.late.Store(int64(time.Hour))
		begin := time.Now()
		if run = e.RunBackup(t, "shop"); run.State != backup.StateOK || time.Since(begin) > time.Minute {
			t.Errorf("%+v after %v", run, time.Since(begin))
		}
	})
}
