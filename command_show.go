package caddybackup

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"

	"github.com/caddy-backup/caddy-backup/backup"
)

func listCommand() *cobra.Command {
	var limit int
	var job string
	var safety bool
	cmd := &cobra.Command{
		Use:   "list [job]",
		Short: "Lists snapshots, newest first",
		Long: "Lists snapshots, newest first; those of a job in its own repository. What was saved right before restores, of what they replaced, " +
			"is listed with --safety.\n\n" + eachHelp,
		Args: cobra.MaximumNArgs(1),
		RunE: action(func(ctx context.Context, s *session, args []string) error {
			q := backup.SnapshotQuery{Job: job, Limit: limit, Safety: backup.SafetyNot}
			if safety {
				q.Safety = backup.SafetyOnly
			}
			if len(args) > 0 {
				if job != "" && job != args[0] {
					return fmt.Errorf("snapshots of %s or of %s? Name one job", args[0], job)
				}
				q.Job = args[0]
			}
			if err := s.homeOf(ctx, q.Job); err != nil {
				return err
			}
			return s.eachRepository(ctx, func(ctx context.Context, repository string) (any, error) {
				q.Repository = repository
				list, err := s.Snapshots(ctx, q)
				switch {
				case err != nil:
					return nil, err
				case s.json:
					return snapshotsOf{repository, list}, nil
				}
				return nil, s.printSnapshots(ctx, list)
			})
		}),
	}
	cmd.Flags().StringVarP(&job, "job", "j", "", "Job whose snapshots are listed (default: all)")
	cmd.Flags().BoolVar(&safety, "safety", false, "List the safety snapshots, made before restores, instead of the backups")
	cmd.Flags().IntVarP(&limit, "limit", "n", 0, "At most so many snapshots of a repository (default: all)")
	return cmd
}

// snapshotsOf is a list of snapshots with the name of its repository, unless nobody said one: there is only one then.
type snapshotsOf struct {
	Repository string `json:"repository,omitempty"`
	backup.SnapshotList
}

func (s *session) printSnapshots(ctx context.Context, list backup.SnapshotList) error {
	t := table{right: []int{4, 5}}
	clock := s.clock(ctx)
	t.row("ID", "TIME", "JOB", "HOST", "SIZE", "NEW", "")
	for _, x := range list.Snapshots {
		job := x.Job
		if job == "" {
			job = strings.Join(x.Paths, " ") // made by another program
		}
		t.row(short(x.ID), clock.of(x.Job, x.Time), printable(job), printable(x.Host), size(x.Size), size(x.Added), badges(x))
	}
	if err := t.write(s.out); err != nil {
		return err
	}
	if more := list.Total - len(list.Snapshots); more > 0 {
		s.note("and %d more", more)
	}
	if list.Safety > 0 {
		s.note("and what restores replaced, in safety snapshots: %d; --safety lists them", list.Safety)
	}
	if list.Damaged != "" {
		s.note("warning: %s", printable(list.Damaged))
	}
	return nil
}

// badges are the tags of a snapshot that mean something here.
func badges(x backup.Snapshot) string {
	var marks []string
	for tag, mark := range map[string]string{"keep": "pinned", "suspect": "suspect", "safety": "safety"} {
		if slices.Contains(x.Tags, tag) {
			marks = append(marks, mark)
		}
	}
	slices.Sort(marks)
	if x.Note != "" {
		marks = append(marks, strconv.Quote(x.Note))
	}
	return printable(strings.Join(marks, ", "))
}

func showCommand() *cobra.Command {
	var job string
	cmd := &cobra.Command{
		Use:   "show <snapshot>",
		Short: "Shows one snapshot with its parts and their hashes",
		Args:  cobra.ExactArgs(1),
		RunE: action(func(ctx context.Context, s *session, args []string) error {
			x, err := s.snapshot(ctx, args[0], job)
			if err != nil {
				return err
			}
			if s.json {
				return s.printJSON(x)
			}
			return s.printSnapshot(ctx, x)
		}),
	}
	addJobFlag(cmd, &job)
	return cmd
}

func (s *session) printSnapshot(ctx context.Context, x backup.Snapshot) error {
	var t table
	field := func(name, value string) {
		if value != "" {
			t.row(name, printable(value))
		}
	}
	field("Snapshot", x.ID)
	if x.StableID != x.ID {
		field("Stable ID", x.StableID)
	}
	field("Time", s.clock(ctx).of(x.Job, x.Time))
	field("Job", x.Job)
	field("Host", x.Host)
	field("Run", x.Run)
	field("Repository", x.Repository)
	field("Paths", strings.Join(x.Paths, " "))
	field("Tags", strings.Join(x.Tags, " "))
	if x.Manifest != nil && slices.Contains(x.Tags, "suspect") {
		field("Suspect", strings.Join(x.Manifest.Doubts, "; "))
	}
	field("Note", x.Note)
	field("Size", fmt.Sprintf("%s, %s new (%s stored)", size(x.Size), size(x.Added), size(x.Stored)))
	if len(x.Parts) > 0 {
		t.row()
	}
	if err := t.write(s.out); err != nil || len(x.Parts) == 0 {
		return err
	}
	rows := rowsOf(x)
	parts := table{right: []int{2, 3}}
	parts.row("PATH", "TYPE", "SIZE", "ROWS", "SHA-256")
	for _, p := range x.Parts {
		parts.row(printable(p.Path), p.Type, size(p.Size), rows[p.Path], p.SHA256)
	}
	return parts.write(s.out)
}

// rowsOf counts the rows in the parts of a snapshot, by their paths: which of two still has what was deleted.
func rowsOf(x backup.Snapshot) map[string]string {
	counted := map[string]string{}
	if x.Manifest == nil {
		return counted
	}
	for _, p := range x.Manifest.Parts {
		if p.Rows == nil {
			continue
		}
		var all int64
		for _, n := range p.Rows {
			all += n
		}
		counted["/"+x.Job+"/"+p.Name] = humanize.Comma(all)
	}
	return counted
}

func lsCommand() *cobra.Command {
	var job string
	cmd := &cobra.Command{
		Use:   "ls <snapshot> [path]",
		Short: "Lists a folder of a snapshot",
		Args:  cobra.RangeArgs(1, 2),
		RunE: action(func(ctx context.Context, s *session, args []string) error {
			path := "/"
			if len(args) > 1 {
				path = args[1]
			}
			x, err := s.snapshot(ctx, args[0], job)
			if err != nil {
				return err
			}
			contents, err := s.List(ctx, x.Repository, x.ID, path)
			if err != nil {
				return err
			}
			if s.json {
				return s.printJSON(contents)
			}
			return s.printContents(ctx, x.Job, contents)
		}),
	}
	addJobFlag(cmd, &job)
	return cmd
}

func (s *session) printContents(ctx context.Context, job string, contents []backup.Content) error {
	clock := s.clock(ctx)
	t := table{right: []int{1}}
	for _, c := range contents {
		name := printable(c.Path)
		if c.Target != "" {
			name += " -> " + printable(c.Target)
		}
		t.row(c.Mode, size(c.Size), clock.of(job, c.Time), name)
	}
	return t.write(s.out)
}

func catCommand() *cobra.Command {
	var job string
	cmd := &cobra.Command{
		Use:   "cat <snapshot> <path>",
		Short: "Writes a file of a snapshot to the standard output",
		Args:  cobra.ExactArgs(2),
		RunE: action(func(ctx context.Context, s *session, args []string) error {
			id, err := s.find(ctx, args[0], job)
			if err != nil {
				return err
			}
			r, want, err := s.Open(ctx, s.repository, id, args[1])
			if err != nil {
				return err
			}
			defer r.Close()
			got, err := io.Copy(s.out, r)
			if err == nil && want >= 0 && got != want {
				err = io.ErrUnexpectedEOF
			}
			if err != nil && ctx.Err() == nil {
				return fmt.Errorf("%s is not complete, %d bytes were written: %w", args[1], got, err)
			}
			return err
		}),
	}
	addJobFlag(cmd, &job)
	return cmd
}

// find resolves a snapshot's name to its ID, which keeps its meaning while others are made. What follows is asked of its
// repository, which the job may have chosen, or the ID.
func (s *session) find(ctx context.Context, name, job string) (string, error) {
	x, err := s.snapshot(ctx, name, job)
	if err == nil {
		s.repository = x.Repository
	}
	return x.ID, err
}

func addJobFlag(cmd *cobra.Command, job *string) {
	cmd.Flags().StringVarP(job, "job", "j", "", "Job whose latest snapshot is meant: the newest good one")
}
