package caddybackup

import (
	"context"
	"path/filepath"
	"slices"

	"github.com/spf13/cobra"

	"github.com/caddy-backup/caddy-backup/backup"
)

func importCommand() *cobra.Command {
	var q backup.ImportRequest
	cmd := &cobra.Command{
		Use:   "import <job> <part> <file-or-pattern...>",
		Short: "Makes snapshots of dumps that exist as files",
		Long: `Makes a snapshot of the job of each file, as if the job had made the dump then: for the files that a cron job
has left behind. Files packed with gzip, bzip2 or zstd are stored unpacked. Each is read to its end, and checked as
far as its kind of source can; one that is cut off or damaged makes no snapshot, and the others go on. One that was
imported before is left out, so that an import that was interrupted can be run again.

A snapshot gets the time that stands in the file's name, in the zone of the configuration, else the time at which
the file was changed. --dry-run says which. --time-format says what stands in the names, as for date(1):
%Y-%m-%d_%H%M.

The server reads the files, so it must be allowed to.`,
		Args: cobra.MinimumNArgs(3),
		RunE: action(func(ctx context.Context, s *session, args []string) error {
			q.Job, q.Part, q.Files = args[0], args[1], nil
			for _, file := range args[2:] {
				file, err := filepath.Abs(file) // the server has another working folder
				if err != nil {
					return err
				}
				q.Files = append(q.Files, file)
			}
			run, err := s.Import(ctx, q)
			if err != nil {
				return err
			}
			run, err = s.follow(ctx, run)
			return partly(run, s.report(run, err))
		}),
	}
	cmd.Flags().StringVar(&q.TimeFormat, "time-format", "", `What stands in the names, as for date(1); or "mtime"`)
	cmd.Flags().BoolVar(&q.DryRun, "dry-run", false, "Only say what would be done")
	return cmd
}

// partly gives the failure of a run its exit code when some of what it was to do is done.
func partly(run backup.Run, err error) error {
	done := slices.ContainsFunc(run.Findings, func(f backup.Finding) bool { return !f.Error })
	if err == nil || !done || run.State != backup.StateFailed {
		return err
	}
	return &codeError{err, exitPartly}
}
