package backup

import (
	"context"
	"fmt"
	"time"

	"github.com/dustin/go-humanize"
)

// Health is whether all is well, and if not, why.
type Health struct {
	OK      bool     `json:"ok"`
	Reasons []string `json:"reasons"` // "job shop: the last backup failed 3h ago: …"
}

// Health asks no storage. A job that never ran is not ill, nor is one that is off.
func (s *Service) Health(ctx context.Context) Health {
	c, err := s.current()
	if err != nil {
		return Health{Reasons: []string{err.Error()}}
	}
	h := diagnose(c, s.allRuns(), s.now())
	h.OK = len(h.Reasons) == 0
	return h
}

// diagnose looks at the last backup of each job and the last check of each repository.
func diagnose(c *setup, runs []Run, now time.Time) Health {
	h := Health{Reasons: []string{}}
	for _, j := range c.Jobs {
		if run := lastEnded(runs, KindBackup, func(r Run) bool { return r.Job == j.Name }); !j.Off && run != nil && run.State != StateOK {
			h.Reasons = append(h.Reasons, fmt.Sprintf("job %s: the last backup %s", j.Name, complaint(*run, now)))
		}
	}
	for _, r := range c.Repositories {
		if run := lastEnded(runs, KindCheck, func(x Run) bool { return x.Repository == r.Name }); run != nil && run.State == StateFailed {
			h.Reasons = append(h.Reasons, fmt.Sprintf("repository %s: the last check %s", r.Name, complaint(*run, now)))
		}
	}
	return h
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
	if run.State == StateInterrupted {
		verb = "was interrupted"
	}
	return fmt.Sprintf("%s %s: %s", verb, humanize.RelTime(run.Ended, now, "ago", "from now"), run.Error)
}
