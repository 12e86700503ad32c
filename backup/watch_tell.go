package backup

import (
	"fmt"
	"slices"
	"strings"
)

// alarm tells of what is wrong, or that it is over: people, each notifier once, and who observes.
func (s *Service) alarm(c *setup, n notice, runs []Run) {
	var note Notification
	switch {
	case n.told.Event == EventDamage:
		note = newDamageNote(c, n)
	case n.told.Event == EventMaintenance:
		note = newUpkeepNote(c, n)
	case n.event == EventRecovered:
		s.recoveredElsewhere(c, n.told, runs)
		return
	default:
		note = newOverdueNote(c, n.told, runs)
	}
	log := s.log.logger().With("job", note.Job, "repository", note.Repository, "since", note.Since)
	if n.event == EventRecovered {
		log.Info(note.Title)
	} else {
		log.Error(note.Title, "reasons", note.Reasons, "told", note.Told)
	}
	s.tell(c, note, func() { s.taken(c, n.told) })
}

// tell brings a notification that no run's end has brought about to all who want it: people, and who observes. taken, if not
// nil, is called once somebody took it, or when there is nobody to tell.
func (s *Service) tell(c *setup, note Notification, taken func()) {
	if c.Alarm != nil {
		s.observed.add(&s.telling, s.log.logger(), func() { c.Alarm(note) })
	}
	to := c.listeners(note)
	for _, name := range to {
		s.send(name, note, taken)
	}
	if len(to) == 0 && taken != nil {
		taken()
	}
}

// listeners are the notifiers that want to be told: those of the job, or of all jobs that write to the repository.
func (c *setup) listeners(n Notification) (names []string) {
	for _, to := range c.Notifiers {
		wants := func(j Job) bool { return slices.Contains(j.wants(to), n.Event) }
		if slices.ContainsFunc(c.concerned(n), wants) {
			names = append(names, to.Name)
		}
	}
	return names
}

// concerned are the jobs that a notification is about: its own, or all that write to its repository.
func (c *setup) concerned(n Notification) (jobs []Job) {
	for _, j := range c.Jobs {
		r, err := c.repository(j.To)
		if j.Name == n.Job || n.Job == "" && err == nil && r.Name == n.Repository {
			jobs = append(jobs, j)
		}
	}
	return jobs
}

// recoveredElsewhere tells that a job is not overdue any more, since another process has backed it up. A backup that was the
// first good one after a bad one has been told of as such.
func (s *Service) recoveredElsewhere(c *setup, e told, runs []Run) {
	good := goodSince(runs, e)
	if good == nil {
		return
	}
	ending := Ending{Run: *good}
	ending.weigh(runs)
	if !ending.Recovered() {
		ending.OverdueSince = e.Since
		s.notify(c, ending, EventRecovered)
	}
}

// noteOf has what is common to all notices.
func noteOf(c *setup, event Event, e told) Notification {
	return Notification{
		ID:    fmt.Sprintf("%s%s-%s-%s", event, e.Kind, safeName(e.Name), e.Last.UTC().Format("20060102t150405z")),
		Event: event, Host: c.Host, Since: e.Since, Reasons: e.Reasons, Told: e.Times,
	}
}

// is is "is OVERDUE", or "is still OVERDUE".
func (e told) is() string {
	if e.Times > 1 {
		return "is still " + e.State
	}
	return "is " + e.State
}

// newOverdueNote puts into words that a job is overdue. The run that it names is the job's last one.
func newOverdueNote(c *setup, e told, runs []Run) Notification {
	n := noteOf(c, EventOverdue, e)
	n.Job, n.Link = e.Name, c.link("jobs", e.Name)
	n.Title = fmt.Sprintf("backup of %s on %s %s", n.Job, n.Host, e.is())
	j, _ := c.job(e.Name) // it is there: it is overdue
	if r, err := c.repository(j.To); err == nil {
		n.Repository = r.Name
	}
	n.LastGood = ended(lastEnded(runs, KindBackup, func(r Run) bool { return r.Job == e.Name && r.State == StateOK }))
	of := func(r Run) bool { return r.Kind == KindBackup && r.Job == e.Name }
	if i := slices.IndexFunc(runs, of); i >= 0 {
		last := runs[i]
		n.Run, n.State, n.Error, n.Started, n.Ended = last.ID, last.State, last.Error, last.Started, last.Ended
	}
	n.Text = n.overdueText(c)
	return n
}

func (n Notification) overdueText(c *setup) string {
	b := facts{zone: c.zoneOf(n.Job)}
	b.WriteString("The " + n.Title + ".\n\n")
	b.line("Reason", strings.Join(n.Reasons, "; "))
	b.line("Job", n.Job)
	b.line("Host", n.Host)
	b.line("Repository", n.Repository)
	b.line("Since", b.at(n.Since))
	b.line("Last good", b.at(n.LastGood))
	switch {
	case n.Run == "":
		b.line("Last run", "there was none")
	case n.State.Done():
		b.line("Last run", fmt.Sprintf("%s, %s (run %s)", b.at(n.Ended), n.State, n.Run))
		b.line("It said", n.Error)
	default:
		b.line("Now", fmt.Sprintf("a run is %s since %s (run %s)", n.State, b.at(n.Started), n.Run))
	}
	b.line("See", n.Link)
	b.WriteString("\nThere should have been a good backup by then. This looks at all that a backup needs: caddy backup doctor\n" +
		"Then back up: caddy backup run " + shellWord(n.Job) + "\n")
	if n.Run == "" || n.State == StateOK {
		b.WriteString("If nothing runs at its time, look whether the server was down: caddy backup jobs\n")
	}
	return b.String()
}

// newDamageNote puts into words what is wrong with a repository, or that it is over.
func newDamageNote(c *setup, n notice) Notification {
	note := noteOf(c, n.event, n.told)
	note.Repository = n.told.Name
	is := n.told.is()
	if n.event == EventRecovered {
		is = "is as it should be again"
	}
	note.Title = fmt.Sprintf("repository %s on %s %s", note.Repository, note.Host, is)
	if c.PublicURL != "" {
		note.Link = strings.TrimSuffix(c.PublicURL, "/") + "/"
	}
	b := facts{zone: c.Zone}
	b.WriteString("The " + note.Title + ".\n\n")
	for _, reason := range note.Reasons {
		b.line(map[bool]string{true: "It was", false: "Reason"}[n.event == EventRecovered], reason)
	}
	b.line("Repository", note.Repository)
	b.line("Host", note.Host)
	b.line("Since", b.at(note.Since))
	b.line("See", note.Link)
	if n.event != EventRecovered {
		b.WriteString("\nBackups go on, and store again what they need of what is damaged. Retention and prune refuse to remove anything while\n" +
			"others have. To look at all of it: caddy backup check --read-data --repository " + shellWord(note.Repository) + "\n")
	}
	note.Text = b.String()
	return note
}
