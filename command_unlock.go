package caddybackup

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/caddy-backup/caddy-backup/backup"
)

func unlockCommand() *cobra.Command {
	var all, dryRun bool
	cmd := &cobra.Command{
		Use:   "unlock",
		Short: "Lists the locks in a repository and removes those of the dead",
		Long: `Lists the locks in a repository, with who holds them, and removes those whose holders are dead: processes of ours that
are provably gone, processes of this machine that do not exist, and whatever was not made anew for 30 minutes. With
--all every lock goes, but those that a living process of ours holds: only do that when you know that nobody works
with the repository.`,
		Args: cobra.NoArgs,
		RunE: action(func(ctx context.Context, s *session, _ []string) error {
			done, err := s.unlock(ctx, all, dryRun)
			if err != nil {
				return err
			}
			if s.json {
				return s.printJSON(done)
			}
			return s.printUnlocked(ctx, done, dryRun)
		}),
	}
	cmd.Flags().BoolVar(&all, "all", false, "Remove also locks whose holders may be alive")
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "List only")
	cmd.MarkFlagsMutuallyExclusive("all", "dry-run")
	return cmd
}

func (s *session) unlock(ctx context.Context, all, dryRun bool) (backup.Unlocked, error) {
	if dryRun {
		locks, err := s.Locks(ctx, s.repository)
		return backup.Unlocked{Removed: []backup.LockStatus{}, Kept: locks}, err
	}
	return s.Unlock(ctx, s.repository, all)
}

func (s *session) printUnlocked(ctx context.Context, done backup.Unlocked, dryRun bool) error {
	var t table
	t.row("LOCK", "KIND", "HOLDER", "SINCE", "")
	clock := s.clock(ctx)
	for _, l := range done.Removed {
		reason := l.Stale
		if reason == "" {
			s.note("warning: removed the lock %s, whose holder may be alive: %s", l.ID.Short(), holder(l))
			reason = "it may have been alive"
		}
		t.row(append(lockCells(clock, l), "removed: "+reason)...)
	}
	for _, l := range done.Kept {
		t.row(append(lockCells(clock, l), keptBecause(l, dryRun))...)
	}
	if len(t.rows) == 1 {
		fmt.Fprintln(s.out, "there are no locks")
		return nil
	}
	return t.write(s.out)
}

func lockCells(c clock, l backup.LockStatus) []string {
	kind, since := "shared", c.of("", l.Time)
	switch {
	case l.Unreadable:
		kind, since = "unreadable", "-"
	case l.Exclusive:
		kind = "exclusive"
	}
	return []string{l.ID.Short(), kind, holder(l), since}
}

func holder(l backup.LockStatus) string {
	if l.Unreadable {
		return "unknown"
	}
	return printable(fmt.Sprintf("%s@%s, process %d", l.Username, l.Hostname, l.PID))
}

func keptBecause(l backup.LockStatus, dryRun bool) string {
	switch {
	case l.Held:
		return "held: its process works"
	case dryRun && l.Stale != "":
		return "would be removed: " + l.Stale
	case l.Unreadable:
		return "kept: it cannot be read; --all removes it"
	}
	return "kept: it may be alive; --all removes it"
}
