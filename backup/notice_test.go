package backup

import (
	"strings"
	"testing"
	"time"
)

// TestNoticeZones: people are told times in the job's zone, else in that of the configuration.
func TestNoticeZones(t *testing.T) {
	zone := func(name string, hours int) *time.Location { return time.FixedZone(name, hours*3600) }
	c := &setup{Config: Config{Host: "h", Zone: zone("HERE", 1), Jobs: []Job{{Name: "shop", Zone: zone("SHOP", 9)}, {Name: "blog"}}}}
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for job, want := range map[string]string{"shop": "12:04:05 SHOP", "blog": "04:04:05 HERE", "gone": "04:04:05 HERE"} {
		run := Run{ID: "1", Kind: KindBackup, Job: job, State: StateFailed, Started: at, Ended: at}
		texts := map[string]string{
			"failure": newNotification(c, Ending{Run: run}, EventFailure, "").Text,
			"stalled": newStillNote(c, run, at).Text,
		}
		x := Snapshot{ID: strings.Repeat("0", 64), StableID: strings.Repeat("0", 64), Job: job, Time: at}
		mail := newMail(c, x)
		texts["mail"] = mail.Text
		for what, text := range texts {
			if !strings.Contains(text, "Began:       2026-01-02 "+want+"\n") {
				t.Errorf("%s of %s, want %s:\n%s", what, job, want, text)
			}
		}
		if minute := want[:5] + want[8:]; !strings.Contains(mail.Title, "of 2026-01-02 "+minute) || !mail.Started.Equal(at) || mail.Started.Location() != time.UTC {
			t.Errorf("%s, %s; want %s", mail.Title, mail.Started, minute)
		}
	}
}
