package backup

import (
	"cmp"
	"context"
	"fmt"
	"iter"
	"reflect"
	"slices"
	"time"
)

// JobStatus is a job as a list shows it.
type JobStatus struct {
	Name       string         `json:"name"`
	Standing   Standing       `json:"standing"`          // of its backups, in one word; only ok is green
	Reasons    []string       `json:"reasons,omitempty"` // why it is not ok, the worst first
	Enabled    bool           `json:"enabled"`
	Repository string         `json:"repository"`
	Sources    []SourceStatus `json:"sources"`
	Added      *AddedJob      `json:"added,omitempty"`  // when it was added at run time; nil: the configuration has it
	Broken     string         `json:"broken,omitempty"` // why it cannot be loaded any more: its runs fail
	Running    *Run           `json:"running,omitempty"`
	LastRun    *Run           `json:"last_run,omitempty"` // the last backup that ended
	LastGood   time.Time      `json:"last_good,omitzero"` // when the last ok backup ended
	Found      *Found         `json:"found,omitempty"`    // while LastGood is zero: what lies in the repository all the same
	Bad        int            `json:"bad_runs,omitempty"` // how many since then failed, were suspect, or interrupted
	// Snapshots is how many there are of it, of this host, as the last run that looked left them; nil when none has looked.
	Snapshots *int `json:"snapshots,omitempty"`

	Drill Drilling `json:"drill,omitzero"`

	Retention *Retention `json:"retention,omitempty"`

	Schedule     Schedule  `json:"schedule,omitzero"`
	Zone         string    `json:"timezone,omitempty"`     // of the schedule
	NextRun      time.Time `json:"next_run,omitzero"`      // zero: nothing is planned, or nothing runs by itself here
	OverdueSince time.Time `json:"overdue_since,omitzero"` // until when there should have been another good backup; zero: it is not overdue
}

// SourceStatus is a source in a JobStatus.
type SourceStatus struct {
	Name string `json:"name"`
	Kind string `json:"kind"`
}

// Jobs lists the jobs in the order of the configuration. It asks no storage.
func (s *Service) Jobs(ctx context.Context) ([]JobStatus, error) {
	c, err := s.current()
	if err != nil {
		return nil, err
	}
	runs := s.allRuns()
	jobs := make([]JobStatus, len(c.Jobs))
	for i, j := range c.Jobs {
		jobs[i] = s.jobStatus(c, j, runs)
	}
	return jobs, nil
}

// Job is one of Jobs.
func (s *Service) Job(ctx context.Context, name string) (JobStatus, error) {
	c, err := s.current()
	if err != nil {
		return JobStatus{}, err
	}
	j, err := c.job(name)
	if err != nil {
		return JobStatus{}, err
	}
	return s.jobStatus(c, j, s.allRuns()), nil
}

// jobStatus picks what concerns a job from runs, newest first.
func (s *Service) jobStatus(c *setup, j Job, runs []Run) JobStatus {
	r, _ := c.repository(j.To) // checked when it was attached
	status := JobStatus{Name: j.Name, Enabled: !j.Off, Repository: r.Name, Retention: j.Retention, Added: j.Added, Broken: j.Broken, Sources: make([]SourceStatus, len(j.Sources))}
	for i, source := range j.Sources {
		status.Sources[i] = SourceStatus{source.Name, source.Kind}
	}
	lost := spoilt(runs)
	var good *Run
	for _, run := range runs {
		if run.Kind != KindBackup || run.Job != j.Name {
			continue
		}
		if !run.State.Done() && status.Running == nil {
			status.Running = &run
		}
		if run.State.Done() && status.LastRun == nil {
			status.LastRun = &run
		}
		if run.State == StateOK && !lost[run.Snapshot] {
			status.LastGood, good = run.Ended, &run
			break
		}
		if run.State == StateFailed || run.State == StateSuspect || run.State == StateInterrupted {
			status.Bad++
		}
	}
	if seen := lastSight(runs, r.Name); seen != nil {
		n := seen.Jobs[j.Name]
		status.Snapshots = &n
	}
	if status.LastGood.IsZero() {
		status.Found = s.foundOf(j.Name)
	}
	s.planJob(c, j, runs, good, &status)
	status.Drill = s.drilling(c, j, runs)
	if err := s.history.unread(); err != nil {
		status.judge([]objection{{StandingUnknown, unreadReason(err)}})
	} else {
		status.judge(status.objections(runs, s.now()))
	}
	return status
}

// Backup starts a backup of a job and returns at once. by says who asked. ErrNotFound; ErrConflict (with the running
// run) when this job is being backed up already.
func (s *Service) Backup(ctx context.Context, by, job string) (Run, error) {
	return s.backup(by, Run{Job: job, Again: s.automatic() != nil})
}

// backup starts the backup that run describes.
func (s *Service) backup(by string, run Run) (Run, error) {
	job := run.Job
	c, v, j, err := s.jobVault(job)
	if err != nil {
		return Run{}, err
	}
	run.Kind, run.Repository = KindBackup, v.name
	clash := func(r Run) bool { return (r.Kind == KindBackup || r.Kind == KindAfter) && r.Job == job }
	run, err = s.start(c, by, run, clash, func(ctx context.Context, r *runner) error {
		return (&backupRun{runner: r, vault: v, job: j}).do(ctx)
	})
	if err == nil {
		s.audit(by, "backup asked for", "job", job, "run", run.ID)
	}
	return run, err
}

// RunFilter narrows down runs.
type RunFilter struct {
	Job   string
	Kind  Kind
	Limit int // 0 = 100
}

// Runs lists runs, newest first, those going on included.
func (s *Service) Runs(ctx context.Context, f RunFilter) ([]Run, error) {
	runs := slices.DeleteFunc(s.allRuns(), func(r Run) bool {
		return f.Job != "" && r.Job != f.Job || f.Kind != "" && r.Kind != f.Kind
	})
	if f.Limit <= 0 {
		f.Limit = 100
	}
	return runs[:min(len(runs), f.Limit)], nil
}

// allRuns is everything that is known, newest first, without what programs said.
func (s *Service) allRuns() []Run {
	s.mu.Lock()
	active := make(map[string]*runner, len(s.active))
	for id, r := range s.active {
		active[id] = r
	}
	s.mu.Unlock()
	runs := slices.DeleteFunc(s.history.list(), func(r Run) bool { return active[r.ID] != nil })
	for _, r := range active {
		runs = append(runs, r.snapshot())
	}
	for i := range runs {
		runs[i].Output = ""
	}
	sortRuns(runs, s.now())
	return runs
}

// Run is one run with its log.
func (s *Service) Run(ctx context.Context, id string) (Run, error) {
	if r := s.running(id); r != nil {
		run := r.snapshot()
		run.Log = r.lines.all()
		return run, nil
	}
	if run, found := s.history.get(ctx, id); found {
		return run, nil
	}
	return Run{}, fmt.Errorf("%w: no run %q is known; the newest %d of each job and kind are kept", ErrNotFound, id, historyKept)
}

func (s *Service) running(id string) *runner {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.active[id]
}

// watchInterval is how often a run is looked at while it is watched.
const watchInterval = 250 * time.Millisecond

// Watch yields the run, without its log, whenever it changed, at most a few times a second, until it has ended or ctx
// is done; the last value is the ended run. By then its end is in the history, unless the store hangs.
func (s *Service) Watch(ctx context.Context, id string) iter.Seq2[Run, error] {
	return func(yield func(Run, error) bool) {
		var last Run
		for {
			r := s.running(id)
			run, err := s.glance(ctx, id, r)
			if err != nil {
				yield(Run{}, err)
				return
			}
			if run.State.Done() {
				awaitRecord(ctx, r)
			}
			if !reflect.DeepEqual(run, last) && !yield(run, nil) || run.State.Done() {
				return
			}
			last = run
			if err := awaitChange(ctx, r); err != nil {
				yield(run, err)
				return
			}
		}
	}
}

// glance is Run without the log; r is the run if it is one of this process that goes on.
func (s *Service) glance(ctx context.Context, id string, r *runner) (Run, error) {
	if r != nil {
		return r.snapshot(), nil
	}
	run, err := s.Run(ctx, id)
	run.Log = nil
	return run, err
}

// awaitChange waits for the end of a run, if it is one of this process, or for the time to look again.
func awaitChange(ctx context.Context, r *runner) error {
	var ended chan struct{}
	if r != nil {
		ended = r.ended
	}
	timer := time.NewTimer(watchInterval)
	defer timer.Stop()
	select {
	case <-ended:
	case <-timer.C:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	return nil
}

// awaitRecord waits until a run of this process that has ended is in the history, and is being told: whoever saw its end may look
// there, or begin what relies on it. A store that hangs does not keep the end from being seen.
func awaitRecord(ctx context.Context, r *runner) {
	if r == nil {
		return
	}
	timer := time.NewTimer(storeTimeout)
	defer timer.Stop()
	select {
	case <-r.ended:
	case <-timer.C:
	case <-ctx.Done():
	}
}

// Cancel asks a run to end. It returns at once. ErrNotFound; ErrConflict when it has ended, or goes on in another
// process.
func (s *Service) Cancel(ctx context.Context, by, id string) error {
	run, err := s.Run(ctx, id)
	if err != nil {
		return err
	}
	if run.State.Done() {
		return fmt.Errorf("%w: run %s has ended: %s", ErrConflict, id, run.State)
	}
	r := s.running(id)
	if r == nil {
		where := cmp.Or(run.Member, "another process")
		return fmt.Errorf("%w: run %s goes on in %s; cancel it there", ErrConflict, id, where)
	}
	r.cancel(fmt.Errorf("%w by %s", errCancelled, by))
	s.audit(by, "run cancelled", "run", id)
	return nil
}
