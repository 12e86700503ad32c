package backup

import (
	"fmt"
	"slices"
	"time"

	"github.com/caddy-backup/caddy-backup/repo"
)

// upkeep is what a schedule, or the retention behind a backup, asks for beside backups: nobody waits for its end, so that it
// cannot be done must show by itself. Drills have an event of their own.
type upkeep struct {
	kind       Kind
	job        string // of a forget
	repository string // of all
}

// upkeeps are those of the configuration.
func (c *setup) upkeeps() (all []upkeep) {
	for _, j := range c.Jobs {
		if r, err := c.repository(j.To); err == nil && !j.Off && j.Retention != nil {
			all = append(all, upkeep{KindForget, j.Name, r.Name})
		}
	}
	for _, r := range c.Repositories {
		if !r.Check.Schedule.IsZero() {
			all = append(all, upkeep{KindCheck, "", r.Name})
		}
		if !r.Prune.Schedule.IsZero() || r.Prune.AfterForget {
			all = append(all, upkeep{KindPrune, "", r.Name})
		}
	}
	return all
}

// name is of what it is: of the job, or of the repository.
func (u upkeep) name() string {
	if u.job != "" {
		return u.job
	}
	return u.repository
}

// is reports whether a run is of this.
func (u upkeep) is(r Run) bool {
	return r.Kind == u.kind && r.Repository == u.repository && (u.job == "" || r.Job == u.job) && !r.DryRun && r.State.Done()
}

// neglect is upkeep that could not be done.
type neglect struct {
	upkeep
	last  Run       // the newest that failed
	since time.Time // when the first one ended that failed, since the last that went well
}

// neglects lists what could not be done by itself and was not done since, in runs from new to old. What a person asked for and
// failed says nothing: that person knows. A check that found something could be done.
func neglects(c *setup, runs []Run) (all []neglect) {
	for _, u := range c.upkeeps() {
		n := neglect{upkeep: u}
		for _, r := range runs {
			if !u.is(r) {
				continue
			}
			if r.State == StateOK || u.kind == KindCheck && r.foundErrors() {
				break
			}
			if r.State == StateFailed && (r.Follows || !r.Scheduled.IsZero()) && !(r.Code == codeOf(repo.ErrNoRepository) && neverMade(runs, u.repository)) {
				if n.last.ID == "" {
					n.last = r
				}
				n.since = r.Ended
			}
		}
		if n.last.ID != "" {
			all = append(all, n)
		}
	}
	return all
}

// neverMade reports whether nothing was ever stored in a repository, as far as the history goes: then it need not be there.
func neverMade(runs []Run, repository string) bool {
	return !slices.ContainsFunc(runs, func(r Run) bool {
		return r.Repository == repository && r.State == StateOK && (r.Kind == KindBackup || r.Kind == KindCheck)
	})
}

// reason says it in health.
func (n neglect) reason(now time.Time) string {
	if n.job != "" {
		return fmt.Sprintf("job %s: its retention %s", n.job, complaint(n.last, now))
	}
	return fmt.Sprintf("repository %s: the last %s %s", n.repository, n.kind, complaint(n.last, now))
}

// trouble is what people are told of it.
func (n neglect) trouble(zone *time.Location) trouble {
	reason := fmt.Sprintf("the %s of %s: %s", n.kind, n.last.Ended.In(zone).Format("2006-01-02 15:04 MST"), n.last.Error)
	return trouble{event: EventMaintenance, kind: n.kind, name: n.name(), state: "FAILING", since: n.since, reasons: []string{reason}}
}

// undone lists the troubles with upkeep. What a damage keeps from being done is told with that.
func undone(c *setup, runs []Run, damaged []trouble) (all []trouble) {
	for _, n := range neglects(c, runs) {
		because := n.kind != KindCheck && slices.ContainsFunc(damaged, func(t trouble) bool { return t.name == n.repository })
		if !because {
			all = append(all, n.trouble(c.zoneOf(n.job)))
		}
	}
	return all
}

// doneAgain reports whether upkeep that could not be done was done since.
func (c *setup) doneAgain(e told, runs []Run) bool {
	for _, u := range c.upkeeps() {
		if u.kind == e.Kind && u.name() == e.Name {
			return slices.ContainsFunc(runs, func(r Run) bool { return u.is(r) && r.State == StateOK && r.Ended.After(e.Since) })
		}
	}
	return false
}

// newUpkeepNote puts into words that something cannot be done by itself, or that it can again.
func newUpkeepNote(c *setup, n notice) Notification {
	note := noteOf(c, n.event, n.told)
	of := "repository " + n.told.Name
	if note.Repository = n.told.Name; n.told.Kind == KindForget {
		of, note.Job, note.Repository = n.told.Name, n.told.Name, ""
		if j, err := c.job(note.Job); err == nil {
			r, _ := c.repository(j.To) // checked when it was attached
			note.Repository = r.Name
		}
	}
	is := n.told.is()
	if n.event == EventRecovered {
		is = "works again"
	}
	note.Title = fmt.Sprintf("%s of %s on %s %s", n.told.Kind, of, note.Host, is)
	b := facts{zone: c.zoneOf(note.Job)}
	b.WriteString("The " + note.Title + ".\n\n")
	for _, reason := range note.Reasons {
		b.line(map[bool]string{true: "It was", false: "Reason"}[n.event == EventRecovered], reason)
	}
	b.line("Job", note.Job)
	b.line("Repository", note.Repository)
	b.line("Host", note.Host)
	b.line("Since", b.at(note.Since))
	if n.event != EventRecovered {
		b.WriteString("\n" + upkeepAdvice(n.told.Kind, note) + "\n")
	}
	note.Text = b.String()
	return note
}

func upkeepAdvice(kind Kind, n Notification) string {
	switch kind {
	case KindForget:
		return "Old snapshots stay until it works; no good one is lost. Put right what the reason says. What would go:\ncaddy backup forget " +
			shellWord(n.Job) + " --dry-run"
	case KindPrune:
		return "What was removed keeps its space until it works. Put right what the reason says, then:\ncaddy backup prune --repository " +
			shellWord(n.Repository)
	}
	return "Whether the backups can be read is not looked at meanwhile. Put right what the reason says, then:\ncaddy backup check --repository " +
		shellWord(n.Repository)
}
