package backup

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/dustin/go-humanize"
)

// examineSource asks a source how it is.
func (s *Service) examineSource(ctx context.Context, source NamedSource) []Diagnosis {
	if _, err := source.Parts(ctx, source.Name); err != nil {
		return []Diagnosis{wrong(err)}
	}
	x, ok := source.Source.(Examiner)
	if !ok {
		return []Diagnosis{note("a source of the kind %s cannot be examined: the next run will show", source.Kind)}
	}
	return x.Examine(ctx, s.examining())
}

// examineHook asks a program that runs before or after the dumps how it is.
func (s *Service) examineHook(ctx context.Context, h Hook) []Diagnosis {
	x, ok := h.(Examiner)
	if !ok {
		return []Diagnosis{note("cannot be examined: the next run will show")}
	}
	return x.Examine(ctx, s.examining())
}

// examineJob looks at how the job's last runs went, and at what its settings leave out.
func (s *Service) examineJob(c *setup, j Job) []Diagnosis {
	if j.Off {
		return []Diagnosis{note("is switched off: nothing backs it up but: caddy backup run %s", shellWord(j.Name))}
	}
	runs, now := s.allRuns(), s.now()
	status := s.jobStatus(c, j, runs)
	found := []Diagnosis{lastBackup(status, now)}
	if status.Overdue() {
		found = append(found, warning("overdue since %s: caddy backup run %s", minute(status.OverdueSince), shellWord(j.Name)))
	}
	for _, o := range status.objections(runs, now) {
		switch o.standing {
		case StandingUnproven, StandingUndrilled:
			found = append(found, warning("%s: caddy backup drill %s", o.reason, shellWord(j.Name)))
		case StandingDamaged:
			found = append(found, warning("%s: caddy backup run %s", o.reason, shellWord(j.Name)))
		}
	}
	if text := j.CriesTooEarly(now); text != "" {
		found = append(found, warning("%s", text))
	}
	found = append(found, s.examineDrill(c, j)...)
	return append(found, c.advise(j, status)...)
}

func lastBackup(status JobStatus, now time.Time) Diagnosis {
	again := "caddy backup run " + shellWord(status.Name)
	switch last := status.LastRun; {
	case last == nil:
		return note("was never backed up: %s", again)
	case last.State == StateSuspect:
		return warning("the last backup %s", complaint(*last, now))
	case last.State != StateOK && last.State != StateCancelled:
		return warning("the last backup %s; put that right, then: %s", complaint(*last, now), again)
	case status.LastGood.IsZero():
		return warning("there is no good backup: %s", again)
	}
	return well("last good backup %s", ago(status.LastGood, now))
}

// advise says what a job does not have that most should.
func (c *setup) advise(j Job, status JobStatus) (found []Diagnosis) {
	switch {
	case j.Schedule.IsZero():
		found = append(found, note("runs only by hand: add to it a line such as: schedule daily 03:15"))
	case !status.NextRun.IsZero():
		found = append(found, well("next run %s", minute(status.NextRun)))
	default:
		found = append(found, well("schedule %s", j.Schedule))
	}
	if !slices.ContainsFunc(c.Notifiers, func(n NamedNotifier) bool { return slices.Contains(j.wants(n), EventFailure) }) {
		way := "add a notifier to the global backup block, and to the job: notify <its name>"
		if len(c.Notifiers) > 0 {
			way = "add to it the line: notify " + c.Notifiers[0].Name
		}
		found = append(found, note("nobody is told when it fails: %s", way))
	}
	if j.Retention == nil {
		found = append(found, note("keeps all snapshots for ever: add to it a block such as: retention { daily 14 … }"))
	}
	return found
}

// examineDrill compares the room for files with the size of the last good backup, where a drill is planned. The servers of
// databases are asked by their sources.
func (s *Service) examineDrill(c *setup, j Job) []Diagnosis {
	good := lastEnded(s.allRuns(), KindBackup, func(r Run) bool { return r.Job == j.Name && r.State == StateOK })
	if j.Drill.IsZero() || good == nil || c.DataDir == "" {
		return nil
	}
	dir := scratchRoot(c.DataDir)
	free, known := FreeSpace(dir)
	switch size := good.Progress.Bytes; {
	case !known:
		return []Diagnosis{note("how much space there is for drills, at %s, is not known", dir)}
	case free < size:
		return []Diagnosis{warning("the last backup has %s, and %s are free for drills at %s: a drill of files would only read them; make room (df -h %s)",
			humanize.IBytes(uint64(size)), humanize.IBytes(uint64(max(free, 0))), dir, dir)}
	}
	return nil
}

// CriesTooEarly says that the job's OverdueAfter is shorter than the time between two of its slots can be, so that it is
// overdue although each run is good and at its time; "" when it is not. now is where to look from.
func (j Job) CriesTooEarly(now time.Time) string {
	if j.OverdueAfter <= 0 || j.Schedule.IsZero() {
		return ""
	}
	zone := j.Zone
	if zone == nil {
		zone = time.Local
	}
	gap := j.Schedule.longestGap(now, zone) + j.Jitter
	if j.OverdueAfter > gap {
		return ""
	}
	return fmt.Sprintf("overdue_after %s is not longer than the %s that lie between two of its runs (schedule %s): it will be overdue although all is well; "+
		"write more, such as overdue_after %s, or leave it out", inHours(j.OverdueAfter), inHours(gap), j.Schedule, inHours(gap+min(overdueGrace, gap)))
}

// maxGapLook bounds how far longestGap looks ahead: over both changes of the clock, and over each day of each month.
const (
	maxGapLook  = 400 * oneDay
	maxGapSlots = 2000
)

// longestGap is the longest time between two slots that follow each other.
func (s Schedule) longestGap(from time.Time, zone *time.Location) (longest time.Duration) {
	slot := s.Next(from, zone)
	for range maxGapSlots {
		next := s.Next(slot, zone)
		if slot.IsZero() || next.IsZero() {
			break
		}
		longest = max(longest, next.Sub(slot))
		if slot = next; slot.Sub(from) > maxGapLook {
			break
		}
	}
	return longest
}

// inHours is a duration without units that are zero: 26h, not 26h0m0s.
func inHours(d time.Duration) string {
	text := d.Round(time.Second).String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return text
}
