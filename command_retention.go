package caddybackup

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/caddy-backup/caddy-backup/backup"
)

func forgetCommand() *cobra.Command {
	var q backup.ForgetRequest
	var prune bool
	cmd := &cobra.Command{
		Use:   "forget [job...]",
		Short: "Removes the snapshots that the retention of jobs does not keep",
		Long: `Lists the snapshots of the jobs with what their retention says of each, and removes those that it does not keep.
Without a name: all jobs that are enabled and have a retention, each in its own repository; with -r only those of that
one. The space is freed by a prune.

Nothing is removed when others removed snapshots since the last run, when a snapshot cannot be read, or when the clock
is wrong.`,
		RunE: action(func(ctx context.Context, s *session, jobs []string) error {
			jobs, err := s.jobsOr(ctx, jobs, func(j backup.JobStatus) bool { return j.Enabled && j.Retention != nil },
				"no job has a retention, so nothing is ever removed: add a retention block to a job")
			if err != nil {
				return err
			}
			if q.DryRun {
				return s.preview(ctx, jobs)
			}
			return s.forgetJobs(ctx, jobs, q, prune)
		}),
	}
	flags := cmd.Flags()
	flags.BoolVarP(&q.DryRun, "dry-run", "n", false, "Only list what would be removed")
	flags.BoolVar(&prune, "prune", false, "Free the space afterwards")
	flags.BoolVar(&q.Confirm, "confirm", false, "Go on although more than half of a job's snapshots are to be removed")
	flags.BoolVar(&q.AcceptFewer, "accept-fewer", false, acceptFewerHelp)
	return cmd
}

// preview shows what would be done, and fails when that would be refused.
func (s *session) preview(ctx context.Context, jobs []string) error {
	var reports []backup.RetentionReport
	var refused error
	for _, job := range jobs {
		report, err := s.Retention(ctx, job)
		if err != nil {
			return err
		}
		reports = append(reports, report)
		if refused == nil && report.Refused != "" {
			refused = errors.New(printable(report.Refused))
		}
	}
	if s.json {
		return errors.Join(s.printJSON(reports), refused)
	}
	for _, report := range reports {
		if err := s.printRetention(ctx, report, "would be removed"); err != nil {
			return err
		}
	}
	return refused
}

func (s *session) printRetention(ctx context.Context, r backup.RetentionReport, removed string) error {
	t := table{right: []int{2}}
	t.row("ID", "TIME", "SIZE", "", "WHY")
	clock := s.clock(ctx)
	for _, x := range r.Snapshots {
		fate := "kept"
		if !x.Kept {
			fate = removed
		}
		t.row(short(x.ID), clock.of(r.Job, x.Time), size(x.Size), fate, printable(strings.Join(x.Reasons, ", ")))
	}
	if len(r.Snapshots) == 0 {
		fmt.Fprintf(s.out, "%s: no snapshots\n", r.Job)
		return nil
	}
	if err := t.write(s.out); err != nil {
		return err
	}
	fmt.Fprintf(s.out, "%s: %d kept, %d %s\n", r.Job, r.Keep, r.Remove, removed)
	return nil
}

// forgetJobs goes through the jobs in turn, and then prunes their repositories if all went well.
func (s *session) forgetJobs(ctx context.Context, jobs []string, q backup.ForgetRequest, prune bool) error {
	runs, err := s.inTurn(ctx, jobs, func(ctx context.Context, job string) (backup.Run, error) {
		q.Job = job
		return s.forgetJob(ctx, q)
	})
	for _, r := range repositoriesOf(runs) {
		if prune && err == nil {
			var run backup.Run
			run, err = s.prune(ctx, backup.PruneRequest{Repository: r, AcceptFewer: q.AcceptFewer})
			runs = append(runs, run)
		}
	}
	if s.json {
		return errors.Join(s.printJSON(runs), err)
	}
	return err
}

// repositoriesOf names each repository of the runs once.
func repositoriesOf(runs []backup.Run) (names []string) {
	for _, run := range runs {
		if !slices.Contains(names, run.Repository) {
			names = append(names, run.Repository)
		}
	}
	return names
}

func (s *session) forgetJob(ctx context.Context, q backup.ForgetRequest) (backup.Run, error) {
	report, err := s.Retention(ctx, q.Job)
	if err != nil {
		return backup.Run{}, err
	}
	if !s.json && report.Retention != nil {
		if err := s.printRetention(ctx, report, "to be removed"); err != nil {
			return backup.Run{}, err
		}
	}
	run, err := s.Forget(ctx, q)
	if err == nil {
		run, err = s.follow(ctx, run)
	}
	if err == nil && !s.json {
		fmt.Fprintf(s.out, "%s: %s\n", q.Job, summary(run))
	}
	return run, err
}

func pruneCommand() *cobra.Command {
	var q backup.PruneRequest
	cmd := &cobra.Command{
		Use:   "prune",
		Short: "Frees the space that no snapshot needs",
		Long: `Deletes the data that no snapshot needs any more. Files of which only a part is unused are written anew without
it, until at most the share of --max-unused of the repository is unused.

` + eachHelp,
		Args: cobra.NoArgs,
		RunE: action(func(ctx context.Context, s *session, _ []string) error {
			for flag, set := range map[string]bool{"accept-fewer": q.AcceptFewer, "confirm": q.Confirm} {
				if set {
					if err := s.oneOnly(ctx, flag); err != nil {
						return err
					}
				}
			}
			return s.eachRepository(ctx, func(ctx context.Context, repository string) (any, error) {
				q.Repository = repository
				run, err := s.prune(ctx, q)
				if s.json && run.ID != "" {
					return run, err
				}
				return nil, err
			})
		}),
	}
	flags := cmd.Flags()
	flags.BoolVarP(&q.DryRun, "dry-run", "n", false, "Only say what would be freed")
	flags.StringVar(&q.MaxUnused, "max-unused", "", "Share of the repository that may stay unused, 5% by default; 0% for none, or unlimited")
	flags.BoolVar(&q.AcceptFewer, "accept-fewer", false, acceptFewerHelp)
	flags.BoolVar(&q.Confirm, "confirm", false, "Delete all data when there is no snapshot at all")
	return cmd
}

// prune prunes, waits, and tells.
func (s *session) prune(ctx context.Context, q backup.PruneRequest) (backup.Run, error) {
	run, err := s.Prune(ctx, q)
	if err == nil {
		run, err = s.follow(ctx, run)
	}
	if s.json {
		return run, err
	}
	if run.Prune != nil {
		for _, note := range run.Prune.Notes {
			s.note("note: %s", printable(note))
		}
	}
	if err == nil {
		fmt.Fprintln(s.out, summary(run))
	}
	return run, err
}

func keepCommand(name, short string, pin bool) *cobra.Command {
	var job, note string
	cmd := &cobra.Command{
		Use:   name + " <snapshot>...",
		Short: short,
		Long: short + `. A pinned snapshot is removed by no retention and counted by no limit; it bears the
tag "keep", which restic honours with forget --keep-tag keep.`,
		Args: cobra.MinimumNArgs(1),
	}
	addJobFlag(cmd, &job)
	if pin {
		cmd.Flags().StringVar(&note, "note", "", "Why, in a line; of one that is pinned it replaces the note, and an empty one removes it")
	}
	cmd.RunE = action(func(ctx context.Context, s *session, snapshots []string) error {
		q := backup.KeepRequest{Keep: pin}
		if cmd.Flags().Changed("note") {
			q.Note = &note
		}
		return s.retag(ctx, snapshots, job, func(id string) (backup.Run, error) {
			q.Repository, q.Snapshot = s.repository, id
			return s.Keep(ctx, q)
		})
	})
	return cmd
}

func acceptCommand() *cobra.Command {
	var job string
	cmd := &cobra.Command{
		Use:   "accept <snapshot>...",
		Short: "Says that suspect snapshots are right as they are",
		Long: `Makes suspect snapshots good ones, after somebody has looked: retention counts them, and later backups are compared
with them. A backup is suspect when a part shrank by more than the shrink_limit of its job, or became empty.`,
		Args: cobra.MinimumNArgs(1),
		RunE: action(func(ctx context.Context, s *session, snapshots []string) error {
			for i, name := range snapshots {
				if name == "latest" { // elsewhere that is the newest good one
					id, err := s.newest(ctx, job)
					if err != nil {
						return err
					}
					snapshots[i] = cmp.Or(id, name)
				}
			}
			return s.retag(ctx, snapshots, job, func(id string) (backup.Run, error) {
				return s.Accept(ctx, backup.AcceptRequest{Repository: s.repository, Snapshot: id})
			})
		}),
	}
	addJobFlag(cmd, &job)
	return cmd
}

// newest is the ID of a job's newest snapshot, good or not, but for safety snapshots; "" when there is none, or no job is named.
func (s *session) newest(ctx context.Context, job string) (string, error) {
	if job == "" {
		return "", nil
	}
	list, err := s.Snapshots(ctx, backup.SnapshotQuery{Repository: s.repository, Job: job, Safety: backup.SafetyNot, Limit: 1})
	if err != nil || len(list.Snapshots) == 0 {
		return "", err
	}
	return list.Snapshots[0].ID, nil
}

// retag starts a run for each of the snapshots that are named, and waits for it; it ends at the first that fails.
func (s *session) retag(ctx context.Context, snapshots []string, job string, start func(id string) (backup.Run, error)) error {
	var runs []backup.Run
	for _, name := range snapshots {
		id, err := s.find(ctx, name, job)
		if err != nil {
			return err
		}
		run, err := start(id)
		if err == nil {
			run, err = s.follow(ctx, run)
		}
		if err != nil {
			return err
		}
		if runs = append(runs, run); !s.json {
			fmt.Fprintln(s.out, summary(run))
		}
	}
	if s.json {
		return s.printJSON(runs)
	}
	return nil
}

func deleteCommand() *cobra.Command {
	var q backup.DeleteRequest
	cmd := &cobra.Command{
		Use:   "delete <snapshot>...",
		Short: "Deletes single snapshots",
		Long: `Deletes single snapshots, named by their IDs or the beginnings of them. One that cannot be deleted does not keep
the others: pinned ones, those of other programs, and the last good one of a job. The space is freed by a prune.`,
		Args: cobra.MinimumNArgs(1),
		RunE: action(func(ctx context.Context, s *session, snapshots []string) error {
			q.Repository, q.Snapshots = s.repository, snapshots
			run, err := s.Delete(ctx, q)
			if err != nil {
				return err
			}
			run, err = s.follow(ctx, run)
			s.printRemoved(ctx, run)
			return s.report(run, err)
		}),
	}
	flags := cmd.Flags()
	flags.StringVarP(&q.Job, "job", "j", "", "Delete snapshots of this job only; it says in which repository they are")
	flags.BoolVarP(&q.DryRun, "dry-run", "n", false, "Only list what would be deleted")
	flags.BoolVar(&q.Confirm, "confirm", false, "Delete the last good snapshot of a job, too")
	flags.BoolVar(&q.AcceptFewer, "accept-fewer", false, acceptFewerHelp)
	return cmd
}

func (s *session) printRemoved(ctx context.Context, run backup.Run) {
	if s.json || len(run.Removed) == 0 {
		return
	}
	clock := s.clock(ctx)
	verb := "deleted"
	if run.DryRun {
		verb = "would be deleted"
	}
	for _, x := range run.Removed {
		fmt.Fprintf(s.out, "%s: %s of %s, made %s\n", verb, short(x.ID), printable(x.Job), clock.of(x.Job, x.Time))
	}
}
