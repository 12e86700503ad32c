package backup

import (
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync"
	"time"
)

// Ending is a run that ended, and how its job was before it.
type Ending struct {
	Run      Run       // without its log; its Output is for those only who asked for it
	BadSince time.Time // of a backup: when the first of the bad ones ended that came after the last good one; zero if there is none
	Bad      int       // how many they are, this one included
	LastGood time.Time // of a backup: when the last good one ended, this one included; zero if there is none

	// Of a good backup: since when its job was overdue until now, if people were told so; else zero.
	OverdueSince time.Time
}

// Recovered reports whether this is the first good backup after a bad one, or ended that the job was overdue.
func (e Ending) Recovered() bool {
	return e.Run.State == StateOK && (!e.BadSince.IsZero() || !e.OverdueSince.IsZero())
}

// ended tells of a run that ended: it is in the history already, and nothing that happens here changes it or keeps it
// waiting. c is what it was started with, for the time in which no configuration is attached.
func (s *Service) ended(c *setup, run Run) {
	run.Log = nil
	s.told.add(&s.telling, s.log.logger(), func() {
		now := s.listening(c)
		e := Ending{Run: run}
		if run.Kind == KindBackup {
			e.weigh(s.allRuns())
			if run.State == StateOK {
				e.OverdueSince = s.settle(now, run.Job)
			}
		}
		s.notify(now, e, e.events()...)
		if now.Observe != nil {
			// In a line of its own: what others do there may hang.
			s.observed.add(&s.telling, s.log.logger(), func() { now.Observe(e) })
		}
	})
}

// begun tells who wants it that a backup has begun.
func (s *Service) begun(c *setup, run Run) {
	s.told.add(&s.telling, s.log.logger(), func() { s.notify(s.listening(c), Ending{Run: run}, EventStart) })
}

// weigh looks at the backups of the job that ended before, in runs from new to old. What a person cancelled says nothing.
func (e *Ending) weigh(runs []Run) {
	if e.Run.State == StateOK {
		e.LastGood = e.Run.Ended
	} else if e.Run.State != StateCancelled {
		e.BadSince, e.Bad = e.Run.Ended, 1
	}
	for _, r := range runs {
		earlier := r.ID != e.Run.ID && !r.Created.After(e.Run.Created)
		if !earlier || r.Kind != KindBackup || r.Job != e.Run.Job || !r.State.Done() || r.State == StateCancelled {
			continue
		}
		if r.State == StateOK {
			if e.LastGood.IsZero() {
				e.LastGood = r.Ended
			}
			return
		}
		e.BadSince = r.Ended
		e.Bad++
	}
}

// listening is the configuration that hears of what happens: the current one, else the one given.
func (s *Service) listening(c *setup) *setup {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.stack) > 0 {
		return s.stack[len(s.stack)-1]
	}
	return c
}

// line has things done one after another, by a goroutine that lives while there are any: a Service without work has no
// goroutine.
type line struct {
	mu      sync.Mutex
	waiting []func()
	busy    bool
}

// add puts f at the end of the line and returns at once. all counts the goroutine.
func (l *line) add(all *sync.WaitGroup, log *slog.Logger, f func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.waiting = append(l.waiting, f)
	if !l.busy {
		l.busy = true
		all.Go(func() { l.work(log) })
	}
}

func (l *line) work(log *slog.Logger) {
	for {
		l.mu.Lock()
		if len(l.waiting) == 0 {
			l.busy = false
			l.mu.Unlock()
			return
		}
		next := l.waiting[0]
		l.waiting = l.waiting[1:]
		l.mu.Unlock()
		survive(log, next)
	}
}

// survive does f, and logs its panic: one guest must not silence all the others.
func survive(log *slog.Logger, f func()) {
	defer func() {
		if p := recover(); p != nil {
			log.Error("panic", "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
		}
	}()
	f()
}
