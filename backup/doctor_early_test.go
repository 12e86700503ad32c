package backup

import (
	"strings"
	"testing"
	"time"
)

// TestCriesTooEarly: the longest time between two runs counts, with jitter and both changes of the clock.
func TestCriesTooEarly(t *testing.T) {
	zone, err := time.LoadLocation("Europe/Paris")
	if err != nil {
		t.Fatal(err)
	}
	now := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	for _, c := range []struct {
		schedule      string
		after, jitter time.Duration
		zone          *time.Location
		want          string
	}{
		{"daily 03:15", 0, 0, time.UTC, ""},
		{"daily 03:15", 26 * time.Hour, 0, time.UTC, ""},
		{"daily 03:15", 24*time.Hour + time.Minute, 0, time.UTC, ""},
		{"daily 03:15", 24 * time.Hour, 0, time.UTC, "overdue_after 24h is not longer than the 24h that lie between two of its runs (schedule daily 03:15)"},
		{"daily 03:15", 24*time.Hour + time.Minute, time.Hour, time.UTC, "the 25h that"},
		{"daily 03:15", 24*time.Hour + time.Minute, 0, zone, "the 25h that"}, // in the night in which the clock is set back
		{"17 2 * * mon-fri", 26 * time.Hour, 0, time.UTC, "the 72h that lie between"},
		{"monthly", 30 * 24 * time.Hour, 0, time.UTC, "744h"},
		{"* * * * *", time.Hour, 0, time.UTC, ""},
		{"every 6h", 90 * time.Minute, 0, time.UTC, "such as overdue_after 8h"},
		{"", time.Hour, 0, time.UTC, ""},
	} {
		j := Job{OverdueAfter: c.after, Jitter: c.jitter, Zone: c.zone}
		if err := j.Schedule.UnmarshalText([]byte(c.schedule)); err != nil {
			t.Fatal(err)
		}
		if got := j.CriesTooEarly(now); c.want == "" && got != "" || !strings.Contains(got, c.want) {
			t.Errorf("%s, %s: %q, want %q", c.schedule, c.after, got, c.want)
		}
	}
}

// TestClockApart: a few minutes are no matter.
func TestClockApart(t *testing.T) {
	now := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	for ahead, want := range map[time.Duration]string{0: "", 5 * time.Minute: "", -5 * time.Minute: "",
		2 * time.Hour: "the clock of it is 2h0m0s ahead of ours", -6 * time.Minute: "is 6m0s behind ours"} {
		switch d := ClockApart("it", now.Add(ahead), now); {
		case (d == nil) != (want == ""):
			t.Errorf("%s: %v", ahead, d)
		case d != nil && (d.Level != LevelWarning || !strings.Contains(d.Text, want)):
			t.Errorf("%s: %+v", ahead, d)
		}
	}
}
