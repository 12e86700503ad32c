package backup

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"
)

// DrillRequest asks for a snapshot to be tried out.
type DrillRequest struct {
	Job      string `json:"job"`
	Snapshot string `json:"snapshot,omitempty"` // ID or a prefix; empty: the newest good one
}

// Drill starts a drill and returns at once: each part of the snapshot is restored into a scratch place, which is removed
// again, and compared with what was found out when it was dumped; one whose source cannot do that is read to its end and
// verified. ErrNotFound; ErrConflict (with the running run) when the job is being drilled already.
func (s *Service) Drill(ctx context.Context, by string, q DrillRequest) (Run, error) {
	return s.drill(by, q, time.Time{})
}

func (s *Service) drill(by string, q DrillRequest, slot time.Time) (Run, error) {
	c, v, j, err := s.jobVault(q.Job)
	if err != nil {
		return Run{}, err
	}
	clash := func(r Run) bool { return r.Kind == KindDrill && r.Job == j.Name }
	run := Run{Kind: KindDrill, Job: j.Name, Repository: v.name, Scheduled: slot, Chosen: q.Snapshot != ""}
	run, err = s.start(c, by, run, clash, func(ctx context.Context, r *runner) error {
		return (&drillRun{runner: r, vault: v, job: j, request: q}).do(ctx)
	})
	if err == nil {
		s.audit(by, "drill asked for", "job", j.Name, "snapshot", q.Snapshot, "run", run.ID)
	}
	return run, err
}

// Evidence is what a drill found out about a part.
type Evidence struct {
	Part     string   `json:"part"`
	Kind     string   `json:"kind,omitempty"` // of its source
	Restored bool     `json:"restored"`       // into a scratch place; else it was read to its end, and Checked says why no more
	Engine   string   `json:"engine,omitempty"`
	Checked  string   `json:"checked,omitempty"` // how: "integrity_check: ok; rows of 12 tables as dumped"
	Size     int64    `json:"size"`              // bytes of the dump
	Seconds  float64  `json:"seconds"`           // that it took
	Notes    []string `json:"notes,omitempty"`
	Error    string   `json:"error,omitempty"` // why it failed
}

// Drilled is the newest drill of a job that went well, as the next manifest tells it.
type Drilled struct {
	Run      string     `json:"run"`
	Snapshot string     `json:"snapshot"` // that was tried out
	Ended    time.Time  `json:"ended"`
	Parts    []Evidence `json:"parts"`
}

// drilled is the newest drill of a job that went well; nil when there is none. Runs are newest first.
func drilled(runs []Run, job string) *Drilled {
	for _, r := range runs {
		if r.Kind == KindDrill && r.Job == job && r.State == StateOK && !r.Chosen {
			return &Drilled{r.ID, r.Snapshot, r.Ended, r.Drill}
		}
	}
	return nil
}

// compared says what of a restored one equals what was recorded at its dump, or what differs. What one side does not know
// is not compared.
func compared(was, is Facts) (text string, err error) {
	if len(was.Rows) > 0 && is.Rows != nil {
		if err := sameTables("rows", was.Rows, is.Rows); err != nil {
			return "", err
		}
		text += "; rows of " + plural(len(was.Rows), "table") + " as dumped"
	}
	if len(was.Digests) > 0 && is.Digests != nil {
		if err := sameTables("content", was.Digests, is.Digests); err != nil {
			return "", err
		}
		text += "; content of " + plural(len(was.Digests), "table") + " as dumped"
	}
	return text, nil
}

func sameTables[V comparable](what string, was, is map[string]V) error {
	for _, table := range slices.Sorted(maps.Keys(was)) {
		switch got, ok := is[table]; {
		case !ok:
			return fmt.Errorf("table %s did not come back", table)
		case got != was[table]:
			return fmt.Errorf("table %s differs from what was dumped: %s %v, and had %v", table, what, got, was[table])
		}
	}
	for _, table := range slices.Sorted(maps.Keys(is)) {
		if _, ok := was[table]; !ok {
			return fmt.Errorf("table %s was not there when it was dumped", table)
		}
	}
	return nil
}

// Drilling tells of the drills of a job.
type Drilling struct {
	Schedule     Schedule  `json:"schedule,omitzero"`
	Next         time.Time `json:"next,omitzero"`          // zero: nothing is planned, or nothing runs by itself here
	Running      *Run      `json:"running,omitempty"`      //
	LastRun      *Run      `json:"last_run,omitempty"`     // that ended, however it did; not of a snapshot that a person chose
	Failed       *Run      `json:"failed,omitempty"`       // the newest of these that failed since the last ok one
	LastGood     time.Time `json:"last_good,omitzero"`     // when the last ok one of these ended
	Snapshot     string    `json:"snapshot,omitempty"`     // that it tried out
	OverdueSince time.Time `json:"overdue_since,omitzero"` // until when there should have been another good one
}

// drilling picks what concerns the drills of a job from runs, newest first.
func (s *Service) drilling(c *setup, j Job, runs []Run) Drilling {
	d := Drilling{Schedule: j.Drill}
	var good *Run
	for _, r := range runs {
		if r.Kind != KindDrill || r.Job != j.Name {
			continue
		}
		if !r.State.Done() {
			d.Running = &r
			continue
		}
		if r.Chosen || r.State == StateCancelled {
			continue
		}
		if d.LastRun == nil {
			d.LastRun = &r
		}
		if r.State == StateFailed && d.Failed == nil { // one that was interrupted says nothing
			d.Failed = &r
		}
		if r.State == StateOK {
			good, d.LastGood, d.Snapshot = &r, r.Ended, r.Snapshot
			break
		}
	}
	x, p, now := s.automatic(), c.drillPlan(j), s.now()
	if x == nil || !c.Automatic || j.Off || j.Drill.IsZero() {
		return d
	}
	_, d.Next = x.next(p, runs, now)
	if at := p.deadline(unlessAhead(good, now), x.since(p), 0); !at.IsZero() && now.After(at) {
		d.OverdueSince = at
	}
	return d
}
