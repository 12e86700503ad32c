package caddybackup

import (
	"strings"
	"testing"
	"time"

	"github.com/caddy-backup/caddy-backup/backup"
)

// TestStandingNote: beside its last run a job says all that people must not overlook; one of which nothing is known does not look new.
func TestStandingNote(t *testing.T) {
	at := time.Date(2024, 5, 6, 7, 8, 9, 0, time.UTC)
	for _, c := range []struct {
		job  backup.JobStatus
		want string
	}{
		{backup.JobStatus{Enabled: true, Standing: backup.StandingOK}, ""},
		{backup.JobStatus{Standing: backup.StandingDamaged}, "off"},
		{backup.JobStatus{Standing: backup.StandingBroken, Broken: "no such module"}, "BROKEN: no such module"},
		{backup.JobStatus{Enabled: true, Standing: backup.StandingUnknown}, "UNKNOWN: the history of runs cannot be read"},
		{backup.JobStatus{Enabled: true, Standing: backup.StandingDamaged}, "DAMAGED"},
		{backup.JobStatus{Enabled: true, Standing: backup.StandingFound, Found: &backup.Found{Time: at}}, "not backed up here; found is a snapshot of 2024-05-06"},
		{backup.JobStatus{Enabled: true, Standing: backup.StandingUnproven, Drill: backup.Drilling{Failed: &backup.Run{Ended: at}}}, "drill FAILED 2024-05-06"},
		{backup.JobStatus{Enabled: true, Standing: backup.StandingFailed, OverdueSince: at}, "OVERDUE since 2024-05-06"},
		{backup.JobStatus{Enabled: true, Standing: backup.StandingUndrilled, Drill: backup.Drilling{OverdueSince: at}}, "drill OVERDUE since 2024-05-06"},
	} {
		c.job.Zone = "UTC"
		if got := standing(c.job); !strings.HasPrefix(got, c.want) || c.want == "" && got != "" {
			t.Errorf("%s: %q, want %q", c.job.Standing, got, c.want)
		}
	}
}
