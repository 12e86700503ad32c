package caddybackup

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/caddy-backup/caddy-backup/backup"
)

func repairCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "repair",
		Short: "Repairs the index or the snapshots of a repository",
		Long: `Repairs what a check found: first the index, then the snapshots.
Both take an exclusive lock; --dry-run says what they would do.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(repairIndexCommand(), repairSnapshotsCommand())
	return cmd
}

func repairIndexCommand() *cobra.Command {
	q := backup.RepairRequest{What: backup.RepairIndex}
	cmd := &cobra.Command{
		Use:   "index",
		Short: "Makes the index say what the packs hold",
		Long: `Makes the index anew where it is damaged or does not fit the packs, from the packs' own headers. What is right in it
stays. Packs that a check found damaged are read: what is whole in them is stored again, and then no index lists
them any more. Packs themselves are never deleted; a prune does that.`,
		Args: cobra.NoArgs,
		RunE: repairAction(&q),
	}
	cmd.Flags().BoolVar(&q.ReadAll, "read-all-packs", false, "Read the headers of all packs, not only where the index is in doubt")
	cmd.Flags().BoolVarP(&q.DryRun, "dry-run", "n", false, "Only say what would be done")
	return cmd
}

func repairSnapshotsCommand() *cobra.Command {
	q := backup.RepairRequest{What: backup.RepairSnapshots}
	cmd := &cobra.Command{
		Use:   "snapshots",
		Short: "Writes snapshots that lost something anew, without what is lost",
		Long: `Writes snapshots that lost something anew, tagged "repaired", without what is lost. What is left of a damaged file
bears its name with .LOST at its end, and a file LOST.txt lists all of it. The index must be right: repair it
first. The old snapshots stay; --forget deletes them, and those whose files cannot be read.`,
		Args: cobra.NoArgs,
		RunE: repairAction(&q),
	}
	cmd.Flags().BoolVar(&q.Forget, "forget", false, "Delete the old snapshots, and snapshot files that cannot be read")
	cmd.Flags().BoolVarP(&q.DryRun, "dry-run", "n", false, "Only say what would be done")
	return cmd
}

func repairAction(q *backup.RepairRequest) func(*cobra.Command, []string) error {
	return action(func(ctx context.Context, s *session, _ []string) error {
		q.Repository = s.repository
		run, err := s.Repair(ctx, *q)
		if err != nil {
			return err
		}
		run, err = s.follow(ctx, run)
		return s.report(run, err)
	})
}
