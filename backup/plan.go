package backup

import (
	"fmt"
	"hash/fnv"
	"time"
)

// CheckPlan says when a repository is checked by itself.
type CheckPlan struct {
	Schedule Schedule `json:"schedule,omitzero"`          // zero: only when somebody asks
	ReadData string   `json:"read_data_subset,omitempty"` // how much of the data is read, see CheckRequest; empty: the structure only
}

// Check refuses what makes no sense: ErrInvalid.
func (p CheckPlan) Check() error {
	if p.Schedule.IsZero() && p.ReadData != "" {
		return fmt.Errorf("%w: check reads data, but has no schedule", ErrInvalid)
	}
	_, err := parseSubset(p.ReadData)
	return err
}

// PrunePlan says when a repository is pruned by itself.
type PrunePlan struct {
	Schedule    Schedule `json:"schedule,omitzero"`      // zero: only when somebody asks
	AfterForget bool     `json:"after_forget,omitempty"` // instead: when the retention that follows a backup removed something
	MaxUnused   string   `json:"max_unused,omitempty"`   // share that may go on being unused, see PruneRequest
}

// Check refuses what makes no sense: ErrInvalid.
func (p PrunePlan) Check() error {
	switch {
	case p.AfterForget && !p.Schedule.IsZero():
		return fmt.Errorf("%w: prune has a schedule and after_forget: it takes one of them", ErrInvalid)
	case !p.AfterForget && p.Schedule.IsZero() && p.MaxUnused != "":
		return fmt.Errorf("%w: prune has a limit, but no schedule, and not after_forget", ErrInvalid)
	}
	_, err := parseMaxUnused(p.MaxUnused)
	return err
}

func (r *RepositoryConfig) checkPlans() error {
	if err := r.Check.Check(); err != nil {
		return err
	}
	return r.Prune.Check()
}

// bySchedule is who asks for the runs of schedules, byRetention who for those that follow good backups: the retention, and
// the prune of what that removed, byStart for what a process that died has left to do.
const (
	bySchedule  = "schedule"
	byRetention = "retention"
	byStart     = "start of the server"
)

// plan is what a schedule asks for: the backup or the drill of a job, the check or the prune of a repository.
type plan struct {
	kind     Kind
	name     string // of the job, or of the repository
	schedule Schedule
	zone     *time.Location
	jitter   time.Duration
	host     string // whose jitter it is
	start    func(s *Service, slot time.Time) (Run, error)
}

// plans are all that the configuration has, in its order.
func (c *setup) plans() (plans []plan) {
	if !c.Automatic {
		return nil
	}
	for _, j := range c.Jobs {
		for _, p := range []plan{c.backupPlan(j), c.drillPlan(j)} {
			if !p.schedule.IsZero() && !j.Off {
				plans = append(plans, p)
			}
		}
	}
	for _, r := range c.Repositories {
		for _, p := range []plan{c.checkPlan(r), c.prunePlan(r)} {
			if !p.schedule.IsZero() {
				plans = append(plans, p)
			}
		}
	}
	return plans
}

// watched are the jobs without a schedule that can be overdue all the same: from when on is noted, too.
func (c *setup) watched() (plans []plan) {
	for _, j := range c.Jobs {
		if c.Automatic && !j.Off && j.Schedule.IsZero() && j.OverdueAfter > 0 {
			plans = append(plans, c.backupPlan(j))
		}
	}
	return plans
}

func (c *setup) backupPlan(j Job) plan {
	return plan{KindBackup, j.Name, j.Schedule, j.Zone, j.Jitter, c.Host, func(s *Service, slot time.Time) (Run, error) {
		return s.backup(bySchedule, Run{Job: j.Name, Scheduled: slot})
	}}
}

func (c *setup) checkPlan(r RepositoryConfig) plan {
	return plan{KindCheck, r.Name, r.Check.Schedule, c.Zone, 0, c.Host, func(s *Service, slot time.Time) (Run, error) {
		return s.check(bySchedule, CheckRequest{Repository: r.Name, Subset: r.Check.ReadData}, slot)
	}}
}

func (c *setup) prunePlan(r RepositoryConfig) plan {
	return plan{KindPrune, r.Name, r.Prune.Schedule, c.Zone, 0, c.Host, func(s *Service, slot time.Time) (Run, error) {
		return s.prune(bySchedule, PruneRequest{Repository: r.Name, MaxUnused: r.Prune.MaxUnused}, Run{Scheduled: slot})
	}}
}

// item names what is planned.
func (p plan) item() string { return string(p.kind) + " " + p.name }

// times names the slots: another schedule, or another zone, has others.
func (p plan) times() string { return p.schedule.String() + " " + p.zone.String() }

// runFor reports whether a run was started for a slot of the plan.
func (p plan) runFor(r Run) bool {
	of := r.Repository
	if p.kind == KindBackup || p.kind == KindDrill {
		of = r.Job
	}
	return r.Kind == p.kind && of == p.name && !r.Scheduled.IsZero()
}

// farAhead is by how much a slot may lie in the future although it is done: the clock may have been set back a little. One
// that lies farther ahead was done by a clock that was wrong.
const farAhead = oneDay

// last is the newest slot that runs were started for; the zero time when there is none. again: its one run was interrupted.
func (p plan) last(runs []Run, now time.Time) (slot time.Time, again bool) {
	for _, r := range runs {
		switch {
		case !p.runFor(r) || r.Scheduled.After(now.Add(farAhead)) || r.Scheduled.Before(slot):
		case r.Scheduled.Equal(slot):
			again = false // even that was not the first
		default:
			slot, again = r.Scheduled, r.State == StateInterrupted
		}
	}
	return slot, again
}

// next is the slot that a run is to be started for, and when that is. It is computed from what is in the history and since
// when the plan has its schedule. Of slots that were missed only the newest counts. A run that the end of the process
// interrupted is made again, once.
func (p plan) next(runs []Run, since, now time.Time) (slot, at time.Time) {
	last, again := p.last(runs, now)
	if last.Before(since) {
		last, again = since, false
	}
	slot = p.schedule.newest(last, now, p.zone)
	if slot.IsZero() && again {
		slot = last.In(p.zone)
	}
	if slot.IsZero() {
		slot = p.schedule.Next(last, p.zone)
	}
	return slot, slot.Add(p.delay(slot))
}

// delay is the jitter of a slot: the same each time when it is asked, and never so long that the next slot comes first.
func (p plan) delay(slot time.Time) time.Duration {
	longest := p.jitter
	if following := p.schedule.Next(slot, p.zone); !following.IsZero() {
		longest = min(longest, following.Sub(slot))
	}
	if longest < time.Second {
		return 0
	}
	hash := fnv.New64a()
	fmt.Fprintf(hash, "%s\x00%s\x00%d", p.host, p.item(), slot.Unix())
	sum := hash.Sum64()
	sum ^= sum >> 32 // its low bits alone hardly differ from slot to slot
	return time.Duration(sum%uint64(longest/time.Second)) * time.Second
}
