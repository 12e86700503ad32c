package caddybackup

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/caddy-backup/caddy-backup/backup"
)

func jobsCommand() *cobra.Command {
	var added bool
	cmd := &cobra.Command{
		Use:   "jobs [job]",
		Short: "Lists jobs and schedules, with the last and the next run",
		Long:  "Lists jobs and schedules, with the last and the next run. The next run is known to the server only: with --standalone nothing runs by itself.",
		Args:  cobra.MaximumNArgs(1),
		RunE: action(func(ctx context.Context, s *session, args []string) error {
			if added {
				return s.printSettings(ctx, args)
			}
			jobs, err := s.jobs(ctx, args)
			if err != nil {
				return err
			}
			if s.json {
				return s.printJSON(jobs)
			}
			if err := s.printJobs(jobs); err != nil {
				return err
			}
			if len(args) > 0 {
				return s.printAdded(jobs[0])
			}
			repositories, err := s.Repositories(ctx)
			if err != nil {
				return err
			}
			return s.printPlanned(repositories)
		}),
	}
	cmd.Flags().BoolVar(&added, "added", false, "Print the settings with which the job was added at run time, as JSON")
	return cmd
}

// printSettings prints how a job was added; what may be a secret is not told.
func (s *session) printSettings(ctx context.Context, jobs []string) error {
	if len(jobs) == 0 {
		return errors.New("--added is for one job: name it")
	}
	x, err := s.AddedJob(ctx, jobs[0])
	if err != nil {
		return err
	}
	return s.printJSON(x)
}

// jobs are the one that is named, or all.
func (s *session) jobs(ctx context.Context, names []string) ([]backup.JobStatus, error) {
	if len(names) == 0 {
		return s.Jobs(ctx)
	}
	job, err := s.Job(ctx, names[0])
	return []backup.JobStatus{job}, err
}

func (s *session) printJobs(jobs []backup.JobStatus) error {
	var t table
	row := func(job, schedule, last, state, good, drilled, next, note string) {
		cells := []string{job, schedule, last, state, good, drilled, next, note}
		if !slices.ContainsFunc(jobs, drills) {
			cells = slices.Delete(cells, 5, 6)
		}
		t.row(cells...)
	}
	row("JOB", "SCHEDULE", "LAST RUN", "", "LAST GOOD", "DRILLED", "NEXT RUN", "")
	for _, j := range jobs {
		state, last := lastRun(j.Zone, j.LastRun)
		row(printable(j.Name), scheduleOf(j.Schedule), last, state, timeOr(j.Zone, j.LastGood, "never"), timeOr(j.Zone, j.Drill.LastGood, "never"),
			timeOr(j.Zone, j.NextRun, "-"), standing(j))
	}
	return t.write(s.out)
}

// drills reports whether backups of the job are tried out, or ever were.
func drills(j backup.JobStatus) bool { return !j.Drill.Schedule.IsZero() || j.Drill.LastRun != nil }

// standing is what a person should know of a job beside its last run.
func standing(j backup.JobStatus) string {
	switch {
	case j.Standing == backup.StandingBroken:
		return "BROKEN: " + printable(j.Broken)
	case !j.Enabled:
		return "off"
	case j.Standing == backup.StandingUnknown:
		return "UNKNOWN: the history of runs cannot be read"
	case j.Standing == backup.StandingDamaged:
		return "DAMAGED"
	case j.Standing == backup.StandingFound:
		return "not backed up here; found is a snapshot of " + timeIn(j.Zone, j.Found.Time)
	case j.Standing == backup.StandingUnproven:
		return "drill FAILED " + timeIn(j.Zone, j.Drill.Failed.Ended)
	case j.Overdue():
		return "OVERDUE since " + timeIn(j.Zone, j.OverdueSince)
	case j.Standing == backup.StandingUndrilled:
		return "drill OVERDUE since " + timeIn(j.Zone, j.Drill.OverdueSince)
	case j.Running != nil:
		return string(j.Running.State)
	case j.Added != nil:
		return "added " + timeIn(j.Zone, j.Added.Created)
	}
	return ""
}

// printAdded says of a job where it comes from, if that is not the configuration.
func (s *session) printAdded(j backup.JobStatus) error {
	a := j.Added
	if a == nil {
		return nil
	}
	var t table
	t.row()
	t.row("Added at run time", timeIn(j.Zone, a.Created))
	t.row("Changed", timeIn(j.Zone, a.Modified), "by "+printable(a.By))
	return t.write(s.out)
}

// printPlanned lists the checks and prunes that happen by themselves, if there are any.
func (s *session) printPlanned(repositories []backup.RepositoryStatus) error {
	var t table
	for _, r := range repositories {
		for _, p := range r.Planned {
			if len(t.rows) == 0 {
				t.row()
				t.row("REPOSITORY", "", "SCHEDULE", "LAST RUN", "", "NEXT RUN")
			}
			state, last := lastRun(r.Zone, p.LastRun)
			t.row(printable(r.Name), string(p.Kind), p.When(), last, state, timeOr(r.Zone, p.Next, "-"))
		}
	}
	return t.write(s.out)
}

func lastRun(zone string, run *backup.Run) (state, at string) {
	if run == nil {
		return "", "never"
	}
	return string(run.State), timeIn(zone, run.Created)
}

func scheduleOf(s backup.Schedule) string {
	if s.IsZero() {
		return "by hand"
	}
	return s.String()
}

func timeOr(zone string, at time.Time, otherwise string) string {
	if at.IsZero() {
		return otherwise
	}
	return timeIn(zone, at)
}
