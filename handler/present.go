package handler

import (
	"slices"
	"time"

	"github.com/caddy-backup/caddy-backup/backup"
)

// The answers of the API: lists are objects with a total and an array that is never null; times are UTC. These funcs
// change copies only: what the Service returned may be shared.

type jobList struct {
	Total int                `json:"total"`
	Jobs  []backup.JobStatus `json:"jobs"`
}

type runList struct {
	Total int          `json:"total"`
	Runs  []backup.Run `json:"runs"`
}

type snapshotPage struct {
	Total     int               `json:"total"`
	Page      int               `json:"page"` // from 1
	PerPage   int               `json:"per_page"`
	Snapshots []backup.Snapshot `json:"snapshots"`
	Safety    int               `json:"safety,omitempty"` // left out
	Damaged   string            `json:"damaged,omitempty"`
}

type contentList struct {
	Total   int              `json:"total"`
	Entries []backup.Content `json:"entries"`
}

type repositoryList struct {
	Total        int                       `json:"total"`
	Repositories []backup.RepositoryStatus `json:"repositories"`
}

// each presents a copy of every element.
func each[T, U any](in []T, present func(T) U) []U {
	out := make([]U, len(in))
	for i, v := range in {
		out[i] = present(v)
	}
	return out
}

// pointed presents a copy of what p points to.
func pointed[T any](p *T, present func(T) T) *T {
	if p == nil {
		return nil
	}
	v := present(*p)
	return &v
}

func presentRun(r backup.Run) backup.Run {
	toUTC(&r.Created, &r.Started, &r.Ended, &r.Scheduled)
	if r.Removed != nil {
		r.Removed = each(r.Removed, func(s backup.RemovedSnapshot) backup.RemovedSnapshot { toUTC(&s.Time); return s })
	}
	if r.Log != nil {
		r.Log = each(r.Log, func(l backup.LogLine) backup.LogLine { toUTC(&l.Time); return l })
	}
	return r
}

func presentJob(j backup.JobStatus) backup.JobStatus {
	j.Sources = array(j.Sources)
	j.Running = pointed(j.Running, presentRun)
	j.LastRun = pointed(j.LastRun, presentRun)
	j.Drill.Running, j.Drill.LastRun, j.Drill.Failed = pointed(j.Drill.Running, presentRun), pointed(j.Drill.LastRun, presentRun), pointed(j.Drill.Failed, presentRun)
	toUTC(&j.Drill.LastGood, &j.Drill.Next, &j.Drill.OverdueSince)
	toUTC(&j.LastGood, &j.NextRun, &j.OverdueSince)
	j.Found = pointed(j.Found, func(f backup.Found) backup.Found { toUTC(&f.Time); return f })
	j.Added = pointed(j.Added, func(a backup.AddedJob) backup.AddedJob { toUTC(&a.Created, &a.Modified); return a })
	return j
}

func presentContent(c backup.Content) backup.Content {
	toUTC(&c.Time)
	return c
}

func presentSnapshot(s backup.Snapshot) backup.Snapshot {
	toUTC(&s.Time)
	s.Paths, s.Tags = array(s.Paths), array(s.Tags)
	if s.Parts != nil {
		s.Parts = each(s.Parts, presentContent)
	}
	s.Manifest = pointed(s.Manifest, func(m backup.Manifest) backup.Manifest { toUTC(&m.Started, &m.Ended); return m })
	return s
}

// presentRepository is for a caller: where the generated password lies is told to admins only.
func presentRepository(who Caller) func(backup.RepositoryStatus) backup.RepositoryStatus {
	return func(r backup.RepositoryStatus) backup.RepositoryStatus {
		r.LastCheck = pointed(r.LastCheck, presentRun)
		if r.Planned != nil {
			r.Planned = each(r.Planned, presentPlanned)
		}
		if who.Role < Admin {
			r.GeneratedPassword = ""
		}
		return r
	}
}

func presentPlanned(p backup.Planned) backup.Planned {
	toUTC(&p.Next)
	p.LastRun = pointed(p.LastRun, presentRun)
	return p
}

func presentHealth(h backup.Health) backup.Health {
	h.Reasons = array(h.Reasons)
	return h
}

// array is s, or an empty slice when s is nil: JSON then says [] and not null.
func array[T any](s []T) []T {
	if s == nil {
		return []T{}
	}
	return slices.Clip(s)
}

func toUTC(times ...*time.Time) {
	for _, t := range times {
		*t = t.UTC()
	}
}
