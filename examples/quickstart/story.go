package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/dustin/go-humanize"

	"github.com/caddy-backup/caddy-backup/backup"
	"github.com/caddy-backup/caddy-backup/handler"
)

// story runs the main job and tells it, a line a step.
type story struct {
	w      io.Writer
	at     places
	shop   *shop
	client *handler.Client
}

func (s *story) tell(step, format string, args ...any) {
	fmt.Fprintf(s.w, "  %-12s %s\n", step, fmt.Sprintf(format, args...))
}

// run is the main job: back up, change, back up again, restore the first, compare.
func (s *story) run(ctx context.Context) error {
	if _, err := s.client.InitRepository(ctx, "default"); err != nil {
		return fmt.Errorf("creating the repository: %w", err)
	}
	first, err := s.backUp(ctx, "1st backup")
	if err != nil {
		return err
	}
	if err := s.trade(ctx); err != nil {
		return err
	}
	if _, err := s.backUp(ctx, "2nd backup"); err != nil {
		return err
	}
	return s.restore(ctx, first)
}

func (s *story) backUp(ctx context.Context, step string) (backup.Run, error) {
	started, err := s.client.Backup(ctx, "shop")
	if err != nil {
		return started, err
	}
	run, err := s.wait(ctx, started)
	if err != nil {
		return run, fmt.Errorf("%s: %w", step, err)
	}
	s.tell(step, "%s in %s: %s read, %s of it new, %s stored; snapshot %.8s", run.State, took(run),
		size(run.Progress.Bytes), size(run.Progress.New), size(run.Progress.Stored), run.Snapshot)
	return run, nil
}

// wait asks until the run has ended; only ok is good.
func (s *story) wait(ctx context.Context, run backup.Run) (backup.Run, error) {
	for !run.State.Done() {
		select {
		case <-ctx.Done():
			return run, ctx.Err()
		case <-time.After(50 * time.Millisecond):
		}
		var err error
		if run, err = s.client.Run(ctx, run.ID); err != nil {
			return run, err
		}
	}
	if run.State != backup.StateOK {
		return run, fmt.Errorf("run %s is %s: %s", run.ID, run.State, run.Error)
	}
	return run, nil
}

func (s *story) trade(ctx context.Context) error {
	const orders = 500
	if err := s.shop.trade(ctx, orders); err != nil {
		return err
	}
	raised, err := s.shop.raisePrices(ctx)
	if err != nil {
		return err
	}
	s.tell("a busy day", "%d orders more, %d prices raised", orders, raised)
	return nil
}

// restore gives the first backup back as a new file, and holds it against what the manifest says and what the living
// shop has.
func (s *story) restore(ctx context.Context, first backup.Run) error {
	snapshot, err := s.client.Snapshot(ctx, "default", first.Snapshot, "")
	if err != nil {
		return err
	}
	if snapshot.Manifest == nil || len(snapshot.Manifest.Parts) != 1 {
		return errors.New("the snapshot's manifest does not hold one part")
	}
	part := snapshot.Manifest.Parts[0]
	started, err := s.client.Restore(ctx, backup.RestoreRequest{
		Repository: "default", Snapshot: snapshot.ID, Path: part.Name, Place: s.at.restored,
	})
	if err != nil {
		return err
	}
	run, err := s.wait(ctx, started)
	if err != nil {
		return err
	}
	s.tell("restore", "the first snapshot, as %s, in %s", shown(s.at.restored), took(run))
	return s.judge(ctx, part.SHA256)
}

func (s *story) judge(ctx context.Context, want string) error {
	sum, err := digest(s.at.restored)
	if err != nil {
		return err
	}
	if sum != want {
		return fmt.Errorf("%s has SHA-256 %s, and the manifest says %s", s.at.restored, sum, want)
	}
	holds, err := verify(ctx, s.at.restored)
	if err != nil {
		return err
	}
	if err := compare(ctx, s.at.shop, s.at.restored); err != nil {
		return err
	}
	s.tell("compare", "equal: SHA-256 as in the manifest; the rows of all %d tables as in the living shop,", len(lasting))
	s.tell("", "but for what came later, prices and stock; SQLite finds it whole; all %s orders add up", humanize.Comma(holds.Orders))
	return nil
}

// shown is a path as people type it here: relative, when it is below the working folder.
func shown(path string) string {
	wd, err := os.Getwd()
	if err != nil {
		return path
	}
	if rel, err := filepath.Rel(wd, path); err == nil && filepath.IsLocal(rel) {
		return rel
	}
	return path
}

func size(n int64) string { return humanize.Bytes(uint64(n)) }

func took(run backup.Run) time.Duration {
	return run.Ended.Sub(run.Started).Round(10 * time.Millisecond)
}
