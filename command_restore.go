package caddybackup

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/caddy-backup/caddy-backup/backup"
)

func restoreCommand() *cobra.Command {
	var q backup.RestoreRequest
	var file string
	cmd := &cobra.Command{
		Use:   "restore <snapshot> [path]",
		Short: "Restores a snapshot, or a part of it",
		Long: `Restores a snapshot, or the file or folder at a path in it: with --target as files below a folder, where nothing
is overwritten; with --into through the source, into a new database or a new file that does not exist yet; with
--overwrite over the live one, in its place. The snapshot is an ID, the beginning of one, or "latest" (of --job).

--overwrite looks first whether everything is there, asks for the name of what it replaces (or takes it from
--confirm), and makes a safety snapshot of what is there; the command that brings that back is told at the end.

With --file a dump that is a file is restored, packed or not, as a part of --job:
restore --file /old/shop.sql.gz --job shop db.dump --into shop_before`,
		Args: cobra.MaximumNArgs(2),
		RunE: action(func(ctx context.Context, s *session, args []string) error {
			if file != "" {
				return s.restoreFile(ctx, file, q, args)
			}
			if len(args) == 0 {
				return errors.New("which snapshot is to be restored? Give its ID, or \"latest\" with --job")
			}
			return s.restore(ctx, q, args)
		}),
	}
	flags := cmd.Flags()
	flags.StringVarP(&q.Target, "target", "t", "", "Folder to restore files into; made when missing")
	flags.StringVar(&q.Place, "into", "", "New database, or path of a new file (with a slash in it), to restore a dump into")
	flags.BoolVar(&q.Overwrite, "overwrite", false, "Replace the live one")
	flags.StringVar(&q.Confirm, "confirm", "", "Name of the live one that is to be replaced; without it, it is asked for")
	flags.BoolVar(&q.Force, "force", false, "Replace it although others have it open")
	flags.BoolVar(&q.NoSafety, "no-safety", false, "Replace it without a safety snapshot of what is there")
	flags.BoolVar(&q.DryRun, "dry-run", false, "Only look whether it could be replaced")
	flags.StringVarP(&q.Job, "job", "j", "", "Job whose latest snapshot is meant: the newest good one")
	flags.StringVar(&file, "file", "", "Restore this dump, and not one of a snapshot")
	cmd.MarkFlagsOneRequired("target", "into", "overwrite")
	cmd.MarkFlagsMutuallyExclusive("target", "into", "overwrite")
	cmd.MarkFlagsMutuallyExclusive("target", "file")
	return cmd
}

// restore restores from a snapshot.
func (s *session) restore(ctx context.Context, q backup.RestoreRequest, args []string) error {
	if err := fillRestore(&q, s.repository, args); err != nil {
		return err
	}
	x, err := s.snapshot(ctx, q.Snapshot, q.Job)
	if err != nil {
		return err
	}
	if q.Snapshot == "latest" {
		newest, err := s.newest(ctx, q.Job)
		if err != nil {
			return err
		}
		if newest != "" && newest != x.ID {
			s.note("the newest snapshot, %s, is in doubt, so the newest good one is taken; to restore that one, give its ID", short(newest))
		}
	}
	q.Repository, q.Snapshot = x.Repository, x.ID // "latest" might be another one when the restore begins
	s.note("restoring snapshot %s of %s, made %s", short(x.ID), printable(strings.Join(x.Paths, " ")), s.clock(ctx).of(x.Job, x.Time))
	return s.confirmed(ctx, q.Overwrite, &q.Confirm, &q.DryRun, func() (backup.Run, error) { return s.Restore(ctx, q) })
}

// restoreFile restores from a file.
func (s *session) restoreFile(ctx context.Context, file string, q backup.RestoreRequest, args []string) error {
	if q.Job == "" || len(args) > 1 {
		return errors.New("restore --file needs --job, and may be given the name of one part of it")
	}
	f := backup.FileRestore{Job: q.Job, Place: q.Place, Overwrite: q.Overwrite, Confirm: q.Confirm, Force: q.Force,
		NoSafety: q.NoSafety, DryRun: q.DryRun}
	if len(args) > 0 {
		f.Part = args[0]
	}
	var err error
	if f.File, err = filepath.Abs(file); err != nil {
		return err
	}
	if f.Place, err = absolutePlace(f.Place); err != nil {
		return err
	}
	return s.confirmed(ctx, f.Overwrite, &f.Confirm, &f.DryRun, func() (backup.Run, error) { return s.RestoreFile(ctx, f) })
}

// confirmed starts a restore and follows it. Of one that overwrites and was not confirmed it first asks for that.
func (s *session) confirmed(ctx context.Context, overwrite bool, confirm *string, dry *bool, start func() (backup.Run, error)) error {
	if overwrite && !*dry && *confirm == "" {
		*dry = true
		run, err := start()
		if err == nil {
			run, err = s.follow(ctx, run)
		}
		if err != nil {
			return err
		}
		if err := s.ask(run); err != nil {
			return err
		}
		*dry, *confirm = false, run.Confirm
	}
	run, err := start()
	if err != nil {
		return err
	}
	run, err = s.follow(ctx, run)
	return s.report(run, err)
}

// ask has a person type the name of what is going to be replaced.
func (s *session) ask(run backup.Run) error {
	names := printable(strings.Join(run.Over, " and "))
	what, asked := "this replaces "+names, "This replaces "+names
	if len(run.Absent) > 0 {
		what = printable(run.Summary)
		asked = what
	}
	if !term.IsTerminal(int(os.Stdin.Fd())) {
		return fmt.Errorf("%s; if that is right, add: --confirm %s", what, printable(run.Confirm))
	}
	fmt.Fprintf(s.err, "%s. To go on, type %s: ", asked, printable(run.Confirm))
	typed, _ := bufio.NewReader(os.Stdin).ReadString('\n') // half a line is no confirmation either
	if strings.TrimRight(typed, "\r\n") != run.Confirm {
		return errors.New("that is another name: nothing was changed")
	}
	return nil
}

// fillRestore makes paths absolute: the server has another working folder.
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
	q.Place, err = absolutePlace(q.Place)
	return err
}

// absolutePlace makes a path absolute. A place without a slash is left alone, it is a database's name.
func absolutePlace(place string) (string, error) {
	if !strings.Contains(place, "/") {
		return place, nil
	}
	return filepath.Abs(place)
}

func drillCommand() *cobra.Command {
	var snapshot string
	cmd := &cobra.Command{
		Use:   "drill [job...]",
		Short: "Tries out whether backups come back",
		Long: `Restores the newest good snapshot of each job into a scratch place, has it checked by its engine, compares it with
what was found out at its dump, and removes it again. What cannot be restored is read to its end, and that is
said. Without a name: all jobs that are enabled. The live databases and folders are not touched.`,
		RunE: action(func(ctx context.Context, s *session, jobs []string) error {
			if snapshot != "" && len(jobs) != 1 {
				return errors.New("--snapshot needs the name of its job")
			}
			jobs, err := s.jobsOr(ctx, jobs, func(j backup.JobStatus) bool { return j.Enabled }, "there is no job to drill")
			if err != nil {
				return err
			}
			runs, err := s.inTurn(ctx, jobs, func(ctx context.Context, job string) (backup.Run, error) {
				return s.drillJob(ctx, backup.DrillRequest{Job: job, Snapshot: snapshot})
			})
			if s.json {
				return errors.Join(s.printJSON(runs), err)
			}
			return err
		}),
	}
	cmd.Flags().StringVar(&snapshot, "snapshot", "", "Try this snapshot out, and not the newest good one")
	return cmd
}

func (s *session) drillJob(ctx context.Context, q backup.DrillRequest) (backup.Run, error) {
	run, err := s.Drill(ctx, q)
	if err != nil {
		return run, err
	}
	run, err = s.follow(ctx, run)
	if s.json {
		return run, err
	}
	for _, e := range run.Drill {
		fmt.Fprintf(s.out, "%s: %s: %s\n", q.Job, printable(e.Part), printable(cmp.Or(e.Error, e.Checked)))
	}
	if err == nil {
		fmt.Fprintf(s.out, "%s: %s\n", q.Job, summary(run))
	}
	return run, err
}
