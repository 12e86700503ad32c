package backup

import (
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/dustin/go-humanize"
)

// newNotification puts an event into words: which job, what happened, since when, and what to do. output is what may be told
// of what the program said.
func newNotification(c *setup, e Ending, event Event, output string) Notification {
	r := e.Run
	n := Notification{
		ID: r.ID + "-" + string(event), Event: event, Host: c.Host, Job: r.Job, Repository: r.Repository, Run: r.ID, State: r.State, Error: r.Error,
		Started: r.Started, Ended: r.Ended, Bad: e.Bad, Snapshot: r.Snapshot,
		Read: r.Progress.Bytes, New: r.Progress.New, Stored: r.Progress.Stored,
	}
	n.BadSince, n.LastGood, n.Since = e.BadSince, e.LastGood, e.OverdueSince
	n.Output, n.said, n.kind, n.accepted = output, r.Output != "", r.Kind, r.AcceptedBy
	n.Link = c.link("runs", r.ID)
	n.say(c.zoneOf(n.Job))
	return n
}

// say puts a notification into words, with the times in a zone.
func (n *Notification) say(zone *time.Location) {
	n.Title = title(*n, zone)
	n.Text = n.text(zone)
}

// link is the address of a page; empty when the public address is not known.
func (c *setup) link(page, name string) string {
	if c.PublicURL == "" {
		return ""
	}
	return strings.TrimSuffix(c.PublicURL, "/") + "/" + page + "/" + url.PathEscape(name)
}

func title(n Notification, zone *time.Location) string {
	if n.Event == EventDrill {
		return fmt.Sprintf("drill of %s on %s FAILED", n.Job, n.Host)
	}
	if n.kind == KindAfter {
		return fmt.Sprintf("after program of %s on %s FAILED", n.Job, n.Host)
	}
	what := fmt.Sprintf("backup of %s on %s ", n.Job, n.Host)
	switch n.Event {
	case EventStart:
		return what + "has begun"
	case EventSuccess:
		return what + "is done"
	case EventRecovered:
		return what + "works again"
	case EventSuspect:
		return what + "is suspect"
	case EventMail:
		return what + "of " + n.Started.In(zone).Format("2006-01-02 15:04 MST")
	}
	if n.State == StateInterrupted {
		return what + "was interrupted"
	}
	return what + "FAILED"
}

// text has one fact a line, and at its end what to do.
func (n Notification) text(zone *time.Location) string {
	b := facts{zone: zone}
	line, at := b.line, b.at
	b.WriteString("The " + n.Title + ".\n\n")
	line("Reason", n.Error)
	line("Job", n.Job)
	line("Host", n.Host)
	line("Repository", n.Repository)
	line("Run", n.Run)
	line("Began", at(n.Started))
	line("Ended", at(n.Ended))
	line("Accepted by", n.accepted)
	if n.Event == EventRecovered {
		line("Was overdue", at(n.Since))
	}
	if n.Bad > 1 || n.Bad > 0 && n.Event == EventRecovered {
		line("Bad since", fmt.Sprintf("%s, %s", at(n.BadSince), plural(n.Bad, "backup")))
	}
	if n.Bad > 0 && n.Event != EventRecovered {
		if line("Last good", at(n.LastGood)); n.LastGood.IsZero() {
			line("Last good", "there is none")
		}
	}
	if n.Snapshot != "" {
		line("Snapshot", n.Snapshot[:min(8, len(n.Snapshot))])
	}
	if n.Snapshot != "" && n.Event != EventDrill {
		line("Size", fmt.Sprintf("%s read, %s new", humanize.IBytes(uint64(n.Read)), humanize.IBytes(uint64(n.New))))
	}
	if n.said && n.Output == "" {
		line("Output", "what the program said is kept with the run, and in the server's log")
	}
	line("See", n.Link)
	if n.Output != "" {
		b.WriteString("\nWhat the program said last:\n\n" + indented(n.Output))
	}
	if advice := n.advice(); advice != "" {
		b.WriteString("\n" + advice + "\n")
	}
	return b.String()
}

// facts is text with one fact a line.
type facts struct {
	strings.Builder
	zone *time.Location
}

func (f *facts) line(name, value string) {
	if value != "" {
		fmt.Fprintf(f, "%-12s %s\n", name+":", value)
	}
}

func (f *facts) at(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.In(f.zone).Format("2006-01-02 15:04:05 MST")
}

// advice says what to do.
func (n Notification) advice() string {
	again := fmt.Sprintf("Then back up again: caddy backup run %s", n.Job)
	switch {
	case n.Event == EventDrill:
		return "A backup that does not come back is none. Put right what the reason says, or make another, and try that out:\n" +
			"caddy backup run " + n.Job + " && caddy backup drill " + n.Job
	case n.kind == KindAfter:
		return "Look whether what was paused for the backup goes on again. The backup itself was interrupted, and is made again by its schedule."
	case n.Event == EventSuspect:
		return "The snapshot was made, but the reason says what raises doubt about it. If less is in it than in the last good one, look\n" +
			"whether the source is whole: is a disk not mounted, is it the right database?\n" +
			again + "\nIf all is as it should be: caddy backup accept " + n.Snapshot[:min(8, len(n.Snapshot))] + " --repository " + shellWord(n.Repository)
	case n.Event == EventFailure && n.State == StateInterrupted:
		return "No snapshot was made. The next backup stores what is missing, or at once: caddy backup run " + n.Job
	case n.Event == EventFailure:
		return "No snapshot was made; the earlier ones are untouched. Put right what the reason says; this looks at all that a\n" +
			"backup needs: caddy backup doctor\n" + again
	}
	return ""
}
