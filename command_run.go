package caddybackup

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/caddy-backup/caddy-backup/backup"
)

func initCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "init",
		Short: "Creates a repository",
		Long:  "Creates the repository where the configuration says. Without a password in the configuration a random one is made and kept in a file.",
		Args:  cobra.NoArgs,
		RunE: action(func(ctx context.Context, s *session, _ []string) error {
			made, err := s.InitRepository(ctx, s.repository)
			if err != nil {
				return err
			}
			if s.json {
				return s.printJSON(made)
			}
			return s.printRepository(made)
		}),
	}
}

func (s *session) printRepository(r backup.RepositoryStatus) error {
	var t table
	t.row("Repository", r.Name)
	t.row("Location", r.Location)
	t.row("ID", r.ID)
	if r.GeneratedPassword != "" {
		t.row("Password", "in "+r.GeneratedPassword)
	}
	if err := t.write(s.out); err != nil {
		return err
	}
	if r.GeneratedPassword != "" {
		s.note("Keep a copy of the password in another place: without it nothing can be restored. " +
			"caddy backup kit --show-password prints all that is needed.")
	}
	return nil
}

func runCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "run [job...]",
		Short: "Backs up jobs now and waits for them",
		Long:  "Backs up the jobs, one after the other, and waits for them. Without a name: all that are enabled. One that fails does not keep the others from running.",
		RunE: action(func(ctx context.Context, s *session, jobs []string) error {
			jobs, err := s.jobsOr(ctx, jobs, func(j backup.JobStatus) bool { return j.Enabled },
				"there is no job to run: add one to the configuration, or name one that is switched off")
			if err != nil {
				return err
			}
			runs, err := s.inTurn(ctx, jobs, s.runJob)
			if s.json {
				return errors.Join(s.printJSON(runs), err)
			}
			return err
		}),
	}
}

func (s *session) runJob(ctx context.Context, job string) (backup.Run, error) {
	run, err := s.Backup(ctx, job)
	if err != nil {
		return run, err
	}
	run, err = s.follow(ctx, run)
	if err == nil && !s.json {
		fmt.Fprintf(s.out, "%s: %s\n", job, summary(run))
	}
	return run, err
}

func checkCommand() *cobra.Command {
	var q backup.CheckRequest
	cmd := &cobra.Command{
		Use:   "check",
		Short: "Verifies repositories",
		Long: `Verifies the structure of the whole repository, and with --read-data also every byte of the data. With
--read-data-subset it reads a part of them: 5% (what was not read for the longest time, so that 20 such checks
read everything), 500MiB (likewise), or 2/10 (the second of ten groups).

` + eachHelp,
		Args: cobra.NoArgs,
		RunE: action(func(ctx context.Context, s *session, _ []string) error {
			if q.AcceptFewer {
				if err := s.oneOnly(ctx, "accept-fewer"); err != nil {
					return err
				}
			}
			return s.eachRepository(ctx, func(ctx context.Context, repository string) (any, error) {
				q.Repository = repository
				return s.check(ctx, q)
			})
		}),
	}
	cmd.Flags().BoolVar(&q.ReadData, "read-data", false, "Read and verify all data")
	cmd.Flags().StringVar(&q.Subset, "read-data-subset", "", "Read and verify a part of the data: 5%, 2/10 or 500MiB")
	cmd.MarkFlagsMutuallyExclusive("read-data", "read-data-subset")
	cmd.Flags().BoolVar(&q.AcceptFewer, "accept-fewer", false, acceptFewerHelp+", or put another repository there")
	return cmd
}

// check checks, waits, and tells.
func (s *session) check(ctx context.Context, q backup.CheckRequest) (any, error) {
	run, err := s.Check(ctx, q)
	if err != nil {
		return nil, err
	}
	run, err = s.follow(ctx, run)
	if s.json {
		return run, err
	}
	return nil, s.report(run, err)
}

// report prints what came out of a run that is not a backup.
func (s *session) report(run backup.Run, err error) error {
	if s.json && run.ID != "" {
		return errors.Join(s.printJSON(run), err)
	}
	for _, f := range run.Findings {
		kind := "note"
		if f.Error {
			kind = "error"
		}
		fmt.Fprintf(s.out, "%s: %s\n", kind, strings.TrimPrefix(printable(f.File+": "+f.Text), ": "))
	}
	if err == nil {
		fmt.Fprintln(s.out, summary(run))
	}
	return err
}

const acceptFewerHelp = "Accept that others removed snapshots or keys, or added keys, since the last run"
