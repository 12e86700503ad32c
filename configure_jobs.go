package caddybackup

import (
	"fmt"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-backup/caddy-backup/backup"
	"github.com/caddy-backup/caddy-backup/dump"
	"github.com/caddy-backup/caddy-backup/internal/setting"
)

func (a *App) configureJobs(ctx caddy.Context) error {
	for i, j := range a.Jobs {
		if j == nil {
			return fmt.Errorf("job %d is null", i)
		}
		job, err := a.configureJob(ctx, j)
		if err != nil {
			return fmt.Errorf("job %s: %w", j.Name, err)
		}
		a.config.Jobs = append(a.config.Jobs, job)
	}
	a.leaveOut(a.config.Jobs)
	return nil
}

func (a *App) configureJob(ctx caddy.Context, j *Job) (job backup.Job, err error) {
	job = backup.Job{
		Name: j.Name, To: a.repositoryOf(j), Timeout: time.Duration(j.Timeout), Off: j.Disabled, Retention: j.Retention, ShrinkLimit: j.ShrinkLimit,
		DownloadFormat: j.DownloadFormat,
		Schedule:       j.Schedule, Zone: a.config.Zone, Jitter: time.Duration(j.Jitter), Stall: time.Duration(j.StallTimeout), OverdueAfter: time.Duration(j.OverdueAfter), Drill: j.Drill, Notify: j.Notify,
	}
	if job.MailTo, err = setting.ResolveAll("mail_to", j.MailTo); err != nil {
		return job, err
	}
	if job.Before, err = configureHooks("before", j.Before); err != nil {
		return job, err
	}
	if job.After, err = configureHooks("after", j.After); err != nil {
		return job, err
	}
	if j.Timezone != "" {
		if job.Zone, err = loadZone(j.Timezone); err != nil {
			return job, err
		}
	}
	for k, s := range j.Sources {
		if s == nil {
			return job, fmt.Errorf("source %d is null", k)
		}
		source, err := s.configure(ctx)
		if err != nil {
			return job, fmt.Errorf("source %s: %w", s.Name, err)
		}
		job.Sources = append(job.Sources, source)
	}
	return job, nil
}

// configureHooks prepares the programs of a job that come before or after its dumps.
func configureHooks(when string, hooks []*dump.Hook) (list []backup.Hook, err error) {
	for i, h := range hooks {
		if h == nil {
			return nil, fmt.Errorf("%s: program %d is null", when, i)
		}
		if err := h.Configure(); err != nil {
			return nil, fmt.Errorf("%s: %w", when, err)
		}
		list = append(list, h)
	}
	return list, nil
}

// repositoryOf applies the default of `to`. A job whose repository remains open is Validate's to refuse.
func (a *App) repositoryOf(j *Job) string {
	if j.To == "" && len(a.config.Repositories) == 1 {
		return a.config.Repositories[0].Name
	}
	if j.To == "" {
		return defaultRepository
	}
	return j.To
}

// leaveOut has the sources of jobs that save folders leave out what is ours: repositories, for one within itself would grow
// without end; generated passwords and password files, for one within its repository is lost with it; and databases that are
// sources themselves, for a copy of one in use is worth nothing, and reading its files beside a dump in the same process
// would take away the locks that the dump holds on them.
func (a *App) leaveOut(jobs []backup.Job) {
	paths := a.PrivatePaths()
	for _, j := range jobs {
		for _, s := range j.Sources {
			if database, ok := s.Source.(interface{ OwnFiles() []string }); ok {
				paths = append(paths, database.OwnFiles()...)
			}
		}
	}
	for _, j := range jobs {
		for _, s := range j.Sources {
			if folder, ok := s.Source.(interface{ SkipPaths(paths []string) }); ok {
				folder.SkipPaths(paths)
			}
		}
	}
}
