package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
)

// The series is what a prune is measured on: a dump a day, of which the last ones are kept.
const (
	dumpsMade = 30
	dumpsKept = 7
)

func (c *contest) seriesOf(side int) string { return c.repository(side) + "-series" }

// prepareSeries fills a repository of each side with the dumps of all days and forgets the first of them. It is done
// once; each round prunes a copy.
func (c *contest) prepareSeries(ctx context.Context) error {
	fmt.Fprintf(os.Stderr, "a series of %d dumps\n", dumpsMade)
	for side := range 2 {
		if err := c.quietly(ctx, side, "init", c.seriesOf(side)); err != nil {
			return err
		}
	}
	path := c.dump + "-series"
	defer os.Remove(path)
	for day := range dumpsMade {
		if err := c.writeDay(path, day); err != nil {
			return err
		}
		for side := range 2 {
			if err := c.backUpDay(ctx, side, path); err != nil {
				return err
			}
		}
	}
	for side := range 2 {
		if err := c.quietly(ctx, side, "forget", c.seriesOf(side)); err != nil {
			return err
		}
	}
	return nil
}

func (c *contest) writeDay(path string, day int) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := writeDayOf(f, c.series, day); err != nil {
		return err
	}
	return f.Close()
}

func (c *contest) backUpDay(ctx context.Context, side int, path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	cmd := c.command(ctx, side, "backup", c.seriesOf(side))
	cmd.Stdin = f
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("backup of a series: %w: %s", err, out)
	}
	return nil
}

// thin measures the prune of a copy. Both sides are to leave nothing unused, so that packs must be written anew.
func (c *contest) thin(ctx context.Context, side int, prove bool) (cost, error) {
	dir := c.repository(side) + "-pruned"
	defer removeRepository(dir)
	for _, suffix := range []string{"", cacheSuffix} {
		if _, err := os.Stat(c.seriesOf(side) + suffix); err != nil {
			continue // we have no cache
		}
		if out, err := exec.CommandContext(ctx, "cp", "-a", c.seriesOf(side)+suffix, dir+suffix).CombinedOutput(); err != nil {
			return cost{}, fmt.Errorf("copying a repository: %w: %s", err, out)
		}
	}
	before := treeSize(dir)
	took, err := c.measure(ctx, side, "prune", dir)
	if err != nil || !prove {
		return took, err
	}
	fmt.Fprintf(os.Stderr, "%s: %d bytes became %d\n", [2]string{"restic", "ours"}[side], before, treeSize(dir))
	return took, c.quietly(ctx, restic, "check", dir)
}
