package backup

import (
	"fmt"
	"time"
)

// Standing is how the backups of a job stand, in one word. Only ok is green: the last backup is good, and nothing since then speaks
// against it.
type Standing string

// The standings, the worst first.
const (
	StandingBroken      Standing = "broken"      // the job cannot be loaded: its runs fail
	StandingUnknown     Standing = "unknown"     // the history of runs cannot be read
	StandingNever       Standing = "never"       // there is no backup yet
	StandingFound       Standing = "found"       // nor did we make one; snapshots of another installation, or of before a loss, are there
	StandingFailed      Standing = "failed"      // the last backup failed,
	StandingSuspect     Standing = "suspect"     // or was made, but looks as if its source was not there,
	StandingInterrupted Standing = "interrupted" // or ended with the server
	StandingDamaged     Standing = "damaged"     // of what the last backup counts on something is lost, or was found damaged
	StandingUnproven    Standing = "unproven"    // the last drill failed: a backup did not come back
	StandingOverdue     Standing = "overdue"     // there should have been another good backup,
	StandingUndrilled   Standing = "undrilled"   // or another good drill
	StandingCancelled   Standing = "cancelled"   // the last backup was given up by a person; the one before is good
	StandingOK          Standing = "ok"
)

// objection is what speaks against relying on the backups of a job.
type objection struct {
	standing Standing
	reason   string // "the last backup failed 3h ago: …"
}

// objections lists them, the worst first, from what is known of a job and from runs, newest first. What is not about the backups
// themselves, as retention that fails, is none.
func (j JobStatus) objections(runs []Run, now time.Time) (all []objection) {
	object := func(to Standing, reason string, args ...any) {
		all = append(all, objection{to, fmt.Sprintf(reason, args...)})
	}
	for _, reason := range unloadable(j.Broken) {
		object(StandingBroken, "%s", reason)
	}
	last := lastEnded(runs, KindBackup, func(r Run) bool { return r.Job == j.Name })
	switch {
	case last == nil && j.Found != nil:
		object(StandingFound, "no backup by this installation yet; the last good snapshot that was found in repository %s is of %s, and was not seen made here",
			j.Repository, minute(j.Found.Time))
	case last == nil:
		object(StandingNever, "no backup yet")
	case last.State != StateOK:
		object(Standing(last.State), "the last backup %s", complaint(*last, now))
	case noneLeft(runs, *last):
		object(StandingDamaged, "there is no snapshot of it in repository %s any more", last.Repository)
	case spoilt(runs)[last.Snapshot]:
		object(StandingDamaged, "some of what its last backup stored is lost since then")
	case foundDamaged(runs, *last):
		object(StandingDamaged, "its last backup was made before damage was found in repository %s", last.Repository)
	}
	if run := j.Drill.Failed; run != nil {
		object(StandingUnproven, "the last drill %s", complaint(*run, now))
	}
	if j.Overdue() && last != nil {
		object(StandingOverdue, "overdue since %s: %s", minute(j.OverdueSince), lastGoodWas(j.LastGood, now))
	}
	if since := j.Drill.OverdueSince; !since.IsZero() && j.Drill.Failed == nil {
		object(StandingUndrilled, "its drill is overdue since %s: %s", minute(since), lastDrillWas(j.Drill.LastGood, now))
	}
	return all
}

// judge says how the backups stand, and why.
func (j *JobStatus) judge(all []objection) {
	j.Standing = j.stand(all)
	for _, o := range all {
		j.Reasons = append(j.Reasons, o.reason)
	}
}

// stand is the word for all objections.
func (j JobStatus) stand(all []objection) Standing {
	switch {
	case len(all) > 0:
		return all[0].standing
	case j.LastRun != nil && j.LastRun.State == StateCancelled:
		return StandingCancelled
	}
	return StandingOK
}

// foundDamaged reports whether a check found damage in the repository that a backup may count on. One that began later does not:
// it stored again what it needed of that.
func foundDamaged(runs []Run, backup Run) bool {
	check := verdict(runs, backup.Repository)
	return check != nil && check.State == StateFailed && check.Ended.After(backup.Started)
}

// noneLeft reports whether a run that looked after a backup left no snapshot of its job in the repository: they were deleted, or it is
// another repository, and that was accepted.
func noneLeft(runs []Run, backup Run) bool {
	for _, r := range runs {
		if r.Seen != nil && r.Repository == backup.Repository && r.Started.After(backup.Ended) {
			return r.Seen.Jobs[backup.Job] == 0
		}
	}
	return false
}

func lastDrillWas(at, now time.Time) string {
	if at.IsZero() {
		return "its backups were never tried out"
	}
	return "its backups were tried out last " + ago(at, now)
}
