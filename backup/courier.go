package backup

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// retryAfter is how long a notification that was not taken waits before each further attempt.
var retryAfter = []time.Duration{5 * time.Second, 30 * time.Second, 2 * time.Minute, 10 * time.Minute, 30 * time.Minute, time.Hour}

const (
	// AttemptTime is how long one delivery may take, unless a Mailer says otherwise.
	AttemptTime = 30 * time.Second

	attemptLate = time.Second // that a notifier may be later than that
	mostWaiting = 100         // notifications for one notifier
)

// NotifierStatus is a notifier as a list shows it.
type NotifierStatus struct {
	Name         string    `json:"name"`
	Kind         string    `json:"kind"`
	Jobs         []string  `json:"jobs"`                   // that tell it something
	Delivered    time.Time `json:"delivered,omitzero"`     // when it took the last notification, since the server began
	FailingSince time.Time `json:"failing_since,omitzero"` // zero when the last attempt went well
	Error        string    `json:"error,omitempty"`        // of the last attempt
	Next         time.Time `json:"next_attempt,omitzero"`  // when it is tried again, unless a reload comes first; zero: nothing waits for that
	Waiting      int       `json:"waiting"`                // notifications that it has not taken yet
	Lost         int       `json:"lost"`                   // that it never took
}

// Notifiers lists the notifiers in the order of the configuration.
func (s *Service) Notifiers(ctx context.Context) ([]NotifierStatus, error) {
	c, err := s.current()
	if err != nil {
		return nil, err
	}
	all := make([]NotifierStatus, len(c.Notifiers))
	for i, n := range c.Notifiers {
		all[i] = s.courier(n.Name).look()
		all[i].Name, all[i].Kind, all[i].Jobs = n.Name, n.Kind, []string{}
		for _, j := range c.Jobs {
			if len(j.wants(n)) > 0 {
				all[i].Jobs = append(all[i].Jobs, j.Name)
			}
		}
	}
	return all, nil
}

// courier carries the notifications for one notifier, one after another, so that they arrive in order. It outlives
// configurations, as runs do.
type courier struct {
	line line

	mu     sync.Mutex
	status NotifierStatus
}

func (c *courier) look() NotifierStatus {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.status
}

func (c *courier) note(f func(*NotifierStatus)) NotifierStatus {
	c.mu.Lock()
	defer c.mu.Unlock()
	f(&c.status)
	return c.status
}

// came notes how an attempt ended.
func (c *courier) came(err error, at time.Time) {
	c.note(func(x *NotifierStatus) {
		switch {
		case err == nil:
			x.Delivered, x.FailingSince, x.Error = at, time.Time{}, ""
		case x.FailingSince.IsZero():
			x.FailingSince = at
			fallthrough
		default:
			x.Error = err.Error()
		}
	})
}

func (s *Service) courier(name string) *courier {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.couriers[name]
	if c == nil {
		c = new(courier)
		s.couriers[name] = c
	}
	return c
}

// send puts a notification on its way and returns at once. taken, if not nil, is called once it was taken: then the caller
// tells it again, should this process end before; else it is kept for the next.
func (s *Service) send(name string, n Notification, taken func()) {
	path := ""
	n.Queued = s.now().UTC()
	if taken == nil && s.courier(name).look().Waiting < mostWaiting {
		path = s.keepLetter(name, n)
	}
	s.carry(name, n, path, taken)
}

// carry is send for a notification that is kept at path, if that is not empty.
func (s *Service) carry(name string, n Notification, path string, taken func()) {
	c := s.courier(name)
	if c.look().Waiting >= mostWaiting {
		c.note(func(x *NotifierStatus) { x.Lost++ })
		s.burn(path)
		s.log.logger().Error("notification dropped: too many wait already", "notifier", name, "event", n.Event, "job", n.Job, "run", n.Run)
		return
	}
	c.note(func(x *NotifierStatus) { x.Waiting++ })
	c.line.add(&s.telling, s.log.logger(), func() {
		ok := s.deliver(name, c, n)
		kept := !ok && path != "" && s.lastCall.Err() != nil
		c.note(func(x *NotifierStatus) {
			if x.Waiting--; !ok && !kept {
				x.Lost++
			}
		})
		if !kept {
			s.burn(path)
		}
		if ok && taken != nil {
			taken()
		}
	})
}

// deliver tries until the notification is taken, or given up. Each attempt uses the notifier that is configured by then: a
// reload mends an address, and is followed by an attempt of its own. When the Service is closed, what waits has one attempt more.
func (s *Service) deliver(name string, c *courier, n Notification) (taken bool) {
	log := s.log.logger().With("notifier", name, "event", n.Event, "job", n.Job, "run", n.Run)
	for try := 0; ; try++ {
		closing := s.lastCall.Err() != nil
		to, mailed := s.notifier(name, n)
		if to == nil {
			log.Warn("notification dropped: its notifier is gone from the configuration")
			return false
		}
		err := s.attempt(s.delivery, to, mailed)
		c.came(err, s.now().UTC())
		if err == nil {
			log.Info("notification delivered")
			return true
		}
		if n.Event == EventStart { // one that comes late is wrong, and nobody misses it
			log.Warn("notification of a start not taken", "error", err)
			return true
		}
		if closing || try >= len(retryAfter) {
			log.Error("notification not taken, and not tried again by this process", "attempts", try+1, "error", err)
			return false
		}
		log.Warn("notification not taken; it is tried again", "wait", retryAfter[try], "error", err)
		if reloaded := s.pause(c, retryAfter[try]); reloaded {
			try--
		}
	}
}

// notifier is the one of this name that is configured now; with it comes the notification as a Mailer needs it now.
func (s *Service) notifier(name string, n Notification) (Notifier, Notification) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.lastSetup == nil {
		return nil, n
	}
	for _, x := range s.lastSetup.Notifiers {
		if x.Name == name {
			return x.Notifier, s.forMail(s.lastSetup, n)
		}
	}
	return nil, n
}

// attempt is one delivery. A notifier that panics, or does not end, costs nobody else anything.
func (s *Service) attempt(ctx context.Context, to Notifier, n Notification) error {
	patience := AttemptTime
	if m, mails := to.(Mailer); mails {
		patience = m.AttemptTime(n)
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	result := make(chan error, 1)
	go func() {
		err := errors.New("its goroutine ended")
		defer func() { result <- err }()
		defer recoverInto(&err, s.log.logger())
		err = to.Deliver(ctx, n)
	}()
	select {
	case err := <-result:
		return err
	case <-ctx.Done():
	}
	late := time.NewTimer(attemptLate)
	defer late.Stop()
	select {
	case err := <-result:
		return err
	case <-late.C:
		return fmt.Errorf("no answer in time: %w", ctx.Err())
	}
}

// pause waits until the next attempt: for d, or until the configuration is another, or the Service is closed.
func (s *Service) pause(c *courier, d time.Duration) (reloaded bool) {
	s.mu.Lock()
	reload := s.reload
	s.mu.Unlock()
	c.note(func(x *NotifierStatus) { x.Next = s.now().Add(d).UTC() })
	defer c.note(func(x *NotifierStatus) { x.Next = time.Time{} })
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-reload:
		return true
	case <-s.lastCall.Done():
	}
	return false
}
