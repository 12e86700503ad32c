package backup_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddy-backup/caddy-backup/backup"
	"github.com/caddy-backup/caddy-backup/backup/backuptest"
	"github.com/caddy-backup/caddy-backup/repo"
)

// chronicle is what an outsider knows of the snapshots of a job.
type chronicle struct {
	*machine
	random *rand.Rand
	skew   atomic.Int64         // of the clock
	good   map[string]time.Time // by stable ID: when it was made
	doubt  map[string]bool      // suspect, by stable ID
	pinned map[string]bool
}

// anyPolicy is one that removes a lot.
func (l *chronicle) anyPolicy() *backup.Retention {
	n := func() int { return l.random.IntN(3) }
	p := &backup.Retention{Last: n(), Daily: n(), Weekly: n(), LimitCount: n()}
	if n() == 0 {
		p.LimitAge = backup.Period{Days: 1 + n()}
	}
	if n() == 0 {
		p.Tags = [][]string{{"suspect"}}
	}
	if p.Check() != nil {
		p.Last = 1
	}
	return p
}

// step does one thing that may happen to a job, and its retention behind it.
func (l *chronicle) step() {
	l.t.Helper()
	some := func(of map[string]bool) string {
		for id := range of {
			return id
		}
		return ""
	}
	switch l.random.IntN(10) {
	case 0:
		l.DB.Fail(errors.New("no such database"))
	case 1:
		l.DB.Set("")
	case 2, 3:
		l.DB.Set("[]") // suspect, unless the last good one was no more
	case 4:
		if id := some(l.doubt); id != "" {
			if run := l.Wait(l.t, must(l.Accept(l.t.Context(), "tester", backup.AcceptRequest{Snapshot: id}))(l.t).ID); run.State == backup.StateOK {
				l.good[id] = must(l.Snapshot(l.t.Context(), "", id, ""))(l.t).Time
				delete(l.doubt, id)
			}
		}
	case 5:
		for id := range l.good {
			if run := keep(l.t, l.Env, id, true); run.State == backup.StateOK {
				l.pinned[id] = true
			}
			break
		}
	case 6:
		if id := some(l.pinned); id != "" && keep(l.t, l.Env, id, false).State == backup.StateOK {
			delete(l.pinned, id)
		}
	case 7:
		l.skew.Store(l.random.Int64N(2) * int64(60*time.Hour)) // fast by days, or right again
	default:
		l.DB.Set(fmt.Sprintf("dump of %v", time.Now()))
	}
	run := l.RunBackup(l.t, "shop")
	l.sleep(time.Duration(1+l.random.IntN(30)) * time.Hour)
	if run.Snapshot != "" {
		switch run.State {
		case backup.StateOK:
			l.good[run.Snapshot] = run.Created
		case backup.StateSuspect:
			l.doubt[run.Snapshot] = true
		}
	}
	if l.random.IntN(3) == 0 {
		forget(l.t, l.Env, backup.ForgetRequest{Confirm: true, AcceptFewer: true})
	}
}

// check looks whether what must stay is there.
func (l *chronicle) check(what string) {
	l.t.Helper()
	list := must(l.Snapshots(l.t.Context(), backup.SnapshotQuery{}))(l.t)
	there := func(id string) bool {
		return slices.ContainsFunc(list.Snapshots, func(s backup.Snapshot) bool { return s.StableID == id })
	}
	newest := ""
	for id, at := range l.good {
		if !there(id) {
			continue
		}
		if newest == "" || at.After(l.good[newest]) {
			newest = id
		}
	}
	for id, at := range l.good {
		if !there(id) && (newest == "" || at.After(l.good[newest])) {
			l.t.Fatalf("%s: the newest good snapshot, of %v, is gone; left are %d", what, at, len(list.Snapshots))
		}
		if !there(id) {
			delete(l.good, id)
		}
	}
	for id := range l.pinned {
		if !there(id) {
			l.t.Fatalf("%s: a pinned snapshot is gone", what)
		}
	}
	for id := range l.doubt {
		if !there(id) {
			delete(l.doubt, id)
		}
	}
}

// TestNewestGoodSurvives lets a job live, with failing, empty and shrunken dumps, pins, accepted snapshots, a clock that goes
// wrong, and policies that remove nearly everything: the newest good snapshot and all that are pinned stay.
func TestNewestGoodSurvives(t *testing.T) {
	for seed := range 4 {
		inBubble(t, fmt.Sprint("seed ", seed), func(t *testing.T) {
			l := &chronicle{random: rand.New(rand.NewPCG(uint64(seed), 1)), good: map[string]time.Time{}, doubt: map[string]bool{}, pinned: map[string]bool{}}
			l.machine = newMachine(t, func(c *backup.Config) {
				c.Jobs[0].Schedule, c.Jobs[0].Retention = backup.Schedule{}, l.anyPolicy()
			})
			l.on = append(l.on, span{from: time.Now()})
			l.Service = backup.New()
			l.SkewClock(&l.skew)
			l.attach()
			removed := 0
			for i := range 40 {
				l.step()
				l.check(fmt.Sprintf("seed %d, step %d", seed, i))
			}
			for _, run := range l.of(backup.KindForget) {
				removed += len(run.Removed)
			}
			if removed == 0 || len(l.good) == 0 {
				t.Errorf("%d removed, %d good ones: this proves nothing", removed, len(l.good))
			}
			requireClean(t, l.Env)
		})
	}
}

// TestFutureIsQuarantined makes a snapshot while the clock is fast. Once it is right again, that one is neither removed nor
// counted, and the preview says why. Of more than some minutes it is asked which clock was wrong before anything is removed.
func TestFutureIsQuarantined(t *testing.T) {
	for _, ahead := range []time.Duration{10 * time.Minute, 30 * 24 * time.Hour} {
		inBubble(t, ahead.String(), func(t *testing.T) {
			e := backuptest.New(t, keeping(backup.Retention{Last: 1, LimitCount: 1}))
			first := e.Backed(t, "shop")
			time.Sleep(time.Hour)
			second := e.Backed(t, "shop")
			e.SetClock(ahead)
			future := e.Backed(t, "shop")
			e.SetClock(0)
			report := must(e.Retention(t.Context(), "shop"))(t)
			for i, want := range []struct {
				id, why string
				kept    bool
			}{{future.ID, "dated in the future", true}, {second.ID, "last snapshot", true}, {first.ID, "no rule keeps it", false}} {
				if s := report.Snapshots[i]; s.ID != want.id || s.Kept != want.kept || strings.Join(s.Reasons, "; ") != want.why {
					t.Errorf("%d: %+v", i, s)
				}
			}
			if ahead > time.Hour {
				if !strings.Contains(report.Refused, "correct the clock") {
					t.Errorf("refused: %q", report.Refused)
				}
				requireRefused(t, e, forget(t, e, backup.ForgetRequest{AcceptFewer: true, Confirm: true}), "correct the clock")
				return
			}
			requireState(t, forget(t, e, backup.ForgetRequest{}), backup.StateOK, "1 snapshot was removed, 2 kept")
			if _, err := e.Snapshot(t.Context(), "", first.ID, ""); !errors.Is(err, repo.ErrNotFound) {
				t.Error(err)
			}
		})
	}
}
