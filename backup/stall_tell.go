package backup

import (
	"fmt"
	"time"
)

// newStillNote puts into words that nothing has moved in a run since at.
func newStillNote(c *setup, run Run, at time.Time) Notification {
	n := Notification{
		ID:    fmt.Sprintf("%s-%s-%s", run.ID, EventStalled, at.UTC().Format("20060102t150405z")),
		Event: EventStalled, Host: c.Host, Job: run.Job, Repository: run.Repository, Run: run.ID, State: run.State,
		Started: run.Started, Since: at.UTC(), Link: c.link("runs", run.ID),
	}
	of := run.Job
	if of == "" {
		of = "repository " + run.Repository
	}
	n.Title = fmt.Sprintf("%s of %s on %s DOES NOT MOVE", run.Kind, of, n.Host)
	b := facts{zone: c.zoneOf(n.Job)}
	b.WriteString("The " + n.Title + ".\n\n")
	b.line("Job", n.Job)
	b.line("Host", n.Host)
	b.line("Repository", n.Repository)
	b.line("Run", n.Run)
	b.line("Began", b.at(n.Started))
	b.line("Since", b.at(n.Since))
	b.line("Doing", run.Step)
	b.line("See", n.Link)
	b.WriteString("\nIt is not ended, since it is in the middle of its work: a large index takes long, and nothing is seen of it. Look in the\n" +
		"database what it does, or waits for. It can be cancelled on its page, or where the command waits for it.\n")
	n.Text = b.String()
	return n
}
