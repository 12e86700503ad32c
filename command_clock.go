package caddybackup

import (
	"context"
	"time"
)

// clock knows in which zone people are told times: of a job in the job's timezone, else in that of the configuration, else in this
// machine's. The mails have the same rule. The zero clock has this machine's for all.
type clock struct {
	jobs  map[string]string // names of zones
	other string            // of what is about no job that is configured
}

// clock asks for the zones. Where they cannot be told, times are shown in this machine's: that is right, too.
func (s *session) clock(ctx context.Context) clock {
	c := clock{jobs: make(map[string]string)}
	if jobs, err := s.Jobs(ctx); err == nil {
		for _, j := range jobs {
			c.jobs[j.Name] = j.Zone
		}
	}
	if repositories, err := s.Repositories(ctx); err == nil && len(repositories) > 0 {
		c.other = repositories[0].Zone
	}
	return c
}

// of shows a time that has to do with a job; "" is none.
func (c clock) of(job string, t time.Time) string {
	if zone, ok := c.jobs[job]; ok {
		return timeIn(zone, t)
	}
	return timeIn(c.other, t)
}

// timeIn shows a time in a zone, of which the name is given; "" is this machine's.
func timeIn(zone string, t time.Time) string {
	there, err := time.LoadLocation(zone)
	if zone == "" || err != nil {
		there = time.Local
	}
	return timeFor(t, there, time.Local)
}

// timeFor shows a time in a zone. Where the reader's clock shows another time, the offset from UTC stands behind it.
func timeFor(t time.Time, zone, reader *time.Location) string {
	there, here := t.In(zone), t.In(reader)
	_, offset := there.Zone()
	if _, expected := here.Zone(); expected != offset {
		return there.Format("2006-01-02 15:04:05 -07:00")
	}
	return there.Format("2006-01-02 15:04:05")
}
