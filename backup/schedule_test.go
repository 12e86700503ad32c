package backup

import (
	"encoding/json"
	"errors"
	"math/rand/v2"
	"testing"
	"time"
)

func zoneOf(t testing.TB, name string) *time.Location {
	t.Helper()
	zone, err := time.LoadLocation(name)
	if err != nil {
		t.Fatal(err)
	}
	return zone
}

func mustSchedule(t testing.TB, text string) Schedule {
	t.Helper()
	s, err := ParseSchedule(text)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestScheduleNext lists the slots behind a time; the days are those on which clocks are changed, and a leap day.
func TestScheduleNext(t *testing.T) {
	for _, test := range []struct {
		schedule, zone, after string
		want                  []string // RFC 3339
	}{
		{"daily", "UTC", "2026-03-01T10:00:00Z", []string{"2026-03-02T00:00:00Z", "2026-03-03T00:00:00Z"}},
		{"hourly", "UTC", "2026-03-01T10:00:00Z", []string{"2026-03-01T11:00:00Z"}},
		{"hourly", "UTC", "2026-03-01T10:59:59.999Z", []string{"2026-03-01T11:00:00Z"}},
		{"weekly", "UTC", "2026-11-20T10:00:00Z", []string{"2026-11-22T00:00:00Z", "2026-11-29T00:00:00Z"}},
		{"weekly mon 04:30", "UTC", "2026-11-20T10:00:00Z", []string{"2026-11-23T04:30:00Z"}},
		{"monthly 04:30", "UTC", "2026-11-20T10:00:00Z", []string{"2026-12-01T04:30:00Z", "2027-01-01T04:30:00Z"}},
		{"every 6h", "Europe/Paris", "2026-03-28T23:00:00Z", []string{"2026-03-29T01:00:00+01:00", "2026-03-29T08:00:00+02:00"}},
		{"every 2d", "UTC", "2026-03-01T10:00:00Z", []string{"2026-03-02T00:00:00Z", "2026-03-04T00:00:00Z"}},
		{"every 90m", "UTC", "2026-03-01T10:00:00Z", []string{"2026-03-01T10:30:00Z", "2026-03-01T12:00:00Z"}},
		{"17 2 * * 1-5", "UTC", "2026-11-20T10:00:00Z", []string{"2026-11-23T02:17:00Z", "2026-11-24T02:17:00Z"}},

		// A leap day.
		{"daily 03:15", "UTC", "2028-02-28T03:15:00Z", []string{"2028-02-29T03:15:00Z", "2028-03-01T03:15:00Z"}},
		{"0 5 29 2 *", "UTC", "2026-01-01T00:00:00Z", []string{"2028-02-29T05:00:00Z", "2032-02-29T05:00:00Z"}},
		{"0 5 29 2 *", "UTC", "2096-03-01T00:00:00Z", []string{"2104-02-29T05:00:00Z"}},

		// Paris goes from 02:00 to 03:00 on 29 March 2026, and from 03:00 back to 02:00 on 25 October.
		{"daily 02:30", "Europe/Paris", "2026-03-28T12:00:00Z", []string{"2026-03-29T03:00:00+02:00", "2026-03-30T02:30:00+02:00"}},
		{"daily 02:00", "Europe/Paris", "2026-03-28T12:00:00Z", []string{"2026-03-29T03:00:00+02:00", "2026-03-30T02:00:00+02:00"}},
		{"daily 03:00", "Europe/Paris", "2026-03-28T12:00:00Z", []string{"2026-03-29T03:00:00+02:00", "2026-03-30T03:00:00+02:00"}},
		{"*/15 2 * * *", "Europe/Paris", "2026-03-28T12:00:00Z", []string{"2026-03-29T03:00:00+02:00", "2026-03-30T02:00:00+02:00"}},
		{"30 2,3 * * *", "Europe/Paris", "2026-03-28T12:00:00Z", []string{"2026-03-29T03:00:00+02:00", "2026-03-29T03:30:00+02:00"}},
		{"hourly", "Europe/Paris", "2026-03-29T00:00:00Z", []string{"2026-03-29T03:00:00+02:00", "2026-03-29T04:00:00+02:00"}},
		{"30 * * * *", "Europe/Paris", "2026-03-29T00:00:00Z", []string{"2026-03-29T01:30:00+01:00", "2026-03-29T03:30:00+02:00"}},
		{"daily 02:30", "Europe/Paris", "2026-10-24T12:00:00Z", []string{"2026-10-25T02:30:00+02:00", "2026-10-26T02:30:00+01:00"}},
		{"daily 02:00", "Europe/Paris", "2026-10-24T12:00:00Z", []string{"2026-10-25T02:00:00+02:00", "2026-10-26T02:00:00+01:00"}},
		{"daily 03:00", "Europe/Paris", "2026-10-24T12:00:00Z", []string{"2026-10-25T03:00:00+01:00", "2026-10-26T03:00:00+01:00"}},
		{"daily 02:30", "Europe/Paris", "2026-10-25T01:10:00Z", []string{"2026-10-26T02:30:00+01:00"}},
		{"hourly", "Europe/Paris", "2026-10-24T23:30:00Z", []string{"2026-10-25T02:00:00+02:00", "2026-10-25T02:00:00+01:00", "2026-10-25T03:00:00+01:00"}},
		{"0 */2 * * *", "Europe/Paris", "2026-10-24T23:30:00Z", []string{"2026-10-25T02:00:00+02:00", "2026-10-25T04:00:00+01:00"}},

		// New York.
		{"daily 02:30", "America/New_York", "2026-03-08T05:00:00Z", []string{"2026-03-08T03:00:00-04:00", "2026-03-09T02:30:00-04:00"}},
		{"daily 01:30", "America/New_York", "2026-11-01T04:00:00Z", []string{"2026-11-01T01:30:00-04:00", "2026-11-02T01:30:00-05:00"}},
		// Lord Howe Island changes by half an hour: 02:00 to 02:30 on 4 October 2026, 02:00 back to 01:30 on 5 April.
		{"daily 02:10", "Australia/Lord_Howe", "2026-10-03T12:00:00Z", []string{"2026-10-04T02:30:00+11:00", "2026-10-05T02:10:00+11:00"}},
		{"daily 01:45", "Australia/Lord_Howe", "2026-04-04T12:00:00Z", []string{"2026-04-05T01:45:00+11:00", "2026-04-06T01:45:00+10:30"}},
		{"*/30 * * * *", "Australia/Lord_Howe", "2026-04-04T14:30:00Z", []string{"2026-04-05T01:30:00+10:30", "2026-04-05T02:00:00+10:30"}},
		// In Santiago midnight is missing on 6 September 2026, and the hour before it comes twice on 4 April.
		{"daily", "America/Santiago", "2026-09-05T12:00:00Z", []string{"2026-09-06T01:00:00-03:00", "2026-09-07T00:00:00-03:00"}},
		{"daily 23:30", "America/Santiago", "2026-04-04T12:00:00Z", []string{"2026-04-04T23:30:00-03:00", "2026-04-05T23:30:00-04:00"}},
		{"0 0 6 * *", "America/Santiago", "2026-09-05T12:00:00Z", []string{"2026-09-06T01:00:00-03:00", "2026-10-06T00:00:00-03:00"}},
		// Samoa had no 30 December 2011.
		{"daily 12:00", "Pacific/Apia", "2011-12-29T23:00:00Z", []string{"2011-12-31T00:00:00+14:00", "2011-12-31T12:00:00+14:00"}},
	} {
		t.Run(test.schedule+" "+test.zone+" "+test.after, func(t *testing.T) {
			s, zone := mustSchedule(t, test.schedule), zoneOf(t, test.zone)
			at, err := time.Parse(time.RFC3339, test.after)
			if err != nil {
				t.Fatal(err)
			}
			for _, want := range test.want {
				at = s.Next(at, zone)
				if got := at.Format(time.RFC3339); got != want {
					t.Fatalf("got %s, want %s", got, want)
				}
			}
		})
	}
}

// TestScheduleYears counts the slots of four years, with both changes of the clock and a leap day in each zone: one a day.
func TestScheduleYears(t *testing.T) {
	if testing.Short() {
		t.Skip("one thing after the other: no races to be found")
	}
	for _, name := range []string{"UTC", "Europe/Paris", "America/New_York", "Australia/Lord_Howe", "America/Santiago", "Asia/Kathmandu"} {
		zone := zoneOf(t, name)
		from, to := time.Date(2026, 1, 1, 12, 0, 0, 0, zone), time.Date(2030, 1, 1, 12, 0, 0, 0, zone)
		for _, text := range []string{"daily", "daily 01:45", "daily 02:10", "daily 02:30", "daily 03:00", "daily 23:30"} {
			s, days, last := mustSchedule(t, text), 0, ""
			for at := s.Next(from, zone); !at.After(to); at = s.Next(at, zone) {
				date := at.Format(time.DateOnly)
				if date == last {
					t.Fatalf("%s in %s: twice on %s", text, name, date)
				}
				days, last = days+1, date
			}
			if days != 365*4+1 {
				t.Errorf("%s in %s: %d times in 1461 days", text, name, days)
			}
		}
		for text, interval := range map[string]time.Duration{"hourly": time.Hour, "*/15 * * * *": 15 * time.Minute, "every 6h": 6 * time.Hour} {
			if name == "Australia/Lord_Howe" && text == "hourly" {
				continue // half an hour is missing, or comes twice
			}
			s := mustSchedule(t, text)
			for at := s.Next(from, zone); at.Before(from.AddDate(1, 0, 0)); {
				next := s.Next(at, zone)
				if next.Sub(at) != interval {
					t.Fatalf("%s in %s: %v is followed by %v", text, name, at, next)
				}
				at = next
			}
		}
	}
}

// TestScheduleNewest compares the short way with the long one.
func TestScheduleNewest(t *testing.T) {
	if testing.Short() {
		t.Skip("one thing after the other: no races to be found")
	}
	zone, random := zoneOf(t, "Europe/Paris"), rand.New(rand.NewPCG(1, 2))
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for _, text := range []string{"hourly", "daily 02:30", "weekly", "every 6h", "monthly", "0 5 29 2 *", "*/20 3 * * 1,5"} {
		s := mustSchedule(t, text)
		for range 50 {
			after := start.Add(time.Duration(random.Int64N(int64(100 * oneDay))))
			until := after.Add(time.Duration(random.Int64N(int64(1+random.Int64N(500)) * int64(oneDay))))
			var want time.Time
			for next := s.Next(after, zone); !next.After(until); next = s.Next(next, zone) {
				want = next
			}
			if got := s.newest(after, until, zone); !got.Equal(want) {
				t.Fatalf("%s, after %v until %v: got %v, want %v", text, after, until, got, want)
			}
		}
	}
}

func TestParseSchedule(t *testing.T) {
	for text, want := range map[string]string{
		"daily": "daily", "  Daily   3:15 ": "daily 3:15", "weekly SUN 04:00": "weekly sun 04:00", "0 3 * * MON": "0 3 * * mon",
		"every 6h": "every 6h", "every 1h30m": "every 1h30m", "every 7d": "every 7d", "@daily": "", "every 10s": "", "every -6h": "",
		"every": "", "every 6": "", "every 6h 7h": "", "every 367d": "", "every 90.5s": "", "daily 24:00": "", "daily 3:15 4:15": "",
		"daily mon": "", "weekly sunday": "", "hourly 15": "", "hourly 03:15": "", "": "", "yearly": "", "tz=utc": "", "TZ= 0 0 * * *": "",
		"CRON_TZ=UTC 0 3 * * *": "", "0 0 * *": "", "0 0 * * * *": "", "60 0 * * *": "", "0 24 * * *": "", "0 0 30 2 *": "",
		", 0 * * *": "", "0 0 31 4,6,9,11 *": "", "*/0 * * * *": "", "0 3 * * 7": "",
	} {
		s, err := ParseSchedule(text)
		if got := s.String(); got != want || (err == nil) != (want != "") || err != nil && !errors.Is(err, ErrInvalid) {
			t.Errorf("%q: got %q, %v; want %q", text, got, err, want)
		}
	}
}

func TestScheduleInJSON(t *testing.T) {
	type with struct {
		S Schedule `json:"s,omitzero"`
	}
	for text, want := range map[string]string{`{}`: `{}`, `{"s":""}`: `{}`, `{"s":"Daily 03:15"}`: `{"s":"daily 03:15"}`} {
		var w with
		if err := json.Unmarshal([]byte(text), &w); err != nil {
			t.Fatal(err)
		}
		if got, err := json.Marshal(w); err != nil || string(got) != want {
			t.Errorf("%s became %s (%v), want %s", text, got, err, want)
		}
	}
	if err := json.Unmarshal([]byte(`{"s":"sometimes"}`), new(with)); !errors.Is(err, ErrInvalid) {
		t.Errorf("got %v", err)
	}
}

// FuzzParseSchedule holds what is accepted to be read back the same, and to have slots that follow each other.
func FuzzParseSchedule(f *testing.F) {
	for _, text := range []string{"daily 03:15", "weekly mon 04:00", "every 6h", "*/7 1-5 1,15 jan-mar 0-6/2", "TZ= ", "0 0 29 2 *", "? ? * * ?", "every 1d"} {
		f.Add(text, int64(1_774_750_000))
	}
	zone := zoneOf(f, "America/Santiago")
	f.Fuzz(func(t *testing.T, text string, unix int64) {
		s, err := ParseSchedule(text)
		if err != nil {
			if !errors.Is(err, ErrInvalid) {
				t.Fatal(err)
			}
			return
		}
		again, err := ParseSchedule(s.String())
		if err != nil || again.String() != s.String() {
			t.Fatalf("%q is read back as %q, %v", s, again, err)
		}
		after := time.Unix(unix%(1<<32), 0)
		next := s.Next(after, zone)
		if next.IsZero() || !next.After(after) || !again.Next(after, zone).Equal(next) {
			t.Fatalf("%q after %v: %v", s, after, next)
		}
		if between := s.Next(next.Add(-time.Second), zone); !between.Equal(next) {
			t.Fatalf("%q: %v is no slot when asked from a second before it: %v", s, next, between)
		}
	})
}
