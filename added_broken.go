package caddybackup

import (
	"context"
	"encoding/json"
	"io"
	"slices"
	"time"

	"github.com/caddy-backup/caddy-backup/backup"
)

// standIn is a job in the place of one that cannot be loaded. It has its name, its schedule and whom it tells, as far as
// those are there, and sources that fail: so its runs are red, and told of as any others.
func (a *App) standIn(s backup.JobSetting, why error) backup.Job {
	j := new(Job)
	_ = json.Unmarshal(s.Job, j) // as much as can be read of it
	j.Name = s.Name
	job := backup.Job{
		Name: j.Name, To: a.repositoryOf(j), Off: j.Disabled, Zone: a.config.Zone, Broken: why.Error(),
		Schedule: j.Schedule, Jitter: max(0, time.Duration(j.Jitter)), OverdueAfter: max(0, time.Duration(j.OverdueAfter)),
		Notify: a.subscriptions(j.Notify),
	}
	if !slices.ContainsFunc(a.config.Repositories, func(r backup.RepositoryConfig) bool { return r.Name == job.To }) {
		job.To = a.config.Repositories[0].Name
	}
	if zone, err := loadZone(j.Timezone); err == nil && j.Timezone != "" {
		job.Zone = zone
	}
	for _, source := range j.Sources {
		if source != nil && checkSourceName(source.Name) == nil && !slices.ContainsFunc(job.Sources, func(s backup.NamedSource) bool { return s.Name == source.Name }) {
			job.Sources = append(job.Sources, backup.NamedSource{Name: source.Name, Kind: engineOf(source), Source: brokenSource{why}})
		}
	}
	if len(job.Sources) == 0 {
		job.Sources = []backup.NamedSource{{Name: "unknown", Kind: "unknown", Source: brokenSource{why}}}
	}
	return job
}

// subscriptions are those that this configuration can serve.
func (a *App) subscriptions(all []backup.Subscription) (served []backup.Subscription) {
	for _, sub := range all {
		sub.Notifiers = slices.DeleteFunc(slices.Clone(sub.Notifiers), func(name string) bool {
			return !slices.ContainsFunc(a.config.Notifiers, func(n backup.NamedNotifier) bool { return n.Name == name })
		})
		sub.On = slices.DeleteFunc(slices.Clone(sub.On), func(e backup.Event) bool { return !slices.Contains(backup.Events, e) })
		if len(sub.Notifiers) > 0 {
			served = append(served, sub)
		}
	}
	return served
}

// engineOf is the kind of a source that may be of no kind that is known.
func engineOf(s *Source) string {
	var guest struct {
		Engine string `json:"engine"`
	}
	if json.Unmarshal(s.SourceRaw, &guest) != nil || guest.Engine == "" {
		return "unknown"
	}
	return guest.Engine
}

// brokenSource can do nothing, and says why.
type brokenSource struct{ why error }

func (s brokenSource) Parts(context.Context, string) ([]backup.Part, error) {
	return nil, s.why
}

func (s brokenSource) Dump(context.Context, backup.Part, io.Writer, *backup.Task) (backup.Facts, error) {
	return backup.Facts{}, s.why
}

func (s brokenSource) Restore(context.Context, backup.Part, io.Reader, string, *backup.Task) error {
	return s.why
}
