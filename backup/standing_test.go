package backup

import (
	"slices"
	"testing"
	"time"
)

// TestStanding gives each job a word, and all that speaks against its backups.
func TestStanding(t *testing.T) {
	now := time.Date(2024, 5, 6, 7, 8, 9, 0, time.UTC)
	made := func(kind Kind, state State, hours int) Run {
		at := now.Add(-time.Duration(hours) * time.Hour)
		return Run{Kind: kind, Job: "shop", Repository: "default", State: state, Started: at, Ended: at, Error: "why", Snapshot: "aa"}
	}
	backup := func(state State, hours int) Run { return made(KindBackup, state, hours) }
	check := func(state State, hours int) Run {
		r := made(KindCheck, state, hours)
		r.Job, r.ReadData, r.Findings = "", true, []Finding{{Error: state == StateFailed}}
		return r
	}
	saw := func(hours, snapshots int) Run {
		r := made(KindForget, StateOK, hours)
		r.Seen = &Sight{Jobs: map[string]int{"shop": snapshots}}
		return r
	}
	of := func(r Run, job string) Run { r.Job = job; return r }
	ago3 := "3 hours ago: why"
	type status = JobStatus
	for name, c := range map[string]struct {
		job  status
		runs []Run // newest first
		want Standing
		why  []string
	}{
		"new":                     {status{}, nil, StandingNever, []string{"no backup yet"}},
		"the first was given up":  {status{}, []Run{backup(StateCancelled, 3)}, StandingNever, []string{"no backup yet"}},
		"good":                    {status{}, []Run{backup(StateOK, 3), backup(StateFailed, 4)}, StandingOK, nil},
		"failed":                  {status{}, []Run{backup(StateFailed, 3), backup(StateOK, 4)}, StandingFailed, []string{"the last backup failed " + ago3}},
		"failed, then given up":   {status{}, []Run{backup(StateCancelled, 2), backup(StateFailed, 3)}, StandingFailed, []string{"the last backup failed " + ago3}},
		"good, then given up":     {status{}, []Run{backup(StateCancelled, 2), backup(StateOK, 3)}, StandingCancelled, nil},
		"another job's":           {status{}, []Run{of(backup(StateFailed, 2), "wiki"), backup(StateOK, 3)}, StandingOK, nil},
		"a restore failed":        {status{}, []Run{made(KindRestore, StateFailed, 2), backup(StateOK, 3)}, StandingOK, nil},
		"goes on":                 {status{}, []Run{backup(StateRunning, 0), backup(StateSuspect, 3)}, StandingSuspect, []string{"the last backup is suspect, it was made " + ago3}},
		"lost":                    {status{}, []Run{{Kind: KindRepair, Spoilt: []string{"aa"}}, backup(StateOK, 3)}, StandingDamaged, []string{"some of what its last backup stored is lost since then"}},
		"damage found":            {status{}, []Run{check(StateFailed, 2), backup(StateOK, 3)}, StandingDamaged, []string{"its last backup was made before damage was found in repository default"}},
		"none left":               {status{}, []Run{saw(1, 0), saw(2, 1), backup(StateOK, 3)}, StandingDamaged, []string{"there is no snapshot of it in repository default any more"}},
		"seen again":              {status{}, []Run{saw(1, 1), saw(2, 0), backup(StateOK, 3)}, StandingOK, nil},
		"none before":             {status{}, []Run{backup(StateOK, 1), saw(2, 0)}, StandingOK, nil},
		"looked before it":        {status{}, []Run{saw(3, 0), backup(StateOK, 3)}, StandingOK, nil},
		"stored again":            {status{}, []Run{backup(StateOK, 1), check(StateFailed, 2)}, StandingOK, nil},
		"damage disproved":        {status{}, []Run{check(StateOK, 1), check(StateFailed, 2), backup(StateOK, 3)}, StandingOK, nil},
		"damage there before":     {status{}, []Run{backup(StateOK, 2), check(StateFailed, 3), backup(StateOK, 4)}, StandingOK, nil},
		"failed, and a drill too": {drillFailed(made(KindDrill, StateFailed, 3)), []Run{backup(StateFailed, 3)}, StandingFailed, []string{"the last backup failed " + ago3, "the last drill failed " + ago3}},
		"a drill failed":          {drillFailed(made(KindDrill, StateFailed, 3)), []Run{backup(StateOK, 1)}, StandingUnproven, []string{"the last drill failed " + ago3}},
		"overdue": {status{OverdueSince: now.Add(-time.Hour), LastGood: now.Add(-9 * time.Hour)}, []Run{backup(StateOK, 9)}, StandingOverdue,
			[]string{"overdue since 2024-05-06 06:08 UTC: the last good backup was made 9 hours ago"}},
		"drill overdue": {status{Drill: Drilling{OverdueSince: now.Add(-time.Hour)}}, []Run{backup(StateOK, 9)}, StandingUndrilled,
			[]string{"its drill is overdue since 2024-05-06 06:08 UTC: its backups were never tried out"}},
		"broken": {status{Broken: "no such source"}, []Run{backup(StateOK, 9)}, StandingBroken, []string{"cannot be loaded: no such source"}},
	} {
		c.job.Name = "shop"
		c.job.LastRun = lastEndedAnyhow(c.runs)
		c.job.judge(c.job.objections(c.runs, now))
		if c.job.Standing != c.want || !slices.Equal(c.job.Reasons, c.why) {
			t.Errorf("%s: %s, %q", name, c.job.Standing, c.job.Reasons)
		}
	}
}

func drillFailed(failed Run) JobStatus { return JobStatus{Drill: Drilling{Failed: &failed}} }

func lastEndedAnyhow(runs []Run) *Run {
	if i := slices.IndexFunc(runs, func(r Run) bool { return r.Kind == KindBackup && r.State.Done() }); i >= 0 {
		return &runs[i]
	}
	return nil
}
