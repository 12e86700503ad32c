package backup_test

import (
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddy-backup/caddy-backup/backup"
)

// wrongClock has a machine that is on from now go by a clock that is wrong by what is set.
func (m *machine) startWrong(by time.Duration) (set func(by time.Duration)) {
	m.t.Helper()
	var wrong atomic.Int64
	wrong.Store(int64(by))
	m.Service = backup.New()
	m.UseClock(func() time.Time { return time.Now().Add(time.Duration(wrong.Load())) }, time.NewTimer)
	m.on = append(m.on, span{from: time.Now()})
	m.attach()
	return func(by time.Duration) { wrong.Store(int64(by)) }
}

const year = 366 * 24 * time.Hour

// TestClockSetBack: a clock that was far ahead, when the process began or later, keeps nothing from running, and nobody from
// being told, once it is right again.
func TestClockSetBack(t *testing.T) {
	inBubble(t, "the process began ahead", func(t *testing.T) {
		m, box := watcher(t)
		set := m.startWrong(year)
		m.sleep(20 * time.Minute)
		set(0)
		m.sleepUntil(dayAt(3, 12, 0))
		m.wantSlots(backup.KindBackup, "01 02:30 ok, 02 02:30 ok, 03 02:30 ok")
		m.DB.Fail(errors.New("no such database"))
		m.sleepUntil(dayAt(4, 12, 0))
		box.want(t, "04 02:30 failure, 04 04:30 overdue")
	})
	inBubble(t, "it was ahead for some days", func(t *testing.T) {
		m, box := watcher(t)
		set := m.startWrong(0)
		m.sleepUntil(dayAt(1, 12, 0))
		set(year)
		m.sleepUntil(dayAt(3, 12, 0))
		set(0)
		m.sleep(time.Hour)
		m.DB.Fail(errors.New("no such database"))
		m.sleepUntil(dayAt(4, 12, 0))
		if got := box.when(watched...); !strings.HasSuffix(got, "04 02:30 failure, 04 04:30 overdue") {
			t.Errorf("told of %s", got)
		}
		if h := strings.Join(m.Health(t.Context()).Reasons, "\n"); !strings.Contains(h, "the last backup failed") || !strings.Contains(h, "overdue") {
			t.Errorf("health says %s", h)
		}
		if j, err := m.Job(t.Context(), "shop"); err != nil || j.LastRun == nil || j.LastRun.State != backup.StateFailed || j.Bad == 0 {
			t.Errorf("the job is %+v, %v", j, err)
		}
	})
	inBubble(t, "it was ahead for many runs", func(t *testing.T) {
		m := newMachine(t, func(c *backup.Config) { c.Jobs[0].Schedule = schedule(t, "hourly") })
		set := m.startWrong(year)
		m.sleepUntil(dayAt(6, 12, 10))
		set(0)
		m.sleepUntil(dayAt(6, 18, 10))
		n := 0
		for _, r := range m.of(backup.KindBackup) {
			if r.Created.Before(dayAt(7, 0, 0)) {
				n++
			}
		}
		if n < 6 || n > 7 {
			t.Errorf("%d runs in 6 hours", n)
		}
	})
}
