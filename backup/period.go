package backup

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Period is a stretch of the calendar, written as restic does: "1y5m7d2h". Months and days have the length that they have
// where the period ends.
type Period struct {
	Years, Months, Days, Hours int // none is negative
}

// ParsePeriod reads what String writes; the order of the units is free, and of one given twice the last counts.
// ErrInvalid.
func ParsePeriod(text string) (Period, error) {
	var p Period
	rest := text
	for rest != "" {
		end := strings.IndexFunc(rest, func(r rune) bool { return r < '0' || r > '9' })
		if end <= 0 {
			return Period{}, badPeriod(text, errors.New("a unit follows each number"))
		}
		n, err := strconv.ParseUint(rest[:end], 10, 16)
		if err != nil {
			return Period{}, badPeriod(text, errors.New("a number is too large"))
		}
		switch rest[end] {
		case 'y':
			p.Years = int(n)
		case 'm':
			p.Months = int(n)
		case 'd':
			p.Days = int(n)
		case 'h':
			p.Hours = int(n)
		default:
			return Period{}, badPeriod(text, errors.New("the units are y, m, d and h"))
		}
		rest = rest[end+1:]
	}
	if p == (Period{}) {
		return p, badPeriod(text, errors.New("it must be more than 0"))
	}
	return p, nil
}

func badPeriod(text string, err error) error {
	return fmt.Errorf("%w period %q: %w; write it like 1y6m, 14d or 36h", ErrInvalid, text, err)
}

// String leaves out what is 0.
func (p Period) String() string {
	var b strings.Builder
	for _, part := range []struct {
		n    int
		unit byte
	}{{p.Years, 'y'}, {p.Months, 'm'}, {p.Days, 'd'}, {p.Hours, 'h'}} {
		if part.n != 0 {
			b.WriteString(strconv.Itoa(part.n))
			b.WriteByte(part.unit)
		}
	}
	return b.String()
}

// MarshalText is String.
func (p Period) MarshalText() ([]byte, error) { return []byte(p.String()), nil }

// UnmarshalText is ParsePeriod; no text is no period.
func (p *Period) UnmarshalText(text []byte) (err error) {
	if len(text) == 0 {
		*p = Period{}
		return nil
	}
	*p, err = ParsePeriod(string(text))
	return err
}

// before goes back from t by the calendar of its zone, and then by the hours as time elapses.
func (p Period) before(t time.Time) time.Time {
	return t.AddDate(-p.Years, -p.Months, -p.Days).Add(-time.Duration(p.Hours) * time.Hour)
}

// calendarOf moves a stored time into zone when that had the same offset then, so that going back from it minds the zone's
// daylight saving. A time stored as UTC stays there, and one of a foreign offset keeps that.
func calendarOf(t time.Time, zone *time.Location) time.Time {
	_, offset := t.Zone()
	if _, here := t.In(zone).Zone(); t.Location() == time.UTC || here != offset {
		return t.In(time.FixedZone("", offset))
	}
	return t.In(zone)
}
