package backup_test

import (
	"context"
	"sync/atomic"
	"testing"

	"github.com/caddy-backup/caddy-backup/backup"
	"github.com/caddy-backup/caddy-backup/backup/backuptest"
	"github.com/caddy-backup/caddy-backup/repo"
	"github.com/caddy-backup/caddy-backup/repo/repotest"
	"github.com/caddy-backup/caddy-backup/storage"
	"github.com/caddy-backup/caddy-backup/storage/storagetest"
)

// overtaken is a place in which another machine makes a repository right after us: it had found the place as empty.
type overtaken struct {
	*storage.Memory
	t    *testing.T
	done atomic.Bool
}

func (o *overtaken) Put(ctx context.Context, name string, data []byte) error {
	if err := o.Memory.Put(ctx, name, data); err != nil || name != "config" || !o.done.CompareAndSwap(false, true) {
		return err
	}
	other := new(storage.Memory)
	if _, err := repo.Init(ctx, other, []byte(backuptest.Password), repo.Options{KDF: repotest.CheapKDF}); err != nil {
		return err
	}
	storagetest.Copy(o.t, o.Memory, other)
	return nil
}

// TestTwoMachinesCreateAtOnce: the last config counts for both, or one would write what nobody can read.
func TestTwoMachinesCreateAtOnce(t *testing.T) {
	st := &overtaken{Memory: new(storage.Memory), t: t}
	e := newPlace(t, st, func(c *backup.Config) { c.Repositories[0].Password = []byte(backuptest.Password) })
	run := e.RunBackup(t, "shop")
	list, err := reopen(t, e).Snapshots(t.Context(), backup.SnapshotQuery{})
	if err != nil || run.State != backup.StateOK || list.Total != 1 || list.Damaged != "" {
		t.Errorf("the run: %s %s; then %d snapshots, damaged %q, %v", run.State, run.Error, list.Total, list.Damaged, err)
	}
}
