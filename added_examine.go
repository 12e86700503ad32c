package caddybackup

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/caddy-backup/caddy-backup/backup"
	"github.com/caddy-backup/caddy-backup/handler"
)

// What a source can be, too, to be asked before a job with it is added at run time.
type (
	// admitter is asked whether there is something to save. all says that naming nothing means everything.
	admitter interface {
		Admit(ctx context.Context, all bool) error
	}
	// overlapper names what another source of its kind saves as well; "" when that is nothing, or nobody can tell.
	overlapper interface {
		Overlaps(other backup.Source) string
	}
	// keepsSecret names the setting that holds a secret as it is, and not as a placeholder; "" when none does.
	keepsSecret interface {
		LiteralSecret() string
	}
)

// examine loads a job as it is about to be stored, and asks its sources. What would make a run fail today is a note: a server may
// be down for an hour.
func (a *App) examine(ctx context.Context, s backup.JobSetting, q handler.JobAddition) (notes []string, err error) {
	x := a.load(s)
	defer x.unload()
	if x.job.Broken != "" {
		return nil, fmt.Errorf("%w: job %s: %s", backup.ErrInvalid, s.Name, x.job.Broken)
	}
	if text := x.job.CriesTooEarly(time.Now()); text != "" && !x.job.Off {
		notes = append(notes, text)
	}
	for _, source := range x.job.Sources {
		if asked, ok := source.Source.(admitter); ok {
			if err := asked.Admit(ctx, q.AllApps); err != nil {
				return nil, fmt.Errorf("%w: source %s: %w", backup.ErrInvalid, source.Name, err)
			}
		}
		twice := a.savedAlready(s.Name, source)
		if twice != "" && !q.Force {
			return nil, fmt.Errorf("%w: %s; to save it twice, say so (--force)", backup.ErrConflict, twice)
		}
		if twice != "" {
			notes = append(notes, twice)
		}
		if secret, ok := source.Source.(keepsSecret); ok && secret.LiteralSecret() != "" {
			notes = append(notes, fmt.Sprintf("source %s: %s holds a secret, which is kept in Caddy's storage as it is; a placeholder such as "+
				"{env.NAME} or {file./path} would keep it out", source.Name, secret.LiteralSecret()))
		}
		for _, d := range a.service.ExamineSource(ctx, source) {
			if d.Level == backup.LevelWarning || d.Level == backup.LevelError {
				notes = append(notes, fmt.Sprintf("source %s: %s", source.Name, d.Text))
			}
		}
	}
	return notes, nil
}

// savedAlready says which other job saves something of what a source would; "" when none does.
func (a *App) savedAlready(job string, source backup.NamedSource) string {
	own, ok := source.Source.(overlapper)
	if !ok {
		return ""
	}
	for _, j := range a.jobsNow() {
		if j.Name == job {
			continue
		}
		for _, other := range j.Sources {
			if what := own.Overlaps(other.Source); what != "" {
				return fmt.Sprintf("%s is backed up already, by source %s of job %s", what, other.Name, j.Name)
			}
		}
	}
	return ""
}

// hasJob reports whether a job is in force.
func (a *App) hasJob(name string) bool {
	return slices.ContainsFunc(a.jobsNow(), func(j backup.Job) bool { return j.Name == name })
}

// jobsNow are all jobs in force.
func (a *App) jobsNow() []backup.Job {
	a.now.mu.Lock()
	defer a.now.mu.Unlock()
	return a.now.jobs
}
