package backup_test

import (
	"errors"
	"testing"

	"github.com/caddy-backup/caddy-backup/backup"
)

// TestOverdueAfterChange: a job whose schedule is new, or that was off, is not overdue for what it was not asked for.
func TestOverdueAfterChange(t *testing.T) {
	inBubble(t, "another schedule", func(t *testing.T) {
		m, box := watcher(t, func(c *backup.Config) { c.Jobs[0].Schedule = schedule(t, "monthly") })
		m.start()
		m.RunBackup(t, "shop")
		m.sleepUntil(dayAt(20, 12, 0))
		m.Config.Jobs = append([]backup.Job(nil), m.Config.Jobs...)
		m.Config.Jobs[0].Schedule = schedule(t, "daily 02:30")
		m.reload(false)
		m.sleepUntil(dayAt(21, 12, 0))
		box.want(t, "")
		m.DB.Fail(errors.New("no such database"))
		m.sleepUntil(dayAt(22, 12, 0))
		box.want(t, "22 02:30 failure, 22 04:30 overdue")
	})
	inBubble(t, "off for a while", func(t *testing.T) {
		m, box := watcher(t)
		m.start()
		m.sleepUntil(dayAt(1, 12, 0))
		m.Config.Jobs = append([]backup.Job(nil), m.Config.Jobs...)
		m.Config.Jobs[0].Off = true
		m.reload(false)
		m.sleepUntil(dayAt(20, 12, 0))
		m.Config.Jobs = append([]backup.Job(nil), m.Config.Jobs...)
		m.Config.Jobs[0].Off = false
		m.reload(false)
		m.sleepUntil(dayAt(21, 12, 0))
		box.want(t, "")
	})
}
