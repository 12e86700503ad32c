package backup

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"sync"
	"time"
)

// scheduler starts what the current configuration plans. There is one in a process, from the first configuration that is
// Automatic until the Service is closed. It keeps no times of its own: what is to be done next follows from the history and
// the marks, each time anew.
type scheduler struct {
	service *Service
	wake    chan struct{} // the configuration changed, or a run ended
	ctx     context.Context
	stop    context.CancelFunc

	mu    sync.Mutex
	began time.Time
	key   string // of the marks
	marks []mark
	saved bool
}

const (
	// settling is how long nothing is started after the process: databases and networks come up beside it.
	settling = 30 * time.Second
	// look is how often the clock is looked at, which may be set, or go on while the machine sleeps.
	look = time.Minute
)

// schedule starts the scheduler, if a configuration needs the first one. The caller holds s.mu.
func (s *Service) schedule(c *setup) {
	if s.scheduler != nil {
		s.scheduler.poke()
		return
	}
	if !c.Automatic || s.closed {
		return
	}
	x := &scheduler{service: s, wake: make(chan struct{}, 1), began: s.now().Round(0)}
	x.ctx, x.stop = context.WithCancel(context.Background())
	s.scheduler = x
	s.runs.Go(x.run)
}

// automatic is the scheduler; nil when nothing happens by itself.
func (s *Service) automatic() *scheduler {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.scheduler
}

// poke has the scheduler look again at once.
func (x *scheduler) poke() {
	if x == nil {
		return
	}
	select {
	case x.wake <- struct{}{}:
	default:
	}
}

func (x *scheduler) run() {
	for x.ctx.Err() == nil {
		x.await(x.pass())
	}
}

// await waits until a time by the clock on the wall, or until it is woken, or that clock is set back: then the time is one
// of a clock that was wrong.
func (x *scheduler) await(until time.Time) {
	var before time.Time
	for x.ctx.Err() == nil {
		now := x.service.now().Round(0)
		if !until.IsZero() && !now.Before(until) || now.Before(before) {
			return
		}
		before = now
		wait := look
		if !until.IsZero() {
			wait = min(wait, until.Sub(now))
		}
		timer := x.service.newTimer(wait)
		select {
		case <-timer.C:
		case <-x.wake:
			timer.Stop()
			return
		case <-x.ctx.Done():
			timer.Stop()
		}
	}
}

// pass starts what is due and returns when the next may be; the zero time: not before something changes.
func (x *scheduler) pass() (wake time.Time) {
	now := x.service.now().UTC().Round(0)
	defer func() {
		if p := recover(); p != nil {
			x.service.log.logger().Error("panic in the scheduler", "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
			wake = now.Add(look)
		}
	}()
	c, err := x.service.current()
	if err != nil {
		return time.Time{}
	}
	if x.service.history.unread() != nil && now.Before(x.beganBy(now).Add(unreadPatience)) {
		return now.Add(look)
	}
	plans, runs := c.plans(), x.service.allRuns()
	x.note(c, append(slices.Clone(plans), c.watched()...), runs, now)
	for _, p := range plans {
		slot, at := x.next(p, runs, now)
		if slot.IsZero() {
			continue
		}
		if at = at.Add(x.service.stagger(c, p, slot)); !at.After(now) {
			at = x.start(p, slot, now)
		}
		if !at.IsZero() && (wake.IsZero() || at.Before(wake)) {
			wake = at
		}
	}
	wake = x.backUpAgain(c, now, wake)
	return sooner(wake, x.watch(now))
}

// start starts a run and returns when to look again. While one of the same kind goes on, the slot waits for its end.
func (x *scheduler) start(p plan, slot, now time.Time) time.Time {
	run, err := p.start(x.service, slot.UTC())
	log := x.service.log.logger().With("plan", p.item(), "slot", slot)
	switch {
	case err == nil:
		log.Info("scheduled run started", "run", run.ID)
		_, at := x.next(p, []Run{run}, now)
		return at
	case errors.Is(err, ErrConflict):
		if _, at := x.next(p, x.service.allRuns(), now); at.After(now) {
			log.Debug("another member of the cluster makes, or made, this run")
			return at
		}
		log.Debug("a scheduled run waits for another", "run", run.ID)
	case !errors.Is(err, ErrClosed):
		log.Error("cannot start a scheduled run; trying again", "error", err)
	}
	return now.Add(look)
}

// next is when a plan is to be run for which slot.
func (x *scheduler) next(p plan, runs []Run, now time.Time) (slot, at time.Time) {
	x.mu.Lock()
	since := sinceOf(x.marks, p, now)
	x.mu.Unlock()
	slot, at = p.next(runs, since, now)
	if settled := x.beganBy(now).Add(settling); at.Before(settled) {
		at = settled
	}
	return slot, at
}

// beganBy is when the process began: not after now, should the clock have been set back since.
func (x *scheduler) beganBy(now time.Time) time.Time {
	x.mu.Lock()
	defer x.mu.Unlock()
	if now.Before(x.began) {
		x.began = now.Round(0)
	}
	return x.began
}

// note keeps since when each plan has its schedule. When what was kept cannot be read, the last slot in the history says it.
func (x *scheduler) note(c *setup, plans []plan, runs []Run, now time.Time) {
	log := x.service.log.logger()
	key, fresh := marksKey(c.Host), func(plan) time.Time { return now }
	x.mu.Lock()
	marks, known, saved := x.marks, x.key == key, x.saved
	x.mu.Unlock()
	if !known {
		var err error
		if marks, err = loadMarks(x.ctx, c.Store, key); err != nil {
			log.Warn("cannot tell since when schedules are as they are; going by the history of runs", "error", err)
			fresh = func(p plan) time.Time {
				if last, _ := p.last(runs, now); !last.IsZero() {
					return last
				}
				return now
			}
		}
	}
	next := noted(marks, plans, now, fresh)
	if !slices.Equal(next, marks) || !saved {
		err := saveMarks(x.ctx, c.Store, key, next)
		if saved = err == nil; !saved && x.ctx.Err() == nil {
			log.Warn("cannot keep since when schedules are as they are", "error", err)
		}
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	x.key, x.marks, x.saved = key, next, saved
}
