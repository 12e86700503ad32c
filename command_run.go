package caddybackup

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
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
		Short: "Verifies a repository",
		Long: `Verifies the structure of the whole repository, and with --read-data also every byte of the data. With
--read-data-subset it reads a part of them: 5% (what was not read for the longest time, so that 20 such checks
read everything), 500MiB (likewise), or 2/10 (the second of ten groups).`,
		Args: cobra.NoArgs,
		RunE: action(func(ctx context.Context, s *session, _ []string) error {
			q.Repository = s.repository
			run, err := s.Check(ctx, q)
			if err != nil {
				return err
			}
			run, err = s.follow(ctx, run)
			return s.report(run, err)
		}),
	}
	cmd.Flags().BoolVar(&q.ReadData, "read-data", false, "Read and verify all data")
	cmd.Flags().StringVar(&q.Subset, "read-data-subset", "", "Read and verify a part of the data: 5%, 2/10 or 500MiB")
	cmd.MarkFlagsMutuallyExclusive("read-data", "read-data-subset")
	cmd.Flags().BoolVar(&q.AcceptFewer, "accept-fewer", false, acceptFewerHelp)
	return cmd
}

func restoreCommand() *cobra.Command {
	var q backup.RestoreRequest
	cmd := &cobra.Command{
		Use:   "restore <snapshot> [path]",
		Short: "Restores a snapshot, or a part of it",
		Long: `Restores a snapshot, or the file or folder at a path in it: with --target as files below a folder, where nothing
is overwritten; with --into through the source, into a new database or a new file that does not exist yet.
The snapshot is an ID, the beginning of one, or "latest" (of --job).`,
		Args: cobra.RangeArgs(1, 2),
		RunE: action(func(ctx context.Context, s *session, args []string) error {
			if err := fillRestore(&q, s.repository, args); err != nil {
				return err
			}
			x, err := s.Snapshot(ctx, q.Repository, q.Snapshot, q.Job)
			if err != nil {
				return err
			}
			q.Snapshot = x.ID // "latest" might be another one when the restore begins
			s.note("restoring snapshot %s of %s, made %s", short(x.ID), printable(strings.Join(x.Paths, " ")), localTime(x.Time))
			run, err := s.Restore(ctx, q)
			if err != nil {
				return err
			}
			run, err = s.follow(ctx, run)
			return s.report(run, err)
		}),
	}
	flags := cmd.Flags()
	flags.StringVarP(&q.Target, "target", "t", "", "Folder to restore files into; made when missing")
	flags.StringVar(&q.Place, "into", "", "New database, or path of a new file (with a slash in it), to restore a dump into")
	flags.StringVarP(&q.Job, "job", "j", "", "Job whose latest snapshot is meant")
	cmd.MarkFlagsOneRequired("target", "into")
	cmd.MarkFlagsMutuallyExclusive("target", "into")
	return cmd
}

// fillRestore makes paths absolute: the server has another working folder. A place without a slash is left alone, it
// is a database's name.
func fillRestore(q *backup.RestoreRequest, repository string, args []string) (err error) {
	q.Repository, q.Snapshot = repository, args[0]
	if len(args) > 1 {
		q.Path = args[1]
	}
	if q.Target != "" {
		if q.Target, err = filepath.Abs(q.Target); err != nil {
			return err
		}
	}
	if strings.Contains(q.Place, "/") {
		q.Place, err = filepath.Abs(q.Place)
	}
	return err
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
