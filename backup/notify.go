package backup

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"
)

// Event is something about a job that people want to be told.
type Event string

// The events of a job's backups: a run has one at its end. Overdue, damage and maintenance_failed come
// from the watch, and again while they last.
const (
	EventStart       Event = "start"
	EventSuccess     Event = "success"
	EventFailure     Event = "failure" // failed, or interrupted
	EventSuspect     Event = "suspect"
	EventOverdue     Event = "overdue"            // no good backup for longer than there may be
	EventRecovered   Event = "recovered"          // a success after a bad one, or after overdue; or the end of damage
	EventDrill       Event = "drill_failed"       // the newest good snapshot was tried out, and would not come back as it was
	EventStalled     Event = "stalled"            // nothing moves in a restore, or a drill, that is not ended for that
	EventDamage      Event = "damage"             // of the repository that the job writes to: what a check or the watch found
	EventMaintenance Event = "maintenance_failed" // what a schedule or retention asked for beside backups could not be done: check, prune, forget
)

// Events are all events.
var Events = []Event{EventStart, EventSuccess, EventFailure, EventSuspect, EventOverdue, EventRecovered, EventDrill, EventStalled, EventDamage, EventMaintenance}

// DefaultEvents are those that a job without a word on it tells.
var DefaultEvents = []Event{EventFailure, EventSuspect, EventOverdue, EventRecovered, EventDrill, EventStalled, EventDamage, EventMaintenance}

// Notifier brings notifications to people. Its methods may be called at once.
type Notifier interface {
	// Deliver hands over one notification, in one attempt: nil only when the other side took it. It ends soon after ctx is
	// done. An error is tried again later, a few times; its text is shown and logged, so it holds no secret.
	Deliver(ctx context.Context, n Notification) error
}

// EventChooser is a Notifier that by default wants other events than DefaultEvents.
type EventChooser interface {
	Notifier
	Events() []Event
}

// NamedNotifier is a notifier under the name that the user gave it.
type NamedNotifier struct {
	Name string
	Kind string // "email", "webhook" …
	Notifier
}

// Subscription has notifiers told of events of a job.
type Subscription struct {
	Notifiers []string `json:"notifiers"`
	On        []Event  `json:"on,omitempty"` // default: what the notifier chooses, else DefaultEvents
	// Output has them told, too, what a program said last that failed. That may be anything, rows and passwords included.
	Output bool `json:"output,omitempty"`
}

// Notification is one event, in words and in facts. Times are UTC, but for those in the text.
type Notification struct {
	ID         string    `json:"id"` // of this one, the same in all attempts to deliver it
	Event      Event     `json:"event"`
	Title      string    `json:"title"` // one line
	Text       string    `json:"text"`  // what happened, since when, and what to do; several lines
	Host       string    `json:"host"`
	Job        string    `json:"job"` // empty: it is about the repository
	Repository string    `json:"repository"`
	Run        string    `json:"run"`   // empty: no run has brought it about
	State      State     `json:"state"` // of the run
	Error      string    `json:"error,omitempty"`
	Output     string    `json:"output,omitempty"` // what the program said last, if the job says that it is told
	Started    time.Time `json:"started,omitzero"`
	Ended      time.Time `json:"ended,omitzero"`
	BadSince   time.Time `json:"bad_since,omitzero"` // see Ending
	Bad        int       `json:"bad_runs,omitempty"`
	LastGood   time.Time `json:"last_good,omitzero"`
	Since      time.Time `json:"since,omitzero"`    // since when a job is, or was, overdue, or a repository damaged
	Reasons    []string  `json:"reasons,omitempty"` // of overdue and damage, in words
	Told       int       `json:"told,omitempty"`    // of overdue and damage: how often, this time included
	Snapshot   string    `json:"snapshot,omitempty"`
	Read       int64     `json:"bytes_read"`
	New        int64     `json:"bytes_new"`
	Stored     int64     `json:"bytes_stored"`
	Link       string    `json:"link,omitempty"` // to the run's page, when the public address is known

	Queued time.Time `json:"-"` // when it was put on its way: it may have waited for days, over a restart

	// For a Mailer, filled in before each attempt from what is configured then.
	MailTo []string `json:"-"` // further addresses
	Dump   *Dump    `json:"-"` // what the snapshot holds; nil when there is none

	said     bool   // a program did say something
	accepted string // who said that it is as it should be
	kind     Kind   // of the run
}

// events of an ending, the one that says most first: whoever wants several of them is told of the first only.
func (e Ending) events() []Event {
	switch {
	case e.Run.Kind == KindDrill && e.Run.State == StateFailed:
		return []Event{EventDrill}
	case e.Run.Kind == KindAfter && e.Run.State == StateFailed:
		return []Event{EventFailure}
	case e.Run.Kind != KindBackup:
		return nil
	case e.Recovered():
		return []Event{EventRecovered, EventSuccess}
	case e.Run.State == StateOK:
		return []Event{EventSuccess}
	case e.Run.State == StateSuspect:
		return []Event{EventSuspect}
	case e.Run.State == StateFailed, e.Run.State == StateInterrupted:
		return []Event{EventFailure}
	}
	return nil // what a person cancelled, that person knows of
}

// notify sends one notification of what happened to each notifier of the job that wants it.
func (s *Service) notify(c *setup, e Ending, events ...Event) {
	j, err := c.job(e.Run.Job)
	if err != nil || len(events) == 0 { // the job was taken out meanwhile
		return
	}
	for _, n := range c.Notifiers {
		wanted := j.wants(n)
		if i := slices.IndexFunc(events, func(event Event) bool { return slices.Contains(wanted, event) }); i >= 0 {
			s.send(n.Name, newNotification(c, e, events[i], j.outputFor(n, events[i], e.Run)), nil)
		}
	}
}

// wants is what a job tells a notifier.
func (j Job) wants(n NamedNotifier) (events []Event) {
	for _, sub := range j.Notify {
		switch chooser, chooses := n.Notifier.(EventChooser); {
		case !slices.Contains(sub.Notifiers, n.Name):
		case len(sub.On) > 0:
			events = append(events, sub.On...)
		case chooses:
			events = append(events, chooser.Events()...)
		default:
			events = append(events, DefaultEvents...)
		}
	}
	return events
}

// checkNotifiers refuses notifiers that cannot be told apart, and jobs that name others.
func (s *setup) checkNotifiers() error {
	names := map[string]bool{}
	for _, n := range s.Notifiers {
		if err := checkName("notifier", n.Name); err != nil {
			return err
		}
		if names[n.Name] {
			return fmt.Errorf("%w: two notifiers are named %q", ErrInvalid, n.Name)
		}
		if names[n.Name] = true; n.Notifier == nil {
			return fmt.Errorf("%w: notifier %q can do nothing", ErrInvalid, n.Name)
		}
	}
	for _, j := range s.Jobs {
		for _, sub := range j.Notify {
			for _, name := range sub.Notifiers {
				if !names[name] {
					return fmt.Errorf("%w: job %q: there is no notifier %q; %s", ErrInvalid, j.Name, name, meant(name, "notifiers", slices.Sorted(maps.Keys(names))))
				}
			}
			for _, event := range sub.On {
				if !slices.Contains(Events, event) {
					return fmt.Errorf("%w: job %q: there is no event %q to be told of", ErrInvalid, j.Name, event)
				}
			}
		}
	}
	return nil
}
