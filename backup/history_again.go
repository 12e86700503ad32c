package backup

import (
	"context"
	"fmt"
	"time"
)

const (
	// rereadSoon and rereadLate are how long it takes at first and at last until a history that could not be read is read again.
	rereadSoon = 5 * time.Second
	rereadLate = time.Minute
	// unreadPatience is how long schedules wait for a history that cannot be read: without it what was done would be done again,
	// and jobs would be taken for overdue. After that a backup too many is better than none.
	unreadPatience = 10 * time.Minute
)

// readAgain has the history read in the background until that works. The caller holds s.mu.
func (s *Service) readAgain() {
	if s.reading || s.closed {
		return
	}
	s.reading = true
	s.runs.Go(func() {
		wait := rereadSoon
		for s.history.unread() != nil && s.slept(wait, nil) {
			s.reread()
			wait = min(2*wait, rereadLate)
		}
		s.mu.Lock()
		s.reading = false
		s.mu.Unlock()
		s.automatic().poke()
	})
}

// slept waits; false when over, which may be nil, or the Service was closed meanwhile.
func (s *Service) slept(d time.Duration, over <-chan struct{}) bool {
	timer := s.newTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-over:
		return false
	case <-s.lastCall.Done():
		return false
	}
}

// reread reads the history once more.
func (s *Service) reread() {
	s.mu.Lock()
	c, journal := s.lastSetup, s.journal
	s.mu.Unlock()
	ctx, cancel := context.WithTimeout(s.lastCall, attachTimeout)
	defer cancel()
	died, err := s.history.load(ctx, c.Store, c.Host, c.home, journal)
	if err != nil {
		s.log.logger().Error("still cannot read the history of runs", "error", err)
	} else {
		s.log.logger().Info("the history of runs has been read")
	}
	for _, run := range died {
		s.ended(c, run)
	}
}

// unreadReason says in health that the history is not known.
func unreadReason(err error) string {
	return fmt.Sprintf("the history of runs cannot be read from Caddy's storage, so it is not known how the backups are; it is tried again "+
		"every minute: %v", err)
}
