package backup_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-backup/caddy-backup/backup"
	"github.com/caddy-backup/caddy-backup/backup/backuptest"
)

// TestYear lets a year go by, in which the machine is switched off and on, its configuration is loaded again, sometimes in
// vain, and dumps fail and take their time. Each slot must have its run, and none two.
func TestYear(t *testing.T) { synctest.Test(t, testYear) }

func testYear(t *testing.T) {
	days := 366
	if testing.Short() {
		days = 60 // the race detector makes them slow
	}
	random := chance(2, 3)
	paris, err := time.LoadLocation("Europe/Paris")
	if err != nil {
		t.Fatal(err)
	}
	dump := func(good int) backuptest.DumpFunc { // in so many of eight cases
		return func(ctx context.Context, w io.Writer, _ *backup.Task) error {
			fmt.Fprintf(w, "dump of %v", time.Now())
			select {
			case <-time.After(time.Duration(random.Int64N(int64(time.Hour)))):
			case <-ctx.Done():
				return context.Cause(ctx)
			}
			if random.IntN(8) >= good {
				return errors.New("the database is not there")
			}
			return nil
		}
	}
	fragile := backuptest.NewSource("")
	fragile.Do(dump(2))
	m := newMachine(t, func(c *backup.Config) {
		c.Zone = paris
		blog := c.Jobs[0]
		c.Jobs[0].Jitter, c.Jobs[0].Retention = 20*time.Minute, &backup.Retention{Last: 3, Daily: 7, Monthly: 3}
		blog.Name, blog.Schedule, blog.Retention = "blog", schedule(t, "every 36h"), &backup.Retention{Last: 5, Manual: true}
		blog.Sources = []backup.NamedSource{{Name: "db", Kind: "fake", Source: fragile}}
		c.Jobs = append(c.Jobs, blog)
		c.Repositories[0].Prune = backup.PrunePlan{Schedule: schedule(t, "weekly sun 05:00")}
	})
	m.DB.Do(dump(7))
	begin := time.Now()
	for m.start(); time.Since(begin) < time.Duration(days)*24*time.Hour; {
		switch random.IntN(10) {
		case 0:
			m.stop()
			m.sleep(time.Duration(random.Int64N(int64(4 * 24 * time.Hour))))
			m.start()
		case 1:
			m.stop() // and at once on again
			m.start()
		case 2, 3, 4:
			m.reload(false)
		case 5:
			m.reload(true)
		}
		m.sleep(time.Minute + time.Duration(random.Int64N(int64(30*time.Hour))))
		m.checkNewest()
	}
	for m.busy() { // what follows the last backup may wait for another one
		m.sleep(time.Minute)
	}
	m.on[len(m.on)-1].to = time.Now()
	m.checkSlots(begin, backup.KindBackup, "shop", m.Config.Jobs[0].Schedule, 20*time.Minute)
	m.checkSlots(begin, backup.KindBackup, "blog", m.Config.Jobs[1].Schedule, 0)
	m.checkSlots(begin, backup.KindPrune, "", m.Config.Repositories[0].Prune.Schedule, 0)
	m.checkRetention()
}

// busy reports whether a run goes on, or waits for its turn.
func (m *machine) busy() bool {
	m.t.Helper()
	runs, err := m.Runs(m.t.Context(), backup.RunFilter{})
	if err != nil {
		m.t.Fatal(err)
	}
	return slices.ContainsFunc(runs, func(r backup.Run) bool { return !r.State.Done() })
}

// chance is for a test and what it lets loose, which ask at the same time.
func chance(seed1, seed2 uint64) *rand.Rand {
	return rand.New(&lockedSource{from: rand.NewPCG(seed1, seed2)})
}

type lockedSource struct {
	mu   sync.Mutex
	from rand.Source
}

func (s *lockedSource) Uint64() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.from.Uint64()
}

// checkNewest looks whether the newest good snapshot of each job is still there.
func (m *machine) checkNewest() {
	m.t.Helper()
	newest := map[string]backup.Run{}
	for _, r := range m.runs {
		if r.Kind == backup.KindBackup && r.State == backup.StateOK && r.ID > newest[r.Job].ID {
			newest[r.Job] = r
		}
	}
	for job, r := range newest {
		if _, err := m.Snapshot(m.t.Context(), "", r.Snapshot, ""); err != nil {
			m.t.Fatalf("%v: the last good snapshot of %s is gone: %v", time.Now(), job, err)
		}
	}
}

// checkSlots compares the runs that there were with the slots and with when the machine was on.
func (m *machine) checkSlots(begin time.Time, kind backup.Kind, job string, s backup.Schedule, jitter time.Duration) {
	m.t.Helper()
	ended, tries := map[int64]int{}, map[int64]int{}
	for _, r := range m.runs {
		if r.Kind == kind && r.Job == job {
			tries[r.Scheduled.Unix()]++
			if r.State != backup.StateInterrupted {
				ended[r.Scheduled.Unix()]++
			}
		}
	}
	const margin = time.Minute // to settle after it was switched on
	missed, all, again := 0, 0, 0
	for slot := s.Next(begin, m.Config.Zone); ; {
		next := s.Next(slot, m.Config.Zone)
		if next.Add(time.Hour).After(time.Now()) {
			break
		}
		all++
		surely := m.wasOn(slot.Add(jitter), next, margin)
		switch n, tried := ended[slot.Unix()], tries[slot.Unix()]; {
		case n > 1 || tried > 2:
			m.t.Errorf("%s %s: %d runs for %v, %d of them ended", kind, job, tried, slot, n)
		case surely && tried == 0:
			m.t.Errorf("%s %s: no run for %v", kind, job, slot)
		case !m.wasOn(slot, next, 0) && tried != 0:
			m.t.Errorf("%s %s: a run for %v, although the next slot had come", kind, job, slot)
		case tried == 0:
			missed++
		case tried == 2:
			again++
		}
		delete(tries, slot.Unix())
		slot = next
	}
	if len(tries) > 2 { // of the last hour
		m.t.Errorf("%s %s: runs for what is no slot: %v", kind, job, tries)
	}
	m.t.Logf("%s %s: %d slots, %d fell to others while the machine was off, %d were tried again after an interruption", kind, job, all, missed, again)
	if (kind == backup.KindBackup && missed == 0 || all < 50) && !testing.Short() {
		m.t.Errorf("%s %s: this proves nothing", kind, job)
	}
}

// wasOn reports whether the machine was on for more than a margin between two times.
func (m *machine) wasOn(from, to time.Time, margin time.Duration) bool {
	for _, s := range m.on {
		start, end := s.from, s.to
		if start.Before(from) {
			start = from
		}
		if end.After(to) {
			end = to
		}
		if end.Sub(start) > margin {
			return true
		}
	}
	return false
}

// checkRetention looks whether retention followed each good backup of the job that has one, and nothing else. One that still
// waited for its turn when the next backup ended is for both.
func (m *machine) checkRetention() {
	m.t.Helper()
	var good, followed []backup.Run
	for _, r := range m.runs {
		switch {
		case r.Kind == backup.KindBackup && r.Job == "shop" && r.State == backup.StateOK:
			good = append(good, r)
		case r.Kind == backup.KindForget && r.Job == "shop" && r.Follows:
			followed = append(followed, r)
		case r.Kind == backup.KindForget:
			m.t.Errorf("retention of %s, which has none", r.Job)
		}
	}
	for _, r := range good {
		if !slices.ContainsFunc(followed, func(f backup.Run) bool {
			early := f.Started.Before(r.Ended) && !f.Started.IsZero() // it may not have seen what the backup made
			return f.Created.Before(r.Ended.Add(time.Second)) && !early && !f.Ended.Before(r.Ended)
		}) {
			m.t.Errorf("no retention followed the backup that ended at %v", r.Ended)
		}
	}
	if len(followed) > len(good) || len(good) < 200 && !testing.Short() {
		m.t.Errorf("retention was applied %d times after %d good backups", len(followed), len(good))
	}
}
