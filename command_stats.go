package caddybackup

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"

	"github.com/caddy-backup/caddy-backup/repo"
)

func statsCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "stats",
		Short: "Counts what is in repositories and what it takes",
		Long: `Counts the snapshots, files and bytes of a repository, by job, and what they take: it reads every folder of every
snapshot.

` + eachHelp,
		Args: cobra.NoArgs,
		RunE: action(func(ctx context.Context, s *session, _ []string) error {
			return s.eachRepository(ctx, func(ctx context.Context, repository string) (any, error) {
				stats, err := s.Stats(ctx, repository)
				switch {
				case err != nil:
					return nil, err
				case s.json:
					return statsOf{repository, stats}, nil
				}
				return nil, s.printStats(stats)
			})
		}),
	}
}

// statsOf are the statistics of a repository, with its name, unless nobody said one: there is only one then.
type statsOf struct {
	Repository string `json:"repository,omitempty"`
	repo.RepositoryStats
}

func (s *session) printStats(x repo.RepositoryStats) error {
	jobs := table{right: []int{1, 2, 3}}
	jobs.row("JOB", "SNAPSHOTS", "FILES", "SIZE")
	for _, g := range x.Groups {
		name := printable(g.Name)
		if g.Name == "" {
			name = "(others)"
		}
		jobs.row(name, humanize.Comma(int64(g.Snapshots)), humanize.Comma(g.Files), size(g.Bytes))
	}
	jobs.row("all", humanize.Comma(int64(x.Snapshots)), humanize.Comma(x.Files), size(x.Bytes))
	if err := jobs.write(s.out); err != nil {
		return err
	}
	fmt.Fprintln(s.out)
	var t table
	t.row("Different data", fmt.Sprintf("%s in %s blobs (%.1f times less: deduplicated)", size(x.Plain), humanize.Comma(int64(x.Blobs)), x.Dedup))
	t.row("Stored", fmt.Sprintf("%s (%.1f times less: compressed)", size(x.Stored), x.Compression))
	t.row("Packs", fmt.Sprintf("%s, %s", humanize.Comma(int64(x.Packs)), size(x.PackBytes)))
	t.row("Unused", fmt.Sprintf("%s, and %s stored twice", size(x.Unused), size(x.Duplicate)))
	if x.Unindexed > 0 {
		t.row("In no index", fmt.Sprintf("%s, %s", humanize.Comma(int64(x.Unindexed)), size(x.UnindexedBytes)))
	}
	return t.write(s.out)
}

func diffCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "diff <snapshot> <snapshot>",
		Short: "Tells what changed from one snapshot to another",
		Long: `Tells what changed from the first snapshot to the second: + is there only now, - was there only before, M has other
content, U other metadata only (owner, mode, time), T is of another type. With --json, one object a line; the
last one is the summary.`,
		Args: cobra.ExactArgs(2),
		RunE: action(func(ctx context.Context, s *session, args []string) error {
			enc := json.NewEncoder(s.out)
			tell := s.printChange
			if s.json {
				tell = func(c repo.Change) error { return enc.Encode(c) }
			}
			sum, err := s.Diff(ctx, s.repository, args[0], args[1], tell)
			if err != nil {
				return err
			}
			if s.json {
				return enc.Encode(map[string]repo.DiffSummary{"summary": sum})
			}
			_, err = fmt.Fprintf(s.out, "%d added, %d removed, %d changed, %d with other metadata; %s new (%s stored), %s gone (%s)\n",
				sum.Added, sum.Removed, sum.Changed, sum.Metadata, size(sum.New), size(sum.NewStored), size(sum.Gone), size(sum.GoneStored))
			return err
		}),
	}
}

var changeMarks = map[string]string{repo.Added: "+", repo.Removed: "-", repo.Changed: "M", repo.Metadata: "U", repo.Retyped: "T"}

func (s *session) printChange(c repo.Change) error {
	path := printable(c.Path)
	sizes := ""
	switch {
	case c.Type == "dir":
		path += "/"
	case c.Type != "file" || c.Kind == repo.Metadata:
	case c.Kind == repo.Changed:
		sizes = fmt.Sprintf("  %s -> %s", size(c.Before), size(c.After))
	default:
		sizes = "  " + size(max(c.Before, c.After))
	}
	_, err := fmt.Fprintf(s.out, "%s %s%s\n", changeMarks[c.Kind], path, sizes)
	return err
}
