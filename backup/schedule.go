package backup

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/robfig/cron/v3"

	"github.com/caddy-backup/caddy-backup/internal/near"
)

// Schedule says when something is to be done. The zero value is none. The times that it names, its slots, depend on nothing but
// the schedule and the zone, so that they are the same after a restart.
//
// Where a zone's clock is set forward, what it leaps over is done at once behind the leap, once. Where it is set back, a time of
// the day is that of the first pass; what is done in every hour is done in the hour that comes twice, twice.
type Schedule struct {
	text  string
	every time.Duration      // counted from the year 1 in UTC; 0: by the calendar
	cron  *cron.SpecSchedule // asked with what the clock of the zone shows, as if it were UTC
}

// The bounds of `every`.
const (
	minEvery = time.Minute
	maxEvery = 366 * oneDay
	oneDay   = 24 * time.Hour
)

const scheduleExamples = "write hourly, daily, daily 03:15, weekly sun 04:00, monthly, every 6h, or the five fields of cron such as 17 2 * * *"

// ParseSchedule reads what String writes: "hourly"; "daily", "weekly", "monthly" with or without a time; "weekly" also with a
// day; "every" with a duration; or the five fields of cron. Without a time it is midnight, without a day Sunday. ErrInvalid.
func ParseSchedule(text string) (Schedule, error) {
	words := strings.Fields(strings.ToLower(text))
	s := Schedule{text: strings.Join(words, " ")}
	var err error
	if len(words) > 0 && words[0] == "every" {
		s.every, err = parseEvery(words[1:])
	} else {
		s.cron, err = parseCalendar(words)
	}
	if err != nil {
		end := ";"
		if strings.HasSuffix(err.Error(), "?") {
			end = ""
		}
		return Schedule{}, fmt.Errorf("%w schedule %q: %w%s %s", ErrInvalid, text, err, end, scheduleExamples)
	}
	return s, nil
}

func parseEvery(words []string) (time.Duration, error) {
	if len(words) != 1 {
		return 0, fmt.Errorf("one duration follows every")
	}
	every, err := time.ParseDuration(words[0])
	if number, days := strings.CutSuffix(words[0], "d"); days {
		var n uint64
		n, err = strconv.ParseUint(number, 10, 16)
		every = time.Duration(n) * oneDay
	}
	if err != nil {
		return 0, fmt.Errorf("%q is no duration", words[0])
	}
	if every < minEvery || every > maxEvery || every%time.Second != 0 {
		return 0, fmt.Errorf("the duration must be one minute to 366 days, in whole seconds")
	}
	return every, nil
}

// scheduleWords begin a schedule that is not written as five fields.
var scheduleWords = []string{"hourly", "daily", "weekly", "monthly", "every"}

// fiveFields is the form of cron that has no seconds, no zone and no words for whole expressions.
var fiveFields = cron.NewParser(cron.Minute | cron.Hour | cron.Dom | cron.Month | cron.Dow)

func parseCalendar(words []string) (*cron.SpecSchedule, error) {
	fields, err := cronFields(words)
	if err != nil {
		return nil, err
	}
	if len(fields) != 5 {
		first, rest, _ := strings.Cut(strings.Join(words, " "), " ")
		if like := near.Word(first, scheduleWords); like != "" {
			return nil, fmt.Errorf("did you mean %s?", strings.TrimSpace(like+" "+rest))
		}
		return nil, fmt.Errorf("it is neither a word for a schedule nor five fields")
	}
	if slices.ContainsFunc(fields, func(f string) bool { return strings.Contains(f, "=") || strings.Trim(f, ",") == "" }) {
		return nil, fmt.Errorf("a field names no time; the zone is said by timezone")
	}
	parsed, err := fiveFields.Parse(strings.Join(fields, " "))
	if err != nil {
		return nil, err
	}
	c := parsed.(*cron.SpecSchedule)
	if nextOnClock(c, time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)).IsZero() {
		return nil, fmt.Errorf("this day never comes")
	}
	return c, nil
}

// cronFields writes a word for a schedule as the five fields of cron.
func cronFields(words []string) ([]string, error) {
	if len(words) == 0 {
		return nil, nil
	}
	word, rest := words[0], words[1:]
	if word == "hourly" && len(rest) == 0 {
		return strings.Fields("0 * * * *"), nil
	}
	if word != "daily" && word != "weekly" && word != "monthly" {
		return words, nil
	}
	dayOfMonth, weekday := "*", "*"
	switch word {
	case "weekly":
		weekday = "sun"
		if len(rest) > 0 && slices.Contains(weekdays, rest[0]) {
			weekday, rest = rest[0], rest[1:]
		}
	case "monthly":
		dayOfMonth = "1"
	}
	at := time.Time{}
	if len(rest) > 0 {
		var err error
		if at, err = time.Parse("15:04", rest[0]); err != nil || len(rest) > 1 {
			return nil, fmt.Errorf("what follows %s must be a time of the day such as 03:15", word)
		}
	}
	return []string{strconv.Itoa(at.Minute()), strconv.Itoa(at.Hour()), dayOfMonth, "*", weekday}, nil
}

var weekdays = []string{"sun", "mon", "tue", "wed", "thu", "fri", "sat"}

// String is the schedule as it was written, with single spaces, in small letters.
func (s Schedule) String() string { return s.text }

// IsZero reports whether there is no schedule.
func (s Schedule) IsZero() bool { return s.text == "" }

// MarshalText implements encoding.TextMarshaler.
func (s Schedule) MarshalText() ([]byte, error) { return []byte(s.text), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (s *Schedule) UnmarshalText(text []byte) (err error) {
	if len(text) == 0 {
		*s = Schedule{}
		return nil
	}
	*s, err = ParseSchedule(string(text))
	return err
}

// Next is the first slot after a time, by the clock of a zone; the zero time when there is none any more.
func (s Schedule) Next(after time.Time, zone *time.Location) time.Time {
	switch {
	case s.every > 0:
		return after.Truncate(s.every).Add(s.every).In(zone)
	case s.cron == nil:
		return time.Time{}
	}
	span := after.In(zone) // a moment in the span of time in which the clock is not changed
	wall := clockOf(span)
	for {
		_, offset := span.Zone()
		start, end := span.ZoneBounds()
		if wall = nextOnClock(s.cron, wall); wall.IsZero() {
			return time.Time{}
		}
		slot := wall.Add(-time.Duration(offset) * time.Second)
		switch {
		case !end.IsZero() && !slot.Before(end):
			if !s.everyHour() && wall.Before(clockOf(end)) {
				return end // the clock leaps over it
			}
			span, wall = end, clockOf(end).Add(-time.Second)
		case !s.everyHour() && secondPass(wall, start):
		default:
			return slot.In(zone)
		}
	}
}

// secondPass reports whether the clock showed a time already before it was changed.
func secondPass(wall, change time.Time) bool {
	return !change.IsZero() && !wall.After(clockOf(change.Add(-time.Nanosecond)))
}

// everyHour reports whether it goes by the hours that pass, and not by times of the day.
func (s Schedule) everyHour() bool {
	const all = 1<<24 - 1
	return s.cron.Hour&all == all
}

// clockOf is what the clock shows, as a time in UTC, where no clock is ever changed.
func clockOf(t time.Time) time.Time {
	_, offset := t.Zone()
	return t.UTC().Add(time.Duration(offset) * time.Second)
}

// nextOnClock looks ten years ahead: between 1896 and 1904, or 2096 and 2104, there is no leap day.
func nextOnClock(c *cron.SpecSchedule, wall time.Time) time.Time {
	next := c.Next(wall)
	if next.IsZero() {
		next = c.Next(wall.AddDate(5, 0, 0))
	}
	return next
}

// newest is the last slot after a time that is not after another; the zero time when there is none.
func (s Schedule) newest(after, until time.Time, zone *time.Location) (slot time.Time) {
	from := after
	for _, back := range []time.Duration{time.Hour, oneDay, 32 * oneDay, 370 * oneDay} { // not through all slots of a long time
		near := until.Add(-back)
		if !near.After(after) {
			break
		}
		if next := s.Next(near, zone); !next.IsZero() && !next.After(until) {
			from = near
			break
		}
	}
	for next := s.Next(from, zone); !next.IsZero() && !next.After(until); next = s.Next(next, zone) {
		slot = next
	}
	return slot
}
