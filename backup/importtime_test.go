package backup

import (
	"errors"
	"testing"
	"time"
)

func paris(t testing.TB) *time.Location {
	zone, err := time.LoadLocation("Europe/Paris")
	if err != nil {
		t.Fatal(err)
	}
	return zone
}

func TestTimesInNames(t *testing.T) {
	const day = "the day in its name"
	for _, c := range []struct{ name, want, from string }{
		{"shop_2026-11-21.sql.gz", "2026-11-21T00:00:00+01:00", day},
		{"20261121.dump", "2026-11-21T00:00:00+01:00", day},
		{"shop2026.11.21.sql", "2026-11-21T00:00:00+01:00", day},
		{"2026_11_21", "2026-11-21T00:00:00+01:00", day},
		{"shop_2026-11-21_02-17-00.dump.gz", "2026-11-21T02:17:00+01:00", "its name"},
		{"shop_2026-11-21_02-17-00Z.db.dump", "2026-11-21T03:17:00+01:00", "its name"},
		{"shop-2026-07-21-0217.sql", "2026-07-21T02:17:00+02:00", "its name"},
		{"shop-2026-11-21-021759.psql.gz", "2026-11-21T02:17:59+01:00", "its name"},
		{"20261121T021700Z.zst", "2026-11-21T03:17:00+01:00", "its name"},
		{"20261121T021700-0500.zst", "2026-11-21T08:17:00+01:00", "its name"},
		{"2026-11-21T02:17:00.123456+01:00", "2026-11-21T02:17:00+01:00", "its name"},
		{"shop20261121021700", "2026-11-21T02:17:00+01:00", "its name"},
		{"202611210217.sql", "2026-11-21T02:17:00+01:00", "its name"},
		{"shop 2026-11-21 02.17", "2026-11-21T02:17:00+01:00", "its name"},
		{"shop_2026-11-21_02h17m05.sql", "2026-11-21T02:17:05+01:00", "its name"},
		{"shop_2026-11-21_0217-01.sql", "2026-11-21T02:17:00+01:00", "its name"},
		{"2026-11-21_02-17-0100.sql", "2026-11-21T02:17:00+01:00", "its name"}, // an offset only after a T
		{"shop-2026-11-21-9999.sql", "2026-11-21T00:00:00+01:00", day},         // 99 o'clock
		{"shop-2026-11-21-1.sql", "2026-11-21T00:00:00+01:00", day},            // the first of that day
		{"2026-13-01_2026-11-21.sql", "2026-11-21T00:00:00+01:00", day},        // no month
		{"2026-03-29_02-30-00.sql", "2026-03-29T03:30:00+02:00", "its name"},   // an hour that was left out
		{"2026-02-30.sql", "", ""},                    // no day
		{"2026-1121.sql", "", ""},                     // of no one form
		{"customer-12345678901234567890.sql", "", ""}, // a number
		{"123420261121.sql", "", ""},                  // in a number
		{"10002611.sql", "", ""},                      // long ago
		{"21-11-2026.sql", "", ""},                    // or is it 11-21?
		{"", "", ""},
	} {
		got, ok := commonTime(c.name, paris(t))
		if ok != (c.want != "") || ok && (got.at.Format(time.RFC3339) != c.want || got.from != c.from) {
			t.Errorf("%q: %s by %q (%v), want %s by %q", c.name, got.at.Format(time.RFC3339), got.from, ok, c.want, c.from)
		}
	}
}

func TestTimeFormats(t *testing.T) {
	for _, c := range []struct{ format, name, want string }{
		{"%d-%m-%Y", "shop-21-11-2026.sql.gz", "2026-11-21T00:00:00+01:00"},
		{"%y%m%d-%H%M", "shop-261121-0217", "2026-11-21T02:17:00+01:00"},
		{"%F_%T", "shop_2026-11-21_02:17:00.sql", "2026-11-21T02:17:00+01:00"},
		{"dump.%s.gz", "dump.1795227420.gz", "2026-11-21T03:17:00+01:00"},
		{"100%% %F", "100% 2026-11-21", "2026-11-21T00:00:00+01:00"},
		{"é%F", "é2026-11-21", "2026-11-21T00:00:00+01:00"},
		{"%d-%m-%Y", "shop-2026-11-21.sql", ""},
	} {
		read, err := newTimeReader(c.format)
		if err != nil {
			t.Errorf("%q: %v", c.format, err)
			continue
		}
		got, err := read.timeOf("/old/2020-01-01/"+c.name, c.format, time.Now(), paris(t))
		if (err == nil) != (c.want != "") || err == nil && got.at.Format(time.RFC3339) != c.want {
			t.Errorf("%q in %q: %s, %v, want %s", c.format, c.name, got.at.Format(time.RFC3339), err, c.want)
		}
	}
	modified := time.Date(2026, 11, 21, 2, 17, 0, 0, time.UTC)
	read, _ := newTimeReader(timeFromFile)
	if got, err := read.timeOf("/old/2020-01-01.sql", timeFromFile, modified, time.UTC); err != nil || !got.at.Equal(modified) {
		t.Errorf("of the file: %v, %v", got, err)
	}
	for _, bad := range []string{"shop", "%Y", "%Y-%m", "%Q", "%", "%Y%m%d%Y", "%H:%M"} {
		if _, err := newTimeReader(bad); !errors.Is(err, ErrInvalid) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

// FuzzTimesInNames: whatever a file is called, no time outside of the calendar comes out, and the same one every time.
func FuzzTimesInNames(f *testing.F) {
	for _, name := range []string{"shop_2026-11-21_02-17-00Z.dump", "20261121T021700+0100", "2026-13-99_2026-11-21", "1795227420"} {
		f.Add(name, "")
		f.Add(name, "%Y-%m-%d")
	}
	f.Add("dump.1795227420.gz", "dump.%s")
	f.Add("\xff2026-11-21", "\xff%F")
	zone := paris(f)
	f.Fuzz(func(t *testing.T, name, format string) {
		read, err := newTimeReader(format)
		if err != nil {
			if !errors.Is(err, ErrInvalid) {
				t.Fatal(err)
			}
			return
		}
		got, ok := read(name, zone)
		again, _ := read(name, zone)
		if got != again || ok == got.at.IsZero() {
			t.Fatalf("%q: %v and %v, %v", name, got, again, ok)
		}
		if ok && (got.at.Year() < 1969 || got.at.Year() > 9999+1) {
			t.Fatalf("%q is of %v", name, got.at)
		}
		if _, err := got.at.MarshalJSON(); ok && err != nil && got.at.Year() <= 9999 {
			t.Fatal(err)
		}
	})
}
