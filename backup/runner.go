package backup

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"strings"
	"sync"
	"time"
)

// Why a run ended early: the causes of its context.
var (
	errCancelled   = errors.New("cancelled")
	errInterrupted = errors.New("the server stopped")
	errTimeout     = errors.New("timed out")
)

// runner is a run of this process.
type runner struct {
	service *Service
	setup   *setup
	title   string // names it for people
	ctx     context.Context
	cancel  context.CancelCauseFunc
	ended   chan struct{} // closed when the run is in the history
	log     *slog.Logger
	lines   runLog
	life    life

	mu       sync.Mutex
	run      Run
	lease    lease           // in a cluster
	good     bool            // what was asked for is done and durable: whatever happens now, the run is ok, or suspect
	doubts   suspicion       // why it is suspect, if it is
	progress func() Progress // asked whenever somebody looks; nil = run.Progress
}

// start makes a run and has work do it. While one that clashes with it is going on, it returns that one and ErrConflict.
func (s *Service) start(c *setup, by string, run Run, clash func(Run) bool, work func(context.Context, *runner) error) (Run, error) {
	r, going, err := s.enlist(c, by, run, clash)
	if err != nil {
		return going, err
	}
	if going, err := s.claim(r, clash); err != nil {
		r.cancel(err)
		s.dismiss(r)
		s.runs.Done()
		return going, err
	}
	go func() {
		defer s.runs.Done()
		r.do(work)
	}()
	return r.snapshot(), nil
}

// enlist makes a run that counts as going on in this process, and in s.runs.
func (s *Service) enlist(c *setup, by string, run Run, clash func(Run) bool) (r *runner, going Run, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, Run{}, ErrClosed
	}
	for _, r := range s.active {
		if going := r.snapshot(); clash(going) && !going.State.Done() {
			return nil, going, fmt.Errorf("%w: %s is going on already", ErrConflict, r.title)
		}
	}
	run.Created = s.now().UTC().Round(0) // by the clock on the wall, as it is after a restart
	run.ID = s.newRunID(run.Created)
	if c.Cluster { // others may make one at the same time
		run.ID, run.Member = fmt.Sprintf("%s-%x", run.ID, randomBytes(4)), memberName()
	}
	run.By, run.State = by, StateQueued
	ctx, cancel := context.WithCancelCause(context.Background())
	r = &runner{service: s, setup: c, title: runTitle(run), ctx: ctx, cancel: cancel, ended: make(chan struct{}), run: run, lease: lease{writing: make(turns, 1)}}
	r.log = r.bothLogs(r.serverLog(run))
	s.active[run.ID] = r
	s.runs.Add(1)
	return r, Run{}, nil
}

// dismiss makes a run count as going on no longer.
func (s *Service) dismiss(r *runner) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.active, r.run.ID)
}

// newRunID makes an ID that sorts by time: the second, and the fraction of it in 1/65536. The caller holds s.mu.
func (s *Service) newRunID(t time.Time) string {
	for tick := int64(t.Nanosecond()) << 16 / int64(time.Second); ; tick++ {
		id := fmt.Sprintf("%s-%04x", t.UTC().Format("20060102t150405z"), tick)
		if s.active[id] == nil && !s.history.has(id) {
			return id
		}
	}
}

// do is the life of a run.
func (r *runner) do(work func(context.Context, *runner) error) {
	defer r.cancel(nil)
	release := r.hold()
	r.service.history.save(r.snapshot(), r.service.journal.id())
	err := func() (err error) {
		defer recoverInto(&err, r.log)
		return work(r.ctx, r)
	}()
	r.finish(err)
	release()
	r.service.dismiss(r)
	r.service.follow(r.snapshot())
}

// begin ends the time in the queue: now the run works, and its time is limited.
func (r *runner) begin(ctx context.Context, limit time.Duration) (context.Context, context.CancelFunc) {
	r.ours() // it may have waited for long
	r.mu.Lock()
	r.run.State, r.run.Started = StateRunning, r.service.now().UTC()
	run := r.run
	r.mu.Unlock()
	if ctx.Err() == nil {
		r.service.history.save(run, r.service.journal.id())
	}
	return context.WithTimeoutCause(ctx, limit, fmt.Errorf("%w after %v", errTimeout, limit))
}

// finish gives the run its outcome, once, and puts it into the history.
func (r *runner) finish(err error) {
	taken := !r.ours()
	r.mu.Lock()
	if r.run.State.Done() {
		r.mu.Unlock()
		return
	}
	if taken = taken && !r.good; taken {
		err = errTakenOver
	}
	if r.good && r.doubts != nil {
		err = r.doubts
	} else if r.good {
		err = nil
	}
	if r.progress != nil {
		r.run.Progress, r.progress = r.progress(), nil
	}
	r.run.State = r.outcome(err)
	if err != nil {
		r.run.Error, r.run.Code = plainly(err), codeOf(err)
		if output := OutputOf(err); output != "" {
			r.run.Output = lastBytes(output, outputKept)
		}
		if r.run.Step != "" && errors.Is(err, errTimeout) {
			r.run.Error += " while " + r.run.Step
		}
	}
	r.run.Step, r.run.Ended = "", r.service.now().UTC()
	if err != nil && !r.good {
		r.run.Summary = ""
	}
	run := r.run
	r.mu.Unlock()
	r.tell(run)
	run.Log = r.lines.all()
	if taken { // its end is written down, and told, by another member
		close(r.ended)
		return
	}
	r.service.history.add(run)
	r.service.ended(r.setup, run) // before anybody who waited for the end can begin the next, which is told of later
	close(r.ended)
}

// outcome judges an error by why the run was told to end, if it was.
func (r *runner) outcome(err error) State {
	cause := context.Cause(r.ctx)
	switch {
	case err == nil:
		return StateOK
	case r.good:
		return StateSuspect
	case errors.Is(cause, errCancelled):
		return StateCancelled
	case errors.Is(cause, errInterrupted), errors.Is(err, errTakenOver):
		return StateInterrupted
	}
	return StateFailed
}

// snapshot is the run as it stands, without its log.
func (r *runner) snapshot() Run {
	r.mu.Lock()
	defer r.mu.Unlock()
	run := r.run
	if r.progress != nil {
		run.Progress = r.progress()
	}
	return run
}

// update changes the run.
func (r *runner) update(f func(*Run)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.run.State.Done() {
		f(&r.run)
	}
}

func (r *runner) setStep(step string) { r.update(func(run *Run) { run.Step = step }) }

func (r *runner) setProgress(f func() Progress) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.run.State.Done() {
		r.progress = f
	}
}

func runTitle(run Run) string {
	of := "repository " + run.Repository
	if run.Job != "" {
		of = "job " + run.Job
	}
	return fmt.Sprintf("%s of %s (run %s)", run.Kind, of, run.ID)
}

// because says why a source or the repository failed: when they were told to stop, that is the reason, and what they
// said about it comes after it.
func because(ctx context.Context, err error) error {
	cause := context.Cause(ctx)
	switch {
	case err == nil || cause == nil || errors.Is(err, cause):
		return err
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return cause
	}
	return fmt.Errorf("%w: %w", cause, err)
}

// plainly is the text of an error. When that says why the run was told to stop, what package context says about it at
// the end is left out.
func plainly(err error) string {
	text := err.Error()
	if !errors.Is(err, errCancelled) && !errors.Is(err, errInterrupted) && !errors.Is(err, errTimeout) && !errors.Is(err, errHung) {
		return text
	}
	for _, end := range []error{context.DeadlineExceeded, context.Canceled} {
		text = strings.TrimSuffix(text, ": "+end.Error())
	}
	return text
}

// task is what the run lends to a source.
func (r *runner) task() *Task { return &Task{Log: r.log, Journal: r.service.journal, life: &r.life} }

// guard runs what a source does: a panic becomes an error, and one that does not end although ctx is done is left
// behind after the grace, so that its run ends, gives up its lock and lets the next one in.
func (r *runner) guard(ctx context.Context, what string, f func() error) error {
	result := make(chan error, 1)
	go func() {
		err := errors.New("its goroutine ended")
		defer func() { result <- err }()
		defer recoverInto(&err, r.log)
		err = f()
	}()
	select {
	case err := <-result:
		return err
	case <-ctx.Done():
	}
	timer := time.NewTimer(r.service.grace)
	defer timer.Stop()
	select {
	case err := <-result:
		return err
	case <-timer.C:
		r.log.Error("the source does not end; it is left behind", "doing", what)
		return context.Cause(ctx)
	}
}

func recoverInto(err *error, log *slog.Logger) {
	if p := recover(); p != nil {
		log.Error("panic", "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
		*err = fmt.Errorf("panic: %v", p)
	}
}
