package caddybackup

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/caddy-backup/caddy-backup/backup"
	"github.com/caddy-backup/caddy-backup/repo"
)

// eachHelp is how commands that go through the repositories tell it.
const eachHelp = `Without -r it goes through all repositories of the configuration; one that fails does not keep the others, and the
exit code is that of the worst. Of several, --json prints an array, in which each object names its repository.`

// eachRepository does work for the repository that was named, or for one after the other until ctx ends. What work returns is what
// --json prints, nil for nothing; without --json, work prints. With a single repository all is as if it had been named, for
// -r may be left out then.
func (s *session) eachRepository(ctx context.Context, work func(ctx context.Context, repository string) (any, error)) error {
	repositories, err := s.repositories(ctx)
	if err != nil {
		return err
	}
	if len(repositories) < 2 {
		answer, err := work(ctx, s.repository)
		if s.json && answer != nil {
			return errors.Join(s.printJSON(answer), err)
		}
		return err
	}
	answers, failures := []any{}, []error(nil)
	for i, r := range repositories {
		s.heading(i, r)
		answer, err := work(ctx, r.Name)
		if answer != nil {
			answers = append(answers, answer)
		}
		if err != nil {
			failures = append(failures, err)
			s.note("%s: %v", printable(r.Name), err)
		}
		if ctx.Err() != nil {
			failures = []error{context.Canceled}
			break
		}
	}
	err = worst(failures, len(repositories))
	if s.json {
		return errors.Join(s.printJSON(answers), err)
	}
	return err
}

// repositories are those that a command is about, if it was not told one.
func (s *session) repositories(ctx context.Context) ([]backup.RepositoryStatus, error) {
	if s.repository != "" {
		return nil, nil
	}
	return s.Repositories(ctx)
}

// homeOf takes the repository of a job for the one that is meant, unless one was named. Of a job that is not in the
// configuration any more it is the first that has snapshots of it.
func (s *session) homeOf(ctx context.Context, job string) error {
	repositories, err := s.repositories(ctx)
	if err != nil || job == "" || len(repositories) < 2 {
		return err
	}
	if j, err := s.Job(ctx, job); err == nil {
		s.repository = j.Repository
		return nil
	}
	var unknown error
	for _, r := range repositories {
		_, err := s.Snapshots(ctx, backup.SnapshotQuery{Repository: r.Name, Job: job, Limit: 1})
		if err == nil {
			s.repository = r.Name
			return nil
		}
		unknown = cmp.Or(unknown, err)
	}
	return unknown
}

// snapshot finds a snapshot by its name: by an ID in any repository, unless one was named, or a job is known, whose repository it
// is in.
func (s *session) snapshot(ctx context.Context, name, job string) (backup.Snapshot, error) {
	x, err := s.Snapshot(ctx, s.repository, name, job)
	if job != "" || !errors.Is(err, backup.ErrNotFound) && !errors.Is(err, repo.ErrNotFound) {
		return x, err
	}
	repositories, _ := s.repositories(ctx)
	for _, r := range repositories {
		if x, err := s.Snapshot(ctx, r.Name, name, ""); err == nil {
			return x, nil
		}
	}
	return x, err
}

// heading says which of several repositories comes now.
func (s *session) heading(i int, r backup.RepositoryStatus) {
	if s.json {
		return
	}
	if i > 0 {
		fmt.Fprintln(s.out)
	}
	fmt.Fprintf(s.out, "Repository %s, at %s\n", printable(r.Name), printable(r.Location))
}

// oneOnly refuses a flag that says of one repository that somebody looked, when it would be said of several.
func (s *session) oneOnly(ctx context.Context, flag string) error {
	repositories, err := s.repositories(ctx)
	if err != nil || len(repositories) < 2 {
		return err
	}
	names := make([]string, len(repositories))
	for i, r := range repositories {
		names[i] = r.Name
	}
	return fmt.Errorf("--%s is said of one repository: name it with -r; there are: %s", flag, strings.Join(names, ", "))
}

// severity orders exit codes from the worst on: what is broken, what cannot be opened, what may be well later.
var severity = []int{exitCancelled, exitFailed, exitWrongPassword, exitNoRepository, exitLocked, exitPartly}

// worst sums up how several repositories went. Its exit code is that of the worst failure.
func worst(failures []error, repositories int) error {
	if len(failures) == 0 {
		return nil
	}
	code := exitCode(slices.MinFunc(failures, func(a, b error) int {
		return slices.Index(severity, exitCode(a)) - slices.Index(severity, exitCode(b))
	}))
	if code == exitCancelled {
		return context.Canceled
	}
	return &codeError{fmt.Errorf("%d of %d repositories failed", len(failures), repositories), code}
}
