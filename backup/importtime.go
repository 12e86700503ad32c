package backup

import (
	"fmt"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// timeFromFile is the time format that asks for the time at which the file was changed last, whatever its name says.
const timeFromFile = "mtime"

// dumpTime says when a dump was made that lies in a file, and where that was found out.
type dumpTime struct {
	at   time.Time
	from string // "its name", "the day in its name", "its time of change"
}

// A timeReader finds the time in the name of a file, without its folder.
type timeReader func(name string, zone *time.Location) (dumpTime, bool)

// newTimeReader makes the reader for a format as date(1) takes it, "%Y-%m-%d_%H%M"; without one it is the reader of the
// common shapes. ErrInvalid.
func newTimeReader(format string) (timeReader, error) {
	switch format {
	case "":
		return commonTime, nil
	case timeFromFile:
		return func(string, *time.Location) (dumpTime, bool) { return dumpTime{}, false }, nil
	}
	pattern, err := timePattern(format)
	if err != nil {
		return nil, err
	}
	return func(name string, zone *time.Location) (dumpTime, bool) {
		return firstTime(pattern, name, zone)
	}, nil
}

// timeOf is the time of a dump: as its name says, else as the file system does. Names that were written for one format
// and do not have it are an error: half of the files dated by chance is what the format was given against.
func (read timeReader) timeOf(path, format string, modified time.Time, zone *time.Location) (dumpTime, error) {
	if t, ok := read(filepath.Base(path), zone); ok {
		return t, nil
	}
	if format != "" && format != timeFromFile {
		return dumpTime{}, fmt.Errorf("there is no time of the form %s in its name", format)
	}
	return dumpTime{modified.In(zone), "its time of change"}, nil
}

// commonShape is a day, in most cases with a time behind it: 2026-11-21, 20261121, 2026_11_21T02-17-00Z,
// 20261121-021700, 2026.11.21 02.17. An offset without Z is only looked for behind the T of ISO 8601: elsewhere what
// follows a dash may be anything.
var commonShape = regexp.MustCompile(`(?:^|\D)(?P<Y>\d{4})(?P<sep>[-_.]?)(?P<m>\d{2})(?P<sep2>[-_.]?)(?P<d>\d{2})` +
	`(?:(?P<T>[Tt]|[-_. @]|_at_|--|__)?(?P<H>\d{2})(?P<tsep>[-_:.h]?)(?P<M>\d{2})(?:(?P<tsep2>[-_:.m]?)(?P<S>\d{2})(?:[.,]\d+)?)?` +
	`(?P<z>[Zz]|[+-]\d{2}:?\d{2})?)?(?:\D|$)`)

// dayShape is what is left when the digits behind a day are no time.
var dayShape = regexp.MustCompile(`(?:^|\D)(?P<Y>\d{4})(?P<sep>[-_.]?)(?P<m>\d{2})(?P<sep2>[-_.]?)(?P<d>\d{2})(?:\D|$)`)

// commonTime finds the first time of a common shape.
func commonTime(name string, zone *time.Location) (dumpTime, bool) {
	if t, ok := firstTime(commonShape, name, zone); ok {
		return t, true
	}
	return firstTime(dayShape, name, zone)
}

// firstTime finds the first match that is a time of the calendar.
func firstTime(pattern *regexp.Regexp, name string, zone *time.Location) (dumpTime, bool) {
	for start := 0; start < len(name); {
		m := pattern.FindStringSubmatchIndex(name[start:])
		if m == nil {
			break
		}
		fields := map[string]string{}
		for i, field := range pattern.SubexpNames() {
			if field != "" && m[2*i] >= 0 {
				fields[field] = name[start+m[2*i] : start+m[2*i+1]]
			}
		}
		if t, ok := calendarTime(fields, zone); ok {
			return t, true
		}
		start += m[1] - 1 // what ended this one may begin the next
	}
	return dumpTime{}, false
}

// calendarTime makes a time of the fields, named by the letters of date(1). Nothing is rounded or carried over: a 30th
// of February is no time. An hour that the zone's clocks leave out in spring is taken as they show it afterwards.
func calendarTime(fields map[string]string, zone *time.Location) (dumpTime, bool) {
	if fields["sep"] != fields["sep2"] {
		return dumpTime{}, false
	}
	if fields["tsep"] == "" && fields["tsep2"] != "" {
		fields["S"] = "" // 0217-00: not of one kind, so they count something else
	}
	number := func(field string) int {
		n, _ := strconv.Atoi(fields[field]) // digits, says the pattern
		return n
	}
	if fields["s"] != "" {
		return dumpTime{time.Unix(int64(number("s")), 0).In(zone), "its name"}, true
	}
	year, month, day := number("Y"), time.Month(number("m")), number("d")
	if fields["y"] != "" {
		year = 2000 + number("y")
	}
	hour, minute, second := number("H"), number("M"), number("S")
	civil := time.Date(year, month, day, hour, minute, second, 0, time.UTC)
	if year < 1980 || civil.Month() != month || civil.Day() != day || hour > 23 || minute > 59 || second > 59 {
		return dumpTime{}, false
	}
	from := "its name"
	if fields["H"] == "" {
		from = "the day in its name"
	}
	at := time.Date(year, month, day, hour, minute, second, 0, zone)
	if offset, ok := zoneOffset(fields["z"], fields["T"]); ok {
		at = civil.Add(-offset).In(zone)
	}
	return dumpTime{at, from}, true
}

// zoneOffset reads Z, +0100 or -05:00. behind is what stood between the day and the time.
func zoneOffset(text, behind string) (offset time.Duration, ok bool) {
	if strings.EqualFold(text, "z") {
		return 0, true
	}
	if text == "" || !strings.EqualFold(behind, "t") {
		return 0, false
	}
	digits := strings.ReplaceAll(text[1:], ":", "")
	hours, _ := strconv.Atoi(digits[:2])
	minutes, _ := strconv.Atoi(digits[2:])
	if hours > 14 || minutes > 59 {
		return 0, false
	}
	offset = time.Duration(hours)*time.Hour + time.Duration(minutes)*time.Minute
	if text[0] == '-' {
		offset = -offset
	}
	return offset, true
}

// timeFields are the fields of date(1) that a format may have, and what they look like.
var timeFields = map[byte]string{
	'Y': `(?P<Y>\d{4})`, 'y': `(?P<y>\d{2})`, 'm': `(?P<m>\d{2})`, 'd': `(?P<d>\d{2})`, 'H': `(?P<H>\d{2})`,
	'M': `(?P<M>\d{2})`, 'S': `(?P<S>\d{2})`, 's': `(?P<s>\d{9,11})`, '%': "%",
}

// timeAbbreviations are written out before a format is read.
var timeAbbreviations = strings.NewReplacer("%F", "%Y-%m-%d", "%T", "%H:%M:%S", "%R", "%H:%M")

// timePattern makes a pattern of a format.
func timePattern(format string) (*regexp.Regexp, error) {
	var pattern strings.Builder
	seen := map[byte]bool{}
	full := timeAbbreviations.Replace(format)
	for i := 0; i < len(full); i++ {
		if full[i] != '%' {
			pattern.WriteString(regexp.QuoteMeta(full[i : i+1]))
			continue
		}
		i++
		if i == len(full) || timeFields[full[i]] == "" || seen[full[i]] && full[i] != '%' {
			return nil, fmt.Errorf("%w: time format %q: write it as for date(1), each once of %%Y %%y %%m %%d %%H %%M %%S %%F %%T %%R, "+
				"or %%s; or %s, for the time at which the files were changed", ErrInvalid, format, timeFromFile)
		}
		seen[full[i]] = true
		pattern.WriteString(timeFields[full[i]])
	}
	if day := (seen['Y'] || seen['y']) && seen['m'] && seen['d']; !day && !seen['s'] {
		return nil, fmt.Errorf("%w: time format %q has no day: it needs %%Y, %%m and %%d, or %%s", ErrInvalid, format)
	}
	compiled, err := regexp.Compile(pattern.String())
	if err != nil { // it is not UTF-8
		return nil, fmt.Errorf("%w: time format %q: %w", ErrInvalid, format, err)
	}
	return compiled, nil
}
