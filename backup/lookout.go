package backup

import (
	"context"
	"fmt"
	"runtime/debug"
	"time"
)

// lookout keeps a member of a cluster up to date with what the others do, and writes down the end of runs whose members
// died. There is one in a process, from the first configuration that is automatic and of a cluster until the Service is
// closed.
type lookout struct {
	service *Service
	quiet   map[string]silence // runs of others that go on
}

// silence is for how many looks in a row the lease of a run was the same.
type silence struct {
	beat  time.Time
	looks int
}

// refreshEvery is after how many looks the history is listed: three a minute.
const refreshEvery = 2

// lookOut starts the lookout, if a configuration needs the first one. The caller holds s.mu.
func (s *Service) lookOut(c *setup) {
	if s.lookout != nil || !c.Cluster || !c.Automatic || s.closed {
		return
	}
	s.lookout = &lookout{service: s, quiet: map[string]silence{}}
	s.runs.Go(s.lookout.run)
}

func (l *lookout) run() {
	for n := 1; ; n++ {
		timer := l.service.newTimer(beat)
		select {
		case <-timer.C:
			l.look(n%refreshEvery == 0)
		case <-l.service.lastCall.Done():
			timer.Stop()
			return
		}
	}
}

// look looks at the runs of others that go on, and, with list, what else is new.
func (l *lookout) look(list bool) {
	s := l.service
	log := s.log.logger()
	defer func() {
		if p := recover(); p != nil {
			log.Error("panic in the lookout", "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
		}
	}()
	c, err := s.current()
	if err != nil || !c.Cluster {
		return
	}
	changed := false
	if list {
		if changed, err = s.history.refresh(s.lastCall); err != nil && s.lastCall.Err() == nil {
			log.Warn("cannot see what the other members of the cluster do", "error", err)
		}
	}
	for _, rec := range s.history.beside() {
		changed = s.history.again(s.lastCall, rec).State.Done() || changed
	}
	open := map[string]silence{}
	for _, rec := range s.history.elsewhere() {
		if rec = s.history.again(s.lastCall, rec); rec.State.Done() {
			changed = true
			continue
		}
		q := l.listen(rec)
		if q.looks >= silent && l.bury(c, rec) {
			changed = true
			continue
		}
		open[rec.ID] = q
	}
	l.quiet = open
	if changed {
		s.automatic().poke()
	}
}

// listen looks at the lease of a run. While it cannot be read, nothing is known, and counting begins anew.
func (l *lookout) listen(rec *record) silence {
	h := l.service.history
	p, err := loadPulse(l.service.lastCall, h.usedStore(), leaseKey(h.hostName(), rec.ID))
	before, known := l.quiet[rec.ID]
	switch {
	case err != nil && !isMissing(err):
		return silence{p.Beat, 0}
	case !known || !before.beat.Equal(p.Beat):
		return silence{p.Beat, 1}
	}
	return silence{p.Beat, before.looks + 1}
}

// bury writes down the end of a run whose member died, and tells of it, unless another member was faster.
func (l *lookout) bury(c *setup, rec *record) (news bool) {
	s, h := l.service, l.service.history
	var died bool
	err := s.exclusively(s.lastCall, c, "end-"+rec.ID, func() error {
		ctx, cancel := context.WithTimeout(s.lastCall, storeTimeout)
		defer cancel()
		last, err := loadRecord(ctx, h.usedStore(), rec.key)
		if err != nil {
			return err
		}
		if !last.State.Done() {
			died = h.interrupt(h.usedStore(), last, fmt.Sprintf("the member %s that ran it is gone: it crashed, was killed, or cannot reach Caddy's storage any more", last.Member))
		}
		h.put(last)
		return nil
	})
	if err != nil {
		s.log.logger().Warn("cannot write down that a run of another member died", "run", rec.ID, "error", err)
		return false
	}
	if died {
		s.log.logger().Warn("a member of the cluster died during a run", "run", rec.ID, "member", rec.Member)
		if run, known := h.get(s.lastCall, rec.ID); known {
			s.ended(c, run)
		}
	}
	return true
}
