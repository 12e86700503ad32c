package backup_test

import (
	"context"
	"errors"
	"io/fs"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddy-backup/caddy-backup/backup"
)

// TestHistoryUnread: while the history cannot be read, health says so, nothing is made twice, and nobody is alarmed; when it can
// be again, all is known without a reload.
func TestHistoryUnread(t *testing.T) {
	inBubble(t, "for minutes", func(t *testing.T) {
		m, box := watcher(t)
		m.start()
		m.sleepUntil(dayAt(1, 12, 0))
		m.stop()
		m.Store.Fail(errors.New("no route to the storage"))
		m.start()
		m.sleep(8 * time.Minute)
		if h := m.Health(t.Context()); h.OK || len(h.Reasons) != 1 || !strings.Contains(h.Reasons[0], "history of runs cannot be read") ||
			!strings.HasSuffix(h.Reasons[0], "no route to the storage") {
			t.Errorf("%+v", h)
		}
		m.Store.Fail(nil)
		m.sleep(6 * time.Minute)
		if h := m.Health(t.Context()); !h.OK {
			t.Errorf("%+v", h)
		}
		if j, err := m.Job(t.Context(), "shop"); err != nil || j.LastGood.IsZero() {
			t.Errorf("%+v, %v", j, err)
		}
		m.sleepUntil(dayAt(2, 12, 0))
		m.wantSlots(backup.KindBackup, "01 02:30 ok, 02 02:30 ok")
		box.want(t, "")
	})
	inBubble(t, "for hours", func(t *testing.T) {
		m, _ := watcher(t)
		m.start()
		m.sleepUntil(dayAt(1, 12, 0))
		m.stop()
		m.Store.Fail(errors.New("no route to the storage"))
		m.start()
		m.sleepUntil(dayAt(2, 12, 0))
		m.wantSlots(backup.KindBackup, "02 02:30 ok") // a backup all the same
	})
	inBubble(t, "some of it", func(t *testing.T) {
		store := &holey{}
		m, _ := watcher(t, func(c *backup.Config) { store.plain, c.Store = c.Store, store })
		m.start()
		m.RunBackup(t, "shop")
		m.sleepUntil(dayAt(1, 12, 0))
		m.stop()
		store.fail(errors.New("a bad sector"))
		m.start()
		if h := m.Health(t.Context()); h.OK || !strings.Contains(strings.Join(h.Reasons, ""), "a bad sector") {
			t.Errorf("%+v", h)
		}
		store.fail(nil)
		m.sleep(time.Minute)
		if h := m.Health(t.Context()); !h.OK {
			t.Errorf("%+v", h)
		}
		if runs, err := m.Runs(t.Context(), backup.RunFilter{}); err != nil || len(runs) != 2 {
			t.Errorf("%d runs, %v", len(runs), err)
		}
		m.stop()
		store.fail(fs.ErrPermission) // for good: another user has written it
		m.start()
		if h := m.Health(t.Context()); strings.Contains(strings.Join(h.Reasons, ""), "cannot be read") {
			t.Errorf("%+v", h)
		}
	})
}

// holey is a Store that can list what it cannot read.
type holey struct {
	plain
	fault atomic.Pointer[error]
}

func (h *holey) fail(err error) { h.fault.Store(&err) }

func (h *holey) Load(ctx context.Context, key string) ([]byte, error) {
	if err := h.fault.Load(); err != nil && *err != nil && strings.HasPrefix(key, "backup/runs/") {
		return nil, *err
	}
	return h.plain.Load(ctx, key)
}
