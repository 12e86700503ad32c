package backup

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync/atomic"
	"time"
)

// DefaultStall ends a run that has shown no sign of life for so long. It outlasts the patience with a storage that fails, and a
// program that thinks before it writes.
const DefaultStall = time.Hour

// stallLook is how often it is looked for signs of life.
const stallLook = 10 * time.Second

// errHung is the cause of the end of a run in which nothing moved.
var errHung = errors.New("hung")

// life is where a run shows that it moves, besides what it counts. A retry is no sign of life, its success is.
type life struct {
	answers atomic.Int64 // of the storage
	quiet   atomic.Int64 // what goes on that shows nothing, see Task.Quiet
	rebuilt atomic.Int64 // what sources rebuild, see rebuilding
	awaited atomic.Int64 // reads that sources wait for
}

// spared reports whether a run in which nothing moves is told of, and not ended: its source rebuilds something, and does not
// wait for us. It may be making an index of a large table, of which nobody outside sees anything for hours.
func (l *life) spared() bool { return l.rebuilt.Load() > 0 && l.awaited.Load() == 0 }

// rebuilding is guard for what a source does to give something back. Only while the source waits for the dump can it be known
// that nothing goes on.
func (r *runner) rebuilding(ctx context.Context, what string, f func() error) error {
	r.life.rebuilt.Add(1)
	defer r.life.rebuilt.Add(-1)
	return r.guard(ctx, what, f)
}

// awaitedReader is a dump on its way to a source.
type awaitedReader struct {
	io.Reader
	life *life
}

func (r awaitedReader) Read(p []byte) (int, error) {
	r.life.answers.Add(1) // the source came back for more
	r.life.awaited.Add(1)
	defer r.life.awaited.Add(-1)
	return r.Reader.Read(p)
}

type lifeKey struct{}

// answered is a sign of life of the run that ctx is of: the storage did something for it. The lock does not count, which is
// made anew by itself.
func answered(ctx context.Context, name string) {
	if l, ok := ctx.Value(lifeKey{}).(*life); ok && !strings.HasPrefix(name, "locks") {
		l.answers.Add(1)
	}
}

// Quiet says that from now on, until the returned func is called, nothing shows that the source works: only the timeout of the
// run ends it meanwhile. It is for what takes long by its nature, such as a check of a whole database in one step.
func (t *Task) Quiet() (over func()) {
	if t.life == nil {
		return func() {}
	}
	t.life.quiet.Add(1)
	return func() { t.life.quiet.Add(-1) }
}

// signs are equal as long as nothing moves.
type signs struct {
	step     string
	progress Progress
	answers  int64
}

func (r *runner) signs() signs {
	run := r.snapshot()
	return signs{run.Step, run.Progress, r.life.answers.Load()}
}

// watched returns a context that ends when nothing has moved for limit; a negative one is for ever. Time counts as the
// machine is awake, whatever its clock is set to.
func (r *runner) watched(ctx context.Context, limit time.Duration) (context.Context, context.CancelFunc) {
	if limit < 0 {
		return ctx, func() {}
	}
	ctx, cancel := context.WithCancelCause(context.WithValue(ctx, lifeKey{}, &r.life))
	go func() {
		if still, since := r.awaitStall(ctx, limit); since > 0 {
			err := fmt.Errorf("%w%s", errHung, still.hung(since, r.service.now().Add(-since).In(r.setup.zoneOf(r.run.Job))))
			cancel(err)
			r.giveUp(err)
		}
	}()
	return ctx, func() { cancel(nil) }
}

// awaitStall returns when nothing has moved for limit, and for how long by then; 0 when ctx is done. Of a run that is spared it
// tells, once each time that it stands still.
func (r *runner) awaitStall(ctx context.Context, limit time.Duration) (last signs, since time.Duration) {
	tick := time.NewTicker(max(min(limit/20, stallLook), time.Millisecond))
	defer tick.Stop()
	last, moved, told := r.signs(), time.Now(), false
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return last, 0
		}
		if now := r.signs(); now != last || r.life.quiet.Load() > 0 {
			if told {
				r.log.Info("it moves again")
			}
			last, moved, told = now, time.Now(), false
		}
		since := time.Since(moved)
		switch {
		case since < limit:
		case !r.life.spared():
			return last, since
		case !told:
			told = true
			r.standsStill(last, since)
		}
	}
}

// standsStill tells that nothing moves in a run that is not ended for that.
func (r *runner) standsStill(last signs, since time.Duration) {
	s, at := r.service, r.service.now().Add(-since)
	r.log.Warn("it may hang" + last.hung(since, at.In(r.setup.zoneOf(r.run.Job))) + "; it is not ended, since a restore is in the middle of its work")
	run := r.snapshot()
	s.told.add(&s.telling, s.log.logger(), func() { c := s.listening(r.setup); s.tell(c, newStillNote(c, run, at), nil) })
}

// hung says what hangs, since when, and what to do.
func (s signs) hung(since time.Duration, at time.Time) string {
	while := ""
	if s.step != "" {
		while = " while " + s.step
	}
	return fmt.Sprintf("%s: nothing has moved for %v, since %s; look what it waits for, such as a lock in the database, a disk "+
		"that does not answer, or a prompt; a source that is silent for so long by its nature needs a longer stall_timeout in its job",
		while, since.Round(time.Second), at.Format("2006-01-02 15:04:05 MST"))
}

// giveUp records a run as failed that does not end although it was told to: where a disk does not answer, nothing can be ended.
// Its work can store nothing any more, but the next run waits for it.
func (r *runner) giveUp(err error) {
	for {
		late := time.NewTimer(2 * r.service.grace)
		select {
		case <-r.ended:
			late.Stop()
			return
		case <-late.C:
		}
		if r.life.quiet.Load() == 0 { // else programs that come after the dumps are at work, which have timeouts of their own
			break
		}
	}
	r.log.Error("the run does not end; it is recorded as failed, and the next one waits for it")
	r.finish(err)
}
