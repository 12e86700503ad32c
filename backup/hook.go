package backup

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Hook is a program of a job that is run before its dumps, to hold still what they read, or after them. Its methods may be
// called at once.
type Hook interface {
	// Title names it for people: "/usr/local/bin/pause-workers". It holds no secret.
	Title() string
	// Run runs it, within a time of its own, and returns nil only if it ended well. It leaves no process behind, also when ctx
	// ends. What it said stands beside the error, as an OutputError.
	Run(ctx context.Context, m Moment, t *Task) error
}

// Moment tells a Hook for what it is run.
type Moment struct {
	Job     string
	Run     string  // ID of the run that dumps
	Outcome Outcome // of the dumps; empty before them
}

// Outcome is what became of the dumps of a run, as programs that come after them are told. Whether the snapshot will be
// stored is not known yet.
type Outcome string

// The outcomes of dumps.
const (
	OutcomeDumped      Outcome = "dumped"      // all are whole
	OutcomeFailed      Outcome = "failed"      // one of them, or what was run before them, or the time was up
	OutcomeCancelled   Outcome = "cancelled"   // by a person
	OutcomeInterrupted Outcome = "interrupted" // the server stops, or died
)

// between has dump do its work between the programs that the job has before and after it. Once the first of them is about to
// begin, those that come after are run in any case, and if this process dies, by the next one: what was paused must go on. The
// error is dump's, or of what came before it. When only a program after it failed, the dumps are whole, and it is a doubt:
// nobody else can tell whether what was set up before has lasted until their end.
func (b *backupRun) between(ctx context.Context, dump func(context.Context) error) (doubts suspicion, err error) {
	if len(b.job.Before)+len(b.job.After) == 0 {
		return nil, dump(ctx)
	}
	if len(b.job.After) > 0 {
		b.service.journal.owe(b.run.ID, b.job.Name)
		defer b.service.journal.paid(b.run.ID)
	}
	m := Moment{Job: b.job.Name, Run: b.run.ID}
	err = func() (err error) {
		defer recoverInto(&err, b.log)
		for _, h := range b.job.Before {
			if err := b.hook(ctx, "before", h, m); err != nil {
				return fmt.Errorf("%w; nothing was dumped", because(ctx, err))
			}
		}
		return dump(ctx)
	}()
	m.Outcome = b.dumped(err)
	late := b.after(ctx, b.job.After, m)
	switch {
	case late == nil:
		return nil, err
	case err != nil:
		return nil, fmt.Errorf("%w; and then the %w", err, late)
	}
	b.update(func(run *Run) { run.Output = lastBytes(OutputOf(late), outputKept) })
	return suspicion{fmt.Sprintf("the %v; all was dumped, but look whether what was paused goes on again, and whether it was paused until "+
		"the end", late)}, nil
}

// dumped is the outcome of the dumps.
func (r *runner) dumped(err error) Outcome {
	switch r.outcome(err) {
	case StateOK:
		return OutcomeDumped
	case StateCancelled:
		return OutcomeCancelled
	case StateInterrupted:
		return OutcomeInterrupted
	}
	return OutcomeFailed
}

// after runs all programs that come after the dumps, in their order, also when one fails, and although the run is over: nothing
// but their own timeouts ends them.
func (r *runner) after(ctx context.Context, hooks []Hook, m Moment) (failed error) {
	ctx = context.WithoutCancel(ctx)
	for _, h := range hooks {
		switch err := r.hook(ctx, "after", h, m); {
		case failed == nil:
			failed = err
		case err != nil:
			failed = fmt.Errorf("%w; the %w", failed, err)
		}
	}
	return failed
}

// hook runs one program. While it is at work, the run is not taken for hung: it has a timeout of its own.
func (r *runner) hook(ctx context.Context, when string, h Hook, m Moment) error {
	title := when + " program " + h.Title()
	r.setStep("running the " + title)
	task, began := r.task(), time.Now()
	defer task.Quiet()()
	err := r.guard(ctx, title, func() error { return h.Run(ctx, m, task) })
	if err != nil {
		r.log.Error(title+" failed", "error", err)
		return fmt.Errorf("%s failed: %w", title, err)
	}
	r.log.Info(title+" ended well", "took", time.Since(began).Round(time.Millisecond).Seconds())
	return nil
}

// payOwed runs, once, the programs that are to come after dumps in the midst of which a process of this machine died: as they
// are configured now. The next backup of the job waits for them. Those of a job that is only not known now wait until it is.
func (s *Service) payOwed(c *setup, journal *journal) {
	for _, o := range journal.inherit(func(o debt) bool { return c.mayComeBack(o.Job) }) {
		err := s.pay(c, journal, o)
		switch {
		case errors.Is(err, ErrNotFound):
			c.Logger.Warn("the job of a run that was interrupted has no after programs any more: should anything still be paused, let it go on",
				"job", o.Job, "run", o.Run, "error", err)
			journal.paid(o.Run)
		case err != nil: // the Service is closed
			c.Logger.Warn("the after programs of a run that was interrupted are run at the next start", "job", o.Job, "run", o.Run, "error", err)
		}
	}
}

// mayComeBack reports whether a job is not as it was set, and a later configuration may have it so: it cannot be loaded, or it is
// not known which jobs were added at run time.
func (c *setup) mayComeBack(job string) bool {
	j, err := c.job(job)
	return err == nil && j.Broken != "" || err != nil && c.Trouble != ""
}

func (s *Service) pay(c *setup, journal *journal, o debt) error {
	j, err := c.job(o.Job)
	if err != nil {
		return err
	}
	if len(j.After) == 0 {
		return fmt.Errorf("%w: job %s has no after programs", ErrNotFound, j.Name)
	}
	v, err := s.vaultIn(c, j.To)
	if err != nil {
		return err
	}
	_, err = s.start(c, byStart, Run{Kind: KindAfter, Job: j.Name, Repository: v.name}, func(Run) bool { return false }, func(ctx context.Context, r *runner) error {
		if err := v.gate.enter(ctx, r); err != nil {
			return err
		}
		defer v.gate.leave()
		ctx, stop := r.begin(ctx, DefaultTimeout)
		defer stop()
		err := r.after(ctx, j.After, Moment{Job: j.Name, Run: o.Run, Outcome: OutcomeInterrupted})
		journal.paid(o.Run)
		if err != nil {
			return fmt.Errorf("run %s was interrupted, and now the %w; should anything still be paused, let it go on", o.Run, err)
		}
		r.update(func(run *Run) {
			run.Summary = fmt.Sprintf("the after programs of run %s, which was interrupted, were run", o.Run)
		})
		return nil
	})
	return err
}
