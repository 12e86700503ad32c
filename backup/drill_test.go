package backup_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-backup/caddy-backup/backup"
	"github.com/caddy-backup/caddy-backup/backup/backuptest"
)

// drillable is a source whose dumps can be tried out, and found wanting.
type drillable struct {
	*backuptest.Source
	bad    atomic.Bool
	drills atomic.Int64
}

func (d *drillable) Drill(_ context.Context, _ backup.Stored, r io.Reader, _ backup.Scratch, _ *backup.Task) (backup.Facts, error) {
	d.drills.Add(1)
	if _, err := io.Copy(io.Discard, r); err != nil || d.bad.Load() {
		return backup.Facts{}, errors.Join(errors.New("it does not start"), err)
	}
	return backup.Facts{Checked: "it starts"}, nil
}

// TestDrillSchedule lets weeks go by: drills run by their schedule, a failed one is told, shown and no health, and one that
// was not made is overdue.
func TestDrillSchedule(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &drillable{Source: backuptest.NewSource("create table customer;\n")}
		m := newMachine(t, func(c *backup.Config) {
			c.Jobs[0].Drill = schedule(t, "weekly sun 06:00")
			c.Jobs[0].Sources[0].Source = d
		})
		m.start()
		defer m.stop()
		week := 7 * 24 * time.Hour
		m.sleep(2*week + time.Hour)
		if n := d.drills.Load(); n != 2 {
			t.Errorf("%d drills in two weeks", n)
		}
		job := must(m.Job(t.Context(), "shop"))(t)
		if job.Drill.LastGood.Weekday() != time.Sunday || time.Until(job.Drill.Next) > week || !job.Drill.OverdueSince.IsZero() {
			t.Errorf("%+v", job.Drill)
		}
		if h := m.Health(t.Context()); !h.OK {
			t.Error(h.Reasons)
		}
		d.bad.Store(true)
		m.sleep(week)
		h := m.Health(t.Context())
		if text := fmt.Sprint(h.Reasons); h.OK || !strings.Contains(text, "job shop: the last drill failed") || !strings.Contains(text, "it does not start") {
			t.Error(text)
		}
		stands := func(want backup.Standing) {
			t.Helper()
			if job := must(m.Job(t.Context(), "shop"))(t); job.Standing != want {
				t.Errorf("%s: %q", job.Standing, job.Reasons)
			}
		}
		drill := func(q backup.DrillRequest) {
			t.Helper()
			q.Job = "shop"
			backuptest.Wait(t, m.Service, must(m.Service.Drill(t.Context(), "tester", q))(t).ID)
		}
		stands(backup.StandingUnproven) // although the backups went well since
		d.bad.Store(false)
		all := must(m.Snapshots(t.Context(), backup.SnapshotQuery{Job: "shop"}))(t).Snapshots
		drill(backup.DrillRequest{Snapshot: all[1].ID})
		stands(backup.StandingUnproven) // an older one says nothing of the newest
		drill(backup.DrillRequest{Snapshot: all[0].ID})
		stands(backup.StandingOK)
		d.bad.Store(true)
		drill(backup.DrillRequest{})
		stands(backup.StandingUnproven)
		d.bad.Store(false)
		m.sleep(week)
		if h := m.Health(t.Context()); !h.OK {
			t.Error(h.Reasons)
		}
	})
}
