package backup_test

import (
	"context"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddy-backup/caddy-backup/backup"
)

// deafStore answers nobody while it is deaf, and does not care who waits.
type deafStore struct {
	plain
	until atomic.Pointer[chan struct{}]
}

func (d *deafStore) wait() {
	if until := d.until.Load(); until != nil {
		<-*until
	}
}

func (d *deafStore) deaf() (again func()) {
	until := make(chan struct{})
	d.until.Store(&until)
	return func() { d.until.Store(nil); close(until) }
}

func (d *deafStore) Store(ctx context.Context, key string, value []byte) error {
	d.wait()
	return d.plain.Store(ctx, key, value)
}

func (d *deafStore) Load(ctx context.Context, key string) ([]byte, error) {
	d.wait()
	return d.plain.Load(ctx, key)
}

func (d *deafStore) Delete(ctx context.Context, key string) error {
	d.wait()
	return d.plain.Delete(ctx, key)
}

func (d *deafStore) List(ctx context.Context, prefix string, recursive bool) ([]string, error) {
	d.wait()
	return d.plain.List(ctx, prefix, recursive)
}

// TestDeafStore: backups are made at their times, and people are told, while Caddy's storage answers nobody, and the history
// is whole when it does again.
func TestDeafStore(t *testing.T) {
	inBubble(t, "", func(t *testing.T) {
		store := &deafStore{}
		m, box := watcher(t, func(c *backup.Config) { store.plain, c.Store = c.Store, store })
		m.start()
		m.sleepUntil(dayAt(1, 12, 0))
		m.wantSlots(backup.KindBackup, "01 02:30 ok")
		again := store.deaf()
		m.sleepUntil(dayAt(2, 12, 0))
		m.wantSlots(backup.KindBackup, "01 02:30 ok, 02 02:30 ok")
		m.DB.Fail(context.Canceled)
		m.sleepUntil(dayAt(3, 12, 0))
		if got := box.when(backup.EventFailure); !strings.HasPrefix(got, "03 02:3") {
			t.Errorf("told of %q", got)
		}
		m.reload(false)
		m.DB.Set("again")
		m.sleepUntil(dayAt(4, 12, 0))
		if got := box.when(backup.EventRecovered); !strings.HasPrefix(got, "04 02:3") {
			t.Errorf("told of %q", got)
		}
		again()
		m.sleep(2 * time.Minute)
		m.RunBackup(t, "shop")
		m.stop()
		m.start()
		m.sleep(time.Minute)
		m.wantSlots(backup.KindBackup, "01 02:30 ok, 02 02:30 ok, 03 02:30 failed, 04 02:30 ok, 01 00:00 ok")
	})
}
