package backup

import (
	"context"
	"fmt"
	"slices"
	"time"
)

// Health is whether all is well, and if not, why.
type Health struct {
	OK      bool     `json:"ok"`
	Reasons []string `json:"reasons"` // "job shop: the last backup failed 3h ago: …"
}

// Health asks no storage. A job that was never backed up is not well: nothing is proven. Jobs that are off are not
// looked at.
func (s *Service) Health(ctx context.Context) Health {
	c, err := s.current()
	if err != nil {
		return Health{Reasons: []string{err.Error()}}
	}
	if err := s.history.unread(); err != nil {
		return Health{Reasons: append(unloaded(c), unreadReason(err))}
	}
	runs, now := s.allRuns(), s.now()
	h := Health{Reasons: []string{}}
	if c.Trouble != "" {
		h.Reasons = append(h.Reasons, c.Trouble)
	}
	for _, j := range c.Jobs {
		for _, reason := range s.jobReasons(c, j, runs) {
			h.Reasons = append(h.Reasons, "job "+j.Name+": "+reason)
		}
	}
	h.Reasons = append(h.Reasons, diagnose(c, runs, now)...)
	for _, n := range neglects(c, runs) {
		h.Reasons = append(h.Reasons, n.reason(now))
	}
	h.OK = len(h.Reasons) == 0
	return h
}

// unloaded is what of the configuration, or of what was set at run time, is not there.
func unloaded(c *setup) (reasons []string) {
	if c.Trouble != "" {
		reasons = append(reasons, c.Trouble)
	}
	for _, j := range c.Jobs {
		for _, reason := range unloadable(j.Broken) {
			reasons = append(reasons, "job "+j.Name+": "+reason)
		}
	}
	return reasons
}

// jobReasons are why a job is not well. Of one that is off only counts that it cannot be loaded.
func (s *Service) jobReasons(c *setup, j Job, runs []Run) []string {
	if j.Off {
		return unloadable(j.Broken)
	}
	reasons := s.jobStatus(c, j, runs).Reasons
	if run := stillPaused(j.Name, runs); run != nil {
		reasons = append(reasons, "its after program "+complaint(*run, s.now()))
	}
	return reasons
}

// unloadable says that a job cannot be loaded, and why; nothing of one that can.
func unloadable(broken string) []string {
	if broken == "" {
		return nil
	}
	return []string{"cannot be loaded: " + broken}
}

// diagnose looks at what the checks of each repository found, and what others did there.
func diagnose(c *setup, runs []Run, now time.Time) (reasons []string) {
	for _, r := range c.Repositories {
		if run := verdict(runs, r.Name); run != nil && run.State == StateFailed {
			reasons = append(reasons, fmt.Sprintf("repository %s: the last check %s", r.Name, complaint(*run, now)))
		}
		for _, alarm := range alarms(runs, r.Name) {
			reasons = append(reasons, fmt.Sprintf("repository %s: %s", r.Name, alarm))
		}
	}
	return reasons
}

// alarms is what the newest of runs, from new to old, that looked into a repository was alarmed by.
func alarms(runs []Run, repository string) []string {
	if seen := lastSight(runs, repository); seen != nil {
		return seen.Alarms
	}
	return nil
}

// stillPaused is the newest run of a job's after programs behind an interrupted backup, if it failed and no good backup has run them
// since; else nil.
func stillPaused(job string, runs []Run) *Run {
	after := lastEnded(runs, KindAfter, func(r Run) bool { return r.Job == job })
	good := lastEnded(runs, KindBackup, func(r Run) bool { return r.Job == job && r.State == StateOK })
	if after == nil || after.State != StateFailed || good != nil && good.Ended.After(after.Ended) {
		return nil
	}
	return after
}

// verdict is the check, of runs from new to old, that says how a repository is; nil when none does. It is the newest that
// could be done, or a failed one that no later one disproved: which takes one that is ok and looked as deep. One that reads a
// part of the data does so if it read again what had been found damaged.
func verdict(runs []Run, repository string) *Run {
	var good *Run
	for _, r := range runs {
		switch {
		case r.Kind != KindCheck || r.Repository != repository:
		case r.State == StateOK:
			if good == nil {
				good = &r
			}
			if r.ReadData && (r.Subset == "" || r.ReadAgain) {
				return good
			}
		case r.State == StateFailed && r.foundErrors() && (good == nil || r.ReadData):
			return &r
		}
	}
	return good
}

// foundErrors tells a check that found something wrong from one that could not be done.
func (r *Run) foundErrors() bool {
	return slices.ContainsFunc(r.Findings, func(f Finding) bool { return f.Error })
}

// lastEnded is the newest run of a kind that fits and ended by itself: what a person cancelled says nothing.
func lastEnded(runs []Run, kind Kind, fits func(Run) bool) *Run {
	for _, r := range runs {
		if r.Kind == kind && r.State.Done() && r.State != StateCancelled && fits(r) {
			return &r
		}
	}
	return nil
}

func complaint(run Run, now time.Time) string {
	verb := string(run.State)
	switch run.State {
	case StateInterrupted:
		verb = "was interrupted"
	case StateSuspect:
		verb = "is suspect, it was made"
	}
	return fmt.Sprintf("%s %s: %s", verb, ago(run.Ended, now), run.Error)
}
