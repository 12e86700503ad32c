package caddybackup

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/caddy-backup/caddy-backup/backup"
)

// jobsOr are the jobs that were named, or all that are wanted; none is said when there is no such job. With -r they are those of
// one repository.
func (s *session) jobsOr(ctx context.Context, names []string, wanted func(backup.JobStatus) bool, none string) ([]string, error) {
	if len(names) > 0 {
		return names, s.allIn(ctx, names)
	}
	jobs, err := s.Jobs(ctx)
	if err != nil {
		return nil, err
	}
	for _, j := range jobs {
		if wanted(j) && (s.repository == "" || j.Repository == s.repository) {
			names = append(names, j.Name)
		}
	}
	switch {
	case len(names) > 0:
		return names, nil
	case s.repository != "":
		return nil, fmt.Errorf("of the jobs of repository %s: %s", s.repository, none)
	}
	return nil, errors.New(none)
}

// allIn refuses jobs that are backed up to another repository than the one that was named.
func (s *session) allIn(ctx context.Context, jobs []string) error {
	if s.repository == "" {
		return nil
	}
	for _, name := range jobs {
		j, err := s.Job(ctx, name)
		if err != nil {
			return err
		}
		if j.Repository != s.repository {
			return fmt.Errorf("job %s is backed up to repository %s, and not to %s: leave -r out, or name another job", name, j.Repository, s.repository)
		}
	}
	return nil
}

// inTurn does work for one job after the other until ctx ends, and returns the runs that there are by then. One job that
// fails does not keep the others. A single failure keeps its own exit code; of several jobs it says how many.
func (s *session) inTurn(ctx context.Context, jobs []string, work func(ctx context.Context, job string) (backup.Run, error)) ([]backup.Run, error) {
	runs, failures := []backup.Run{}, []error(nil)
	for _, job := range jobs {
		run, err := work(ctx, job)
		if run.ID != "" {
			runs = append(runs, run)
		}
		if ctx.Err() != nil {
			return runs, cmp.Or(err, context.Canceled)
		}
		if err != nil {
			failures = append(failures, err)
			if len(jobs) > 1 { // a single one is told at the end
				s.note("%s: %v", job, err)
			}
		}
	}
	return runs, outcome(failures, len(jobs))
}

// outcome sums up how jobs went.
func outcome(failures []error, jobs int) error {
	switch {
	case len(failures) == 0:
		return nil
	case len(failures) == 1 && jobs == 1:
		return failures[0]
	case slices.ContainsFunc(failures, suspect):
		return &codeError{fmt.Errorf("%d of %d jobs failed or made a suspect backup", len(failures), jobs), exitPartly}
	case len(failures) == jobs:
		return fmt.Errorf("all %d jobs failed", jobs)
	}
	return &codeError{fmt.Errorf("%d of %d jobs failed", len(failures), jobs), exitPartly}
}

// suspect tells a backup that was made but is in doubt from one that was not made.
func suspect(err error) bool {
	var withCode *codeError
	return errors.As(err, &withCode) && withCode.code == exitPartly
}
