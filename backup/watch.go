package backup

import (
	"fmt"
	"slices"
	"time"
)

// trouble is what is wrong and stays so until somebody acts. The watch tells people of it once, and again while it lasts: a
// failed backup is told by its end, but a backup that never began has none.
//
// A job that keeps failing is no trouble of its own: each of its runs is told, and in the end it is overdue.
type trouble struct {
	event   Event
	kind    Kind // of runs, when it is about such
	name    string
	state   string    // in a word or two: OVERDUE, DAMAGED, CHANGED BY OTHERS, FAILING
	since   time.Time // of overdue: when there should have been a good backup; zero: not known
	level   int       // how bad it is: what becomes worse is told at once
	reasons []string
	held    bool // it may be over soon by itself, and is not told yet
}

// watch tells people of what is wrong, and when it is over, and returns when to look again.
func (x *scheduler) watch(now time.Time) time.Time {
	s := x.service
	c, err := s.current()
	if err != nil || !c.Automatic {
		return time.Time{}
	}
	runs := s.allRuns() // with those that were just started
	late, wake := x.overdue(c, runs, now)
	recovered := func(e told) bool { return c.recovered(e, runs, now) }
	damaged := damage(c, runs)
	tell, again := s.weighTold(c, slices.Concat(late, damaged, undone(c, runs, damaged)), recovered, now)
	for _, n := range tell { // in line behind what became of the runs that brought it about
		s.told.add(&s.telling, s.log.logger(), func() { s.alarm(c, n, runs) })
	}
	return sooner(wake, again)
}

// overdue lists the jobs that are, and says when the next one will be.
func (x *scheduler) overdue(c *setup, runs []Run, now time.Time) (late []trouble, wake time.Time) {
	lost := spoilt(runs)
	for _, j := range c.Jobs {
		if j.Off {
			continue
		}
		good := lastEnded(runs, KindBackup, func(r Run) bool { return r.Job == j.Name && r.State == StateOK && !lost[r.Snapshot] })
		at := x.service.deadline(c, j, good, now)
		if at.IsZero() {
			continue
		}
		if !now.After(at) {
			wake = sooner(wake, at.Add(time.Second))
			continue
		}
		t := trouble{event: EventOverdue, name: j.Name, state: "OVERDUE", since: at.UTC(), reasons: []string{lastGoodWas(ended(good), now)}}
		if until := x.heldUntil(runs, j.Name, at, good, now); now.Before(until) {
			t.held = true
			wake = sooner(wake, until)
		}
		late = append(late, t)
	}
	return late, wake
}

// heldUntil is until when nobody is alarmed by a job that is overdue since at: the server has just begun, and will start what
// was missed, or does so already. When that fails, its end wakes the watch.
func (x *scheduler) heldUntil(runs []Run, job string, at time.Time, good *Run, now time.Time) time.Time {
	until := x.beganBy(now).Add(settling + look)
	for _, r := range runs {
		if r.Kind == KindBackup && r.Job == job && !r.State.Done() && r.Created.After(at) {
			took := time.Duration(0)
			if good != nil {
				took = good.took()
			}
			if end := r.Created.Add(took + overdueGrace); end.After(until) {
				until = end
			}
		}
	}
	return until
}

// ended is when a run ended; the zero time of none.
func ended(run *Run) time.Time {
	if run == nil {
		return time.Time{}
	}
	return run.Ended
}

// damage lists the repositories in which a check found something wrong, or which others have taken something from.
func damage(c *setup, runs []Run) (all []trouble) {
	for _, r := range c.Repositories {
		t := trouble{event: EventDamage, name: r.Name, state: "CHANGED BY OTHERS"}
		if run := verdict(runs, r.Name); run != nil && run.State == StateFailed {
			t.state = "DAMAGED"
			t.reasons = append(t.reasons, fmt.Sprintf("the check of %s: %s", run.Ended.In(c.Zone).Format("2006-01-02 15:04 MST"), run.Error))
			for _, f := range run.Findings {
				if f.Error {
					t.level++
				}
			}
		}
		if seen := lastSight(runs, r.Name); seen != nil {
			t.reasons = append(t.reasons, seen.Alarms...)
			t.level += seen.Missing + len(seen.Alarms)
		}
		if len(t.reasons) > 0 {
			all = append(all, t)
		}
	}
	return all
}

// recovered reports whether a trouble that is not there any more has ended well. Of a job the end of its good backup tells
// that; only when this process does not, since another one made the backup, the watch does a little later.
func (c *setup) recovered(e told, runs []Run, now time.Time) bool {
	if e.Event == EventOverdue {
		_, err := c.job(e.Name)
		return err == nil && now.Sub(e.Gone) >= look && goodSince(runs, e) != nil
	}
	if e.Event == EventMaintenance {
		return c.doneAgain(e, runs)
	}
	_, err := c.repository(e.Name)
	return err == nil && slices.ContainsFunc(runs, func(r Run) bool {
		looked := r.Seen != nil || r.Kind == KindCheck && r.State == StateOK
		return r.Repository == e.Name && looked && r.Ended.After(e.Since)
	})
}

// goodSince is the newest good backup of a job that was made after it was overdue.
func goodSince(runs []Run, e told) *Run {
	return lastEnded(runs, KindBackup, func(r Run) bool { return r.Job == e.Name && r.State == StateOK && r.Ended.After(e.Since) })
}

// sooner is the earlier of two times, of which the zero time is none.
func sooner(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}
