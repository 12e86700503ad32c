package backup

import "time"

// overdueGrace is what a scheduled job has, beyond its schedule, its jitter and the time that its last good run took,
// before it is overdue; one whose slots are closer together than that has until the next.
const overdueGrace = 2 * time.Hour

// deadline is until when a job must be good again; the zero time when nothing says so. good is its last good backup, nil when
// there is none. It counts from that, but not from before since, when the job got its schedule, if that is known.
func (p plan) deadline(good *Run, since time.Time, overdueAfter time.Duration) time.Time {
	from, ended, took := since, since, time.Duration(0)
	if good != nil {
		from, ended, took = good.Created, good.Ended, good.took()
		if !good.Scheduled.IsZero() {
			from = good.Scheduled
		}
		if since.After(from) { // it was on another schedule, or off
			from = since
		}
	}
	switch {
	case overdueAfter > 0 && !ended.IsZero():
		return ended.Add(overdueAfter)
	case p.schedule.IsZero() || from.IsZero():
		return time.Time{}
	}
	// One that was made by hand just before a slot counts for a whole interval.
	slot := p.schedule.Next(from, p.zone)
	due, interval := slot, p.schedule.Next(slot, p.zone).Sub(slot)
	if whole := from.Add(interval); whole.After(due) {
		due = whole
	}
	return due.Add(p.jitter + took + min(overdueGrace, interval))
}

// Overdue reports whether the job has not been good for longer than it may be.
func (j JobStatus) Overdue() bool { return !j.OverdueSince.IsZero() }

func lastGoodWas(at, now time.Time) string {
	if at.IsZero() {
		return "there is no good backup"
	}
	return "the last good backup was made " + ago(at, now)
}

// planJob fills in what is planned for a job, and whether it is overdue; good is its last good backup.
func (s *Service) planJob(c *setup, j Job, runs []Run, good *Run, status *JobStatus) {
	status.Schedule, status.Zone = j.Schedule, j.Zone.String()
	if j.Off {
		return
	}
	now := s.now()
	if x := s.automatic(); x != nil && c.Automatic && !j.Schedule.IsZero() {
		_, status.NextRun = x.next(c.backupPlan(j), runs, now)
	}
	if at := s.deadline(c, j, good, now); !at.IsZero() && now.After(at) {
		status.OverdueSince = at
	}
}

// longestTook is what a backup can have taken at most, with its time in the queue, as far as deadlines go: what seems to be
// more are two clocks, before and after it was set.
const longestTook = 7 * oneDay

// took is how long a run took, with its time in the queue.
func (r *Run) took() time.Duration {
	took := r.Ended.Sub(r.Created)
	if took < 0 || took > longestTook {
		return 0
	}
	return took
}

// unlessAhead is a run, or nil if it is dated far ahead, by a clock that was wrong: nobody knows when it was.
func unlessAhead(run *Run, now time.Time) *Run {
	if run != nil && run.Ended.After(now.Add(farAhead)) {
		return nil
	}
	return run
}

// deadline is until when a job must be good again; good is its last good backup. The zero time when nothing says so.
func (s *Service) deadline(c *setup, j Job, good *Run, now time.Time) time.Time {
	p, since := c.backupPlan(j), time.Time{}
	if x := s.automatic(); x != nil && c.Automatic {
		since = x.since(p)
	}
	return p.deadline(unlessAhead(good, now), since, j.OverdueAfter)
}

// since is since when a plan has its schedule; the zero time while that is not known.
func (x *scheduler) since(p plan) time.Time {
	x.mu.Lock()
	defer x.mu.Unlock()
	return sinceOf(x.marks, p, time.Time{})
}

// Planned is what a repository does by itself.
type Planned struct {
	Kind        Kind      `json:"kind"` // check or prune
	Schedule    Schedule  `json:"schedule,omitzero"`
	AfterForget bool      `json:"after_forget,omitempty"` // of a prune: not on a schedule, but after retention
	Next        time.Time `json:"next,omitzero"`          // zero: unknown, or nothing runs by itself here
	LastRun     *Run      `json:"last_run,omitempty"`
}

// When says it for people.
func (p Planned) When() string {
	if p.AfterForget {
		return "after retention"
	}
	return p.Schedule.String()
}

// planRepository tells what a repository does by itself.
func (s *Service) planRepository(c *setup, r RepositoryConfig, runs []Run) (all []Planned) {
	x := s.automatic()
	for _, p := range []plan{c.checkPlan(r), c.prunePlan(r)} {
		planned := Planned{Kind: p.kind, Schedule: p.schedule, AfterForget: p.kind == KindPrune && r.Prune.AfterForget}
		if p.schedule.IsZero() && !planned.AfterForget {
			continue
		}
		if x != nil && c.Automatic && !p.schedule.IsZero() {
			_, planned.Next = x.next(p, runs, s.now())
		}
		planned.LastRun = lastEnded(runs, p.kind, func(x Run) bool { return x.Repository == r.Name && !x.DryRun })
		all = append(all, planned)
	}
	return all
}
