package backup

import (
	"context"
	"fmt"
	"slices"
	"time"
)

// EventTest is the event of a notification that somebody asked for, to see whether it arrives. No job can ask to be told of it,
// and no notifier may raise an alarm for it.
const EventTest Event = "test"

const sendTest = "caddy backup doctor --send-test"

// examineNotifier looks whether a notifier would bring a notification tonight; with test it brings one, unless what was found
// says already that it cannot.
func (s *Service) examineNotifier(ctx context.Context, c *setup, n NamedNotifier, by string, test bool) (found []Diagnosis) {
	x, ok := n.Notifier.(Examiner)
	switch {
	case ok:
		found = x.Examine(ctx, s.examining())
	case !test:
		found = []Diagnosis{note("a notifier of the kind %s cannot be examined without a notification", n.Kind)}
	}
	found = append(found, s.examineCourier(n, test || Worst(found) == LevelError)...)
	if !slices.ContainsFunc(c.Jobs, func(j Job) bool { return len(j.wants(n)) > 0 }) {
		found = append(found, warning("no job tells it anything: add to jobs the line: notify %s", shellWord(n.Name)))
	}
	switch {
	case !test:
		return found
	case Worst(found) == LevelError:
		return append(found, note("no test was sent: it would not arrive"))
	}
	return append(found, s.sendTest(ctx, c, n, by))
}

// examineCourier tells what became of the notifications before. That one was taken proves more than any other look; that there was
// none is said unless that is known, or of no use.
func (s *Service) examineCourier(n NamedNotifier, known bool) (found []Diagnosis) {
	status := s.courier(n.Name).look()
	switch {
	case !status.FailingSince.IsZero():
		found = append(found, warning("it takes nothing since %s, %s waiting: %s", minute(status.FailingSince),
			plural(status.Waiting, "notification"), status.Error))
	case !status.Delivered.IsZero():
		found = append(found, well("took the last notification %s", ago(status.Delivered, s.now())))
	case !known:
		found = append(found, note("it was sent nothing since the server began; to see that something arrives: %s", sendTest))
	}
	if status.Lost > 0 {
		found = append(found, warning("%s never taken since the server began; see the log", were(status.Lost, "notification")))
	}
	return found
}

// sendTest has a notifier bring a test, in one attempt.
func (s *Service) sendTest(ctx context.Context, c *setup, n NamedNotifier, by string) Diagnosis {
	began := s.now()
	err := s.attempt(ctx, n.Notifier, newTest(c, n.Name, by, began))
	s.courier(n.Name).came(err, s.now().UTC())
	if err != nil {
		return wrong(fmt.Errorf("the test was not taken: %w", err))
	}
	return well("a test was taken in %s: see that it arrived", s.now().Sub(began).Round(time.Millisecond))
}

func newTest(c *setup, notifier, by string, now time.Time) Notification {
	n := Notification{
		ID: fmt.Sprintf("test-%s-%s", safeName(notifier), now.UTC().Format("20060102t150405.000z")), Event: EventTest, Host: c.Host,
		Title: fmt.Sprintf("test of notifier %s on %s", notifier, c.Host), Started: now.UTC(), Ended: now.UTC(),
	}
	b := facts{zone: c.Zone}
	b.WriteString("This is a " + n.Title + ". Nothing has happened, and there is nothing to do: news of backups arrive here.\n\n")
	b.line("Host", c.Host)
	b.line("Sent", b.at(now))
	b.line("Asked for by", by)
	n.Text = b.String()
	return n
}
