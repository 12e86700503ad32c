package caddybackup

import (
	"testing"
	"time"
)

// TestTimeFor: the offset stands beside a time exactly when the reader would take it for another one.
func TestTimeFor(t *testing.T) {
	zone := func(name string) *time.Location {
		l, err := time.LoadLocation(name)
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	winter, summer := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), time.Date(2026, 7, 2, 3, 4, 5, 0, time.UTC)
	for _, c := range []struct {
		at           time.Time
		zone, reader string
		want         string
	}{
		{winter, "UTC", "UTC", "2026-01-02 03:04:05"},
		{winter, "Europe/Paris", "Europe/Paris", "2026-01-02 04:04:05"},
		{winter, "Europe/Paris", "Europe/Berlin", "2026-01-02 04:04:05"},
		{winter, "Europe/Paris", "UTC", "2026-01-02 04:04:05 +01:00"},
		{summer, "Europe/Paris", "UTC", "2026-07-02 05:04:05 +02:00"},
		{winter, "Europe/London", "UTC", "2026-01-02 03:04:05"},
		{summer, "Europe/London", "UTC", "2026-07-02 04:04:05 +01:00"},
		{winter, "America/New_York", "Europe/Paris", "2026-01-01 22:04:05 -05:00"},
		{winter, "UTC", "Europe/Paris", "2026-01-02 03:04:05 +00:00"},
	} {
		if got := timeFor(c.at, zone(c.zone), zone(c.reader)); got != c.want {
			t.Errorf("%s in %s for a reader in %s: got %s, want %s", c.at, c.zone, c.reader, got, c.want)
		}
	}
}

// TestClock: a job's zone, else that of the configuration, else this machine's, also where a zone is not known here.
func TestClock(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	c := clock{jobs: map[string]string{"shop": "Asia/Tokyo", "blog": "Nowhere/Else"}, other: "Asia/Kolkata"}
	here := timeFor(at, time.Local, time.Local)
	for job, want := range map[string]string{"shop": timeIn("Asia/Tokyo", at), "": timeIn("Asia/Kolkata", at), "gone": timeIn("Asia/Kolkata", at), "blog": here} {
		if got := c.of(job, at); got != want {
			t.Errorf("%q: got %s, want %s", job, got, want)
		}
	}
	if got := (clock{}).of("shop", at); got != here {
		t.Errorf("got %s, want %s", got, here)
	}
}
