package main

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"time"
)

// contest measures both sides, a round after the other.
type contest struct {
	dir    string // scratch
	dump   string // the stream, in a file that stays in the page cache
	sum    [32]byte
	rounds int
	series int64              // size of each dump of the series
	costs  map[step][2][]cost // by side
	stored [2]int64           // bytes of the repositories after the first backup
	idle   [2]int64           // resident memory of the programs when they do nothing, bytes
}

// The sides, in the order of the arrays.
const (
	restic = iota
	us
)

// step is what is measured.
type step string

const (
	first    step = "first backup"
	again    step = "the same again"
	giving   step = "restore to stdout"
	thinning step = "prune of 30 dumps to 7"
)

var steps = []step{first, again, giving, thinning}

// cost is what a process took from its start to its end.
type cost struct {
	wall, cpu time.Duration
	peak      int64 // resident memory above that of the idle program, bytes
}

// generate writes the dump, and reads it once, so that it lies in the page cache.
func (c *contest) generate(size int64) error {
	f, err := os.Create(c.dump)
	if err != nil {
		return err
	}
	defer f.Close()
	h := sha256.New()
	if err := writeDump(io.MultiWriter(f, h), size); err != nil {
		return err
	}
	h.Sum(c.sum[:0])
	return f.Close()
}

func (c *contest) run(ctx context.Context) error {
	c.costs = map[step][2][]cost{}
	for side := range 2 {
		cmd := c.command(ctx, side, "idle", "")
		if err := cmd.Run(); err != nil {
			return err
		}
		c.idle[side] = peakOf(cmd)
	}
	if err := c.prepareSeries(ctx); err != nil {
		return err
	}
	for round := range c.rounds {
		fmt.Fprintf(os.Stderr, "round %d of %d\n", round+1, c.rounds)
		if err := c.round(ctx, round); err != nil {
			return err
		}
	}
	return nil
}

// round takes every step on both sides, with fresh repositories. The side that goes first changes with the round.
func (c *contest) round(ctx context.Context, round int) error {
	for side := range 2 {
		defer removeRepository(c.repository(side))
		if err := c.quietly(ctx, side, "init", c.repository(side)); err != nil {
			return err
		}
	}
	for _, s := range steps {
		for i := range 2 {
			side := (i + round) % 2
			cost, err := c.take(ctx, side, s, round == 0)
			if err != nil {
				return fmt.Errorf("%s, %s: %w", [2]string{"restic", "ours"}[side], s, err)
			}
			both := c.costs[s]
			both[side] = append(both[side], cost)
			c.costs[s] = both
			if s == first {
				c.stored[side] = treeSize(c.repository(side))
			}
		}
	}
	if round == 0 {
		return c.prove(ctx)
	}
	return nil
}

func (c *contest) repository(side int) string {
	return filepath.Join(c.dir, [2]string{"restic", "ours"}[side])
}

// command is one step of one side as a process.
func (c *contest) command(ctx context.Context, side int, verb, repository string) *exec.Cmd {
	if side == us {
		self, err := os.Executable()
		if err != nil {
			self = os.Args[0]
		}
		return exec.CommandContext(ctx, self, "ours", verb, repository)
	}
	args := map[string][]string{
		"init":    {"init"},
		"backup":  {"backup", "--quiet", "--stdin", "--stdin-filename", "dump.sql"},
		"restore": {"dump", "latest", "dump.sql"},
		"forget":  {"forget", "--quiet", "--keep-last", strconv.Itoa(dumpsKept)},
		"prune":   {"prune", "--quiet", "--max-unused", "0"},
		"check":   {"check", "--quiet", "--read-data"},
		"idle":    {"version"},
	}[verb]
	cmd := exec.CommandContext(ctx, "restic", args...)
	cmd.Env = append(os.Environ(), "RESTIC_REPOSITORY="+repository, "RESTIC_PASSWORD="+password, "RESTIC_CACHE_DIR="+repository+cacheSuffix)
	return cmd
}

// restic keeps its cache beside the repository.
const cacheSuffix = "-cache"

func removeRepository(dir string) {
	os.RemoveAll(dir)
	os.RemoveAll(dir + cacheSuffix)
}

// quietly runs a step that is not measured.
func (c *contest) quietly(ctx context.Context, side int, verb, repository string) error {
	if out, err := c.command(ctx, side, verb, repository).CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", verb, err, out)
	}
	return nil
}

// take takes one step.
func (c *contest) take(ctx context.Context, side int, s step, prove bool) (cost, error) {
	switch s {
	case giving:
		return c.measure(ctx, side, "restore", c.repository(side))
	case thinning:
		return c.thin(ctx, side, prove)
	}
	return c.measure(ctx, side, "backup", c.repository(side))
}

// measure runs one command. Standard input of a backup is the dump's file, standard output is nothing that takes time.
func (c *contest) measure(ctx context.Context, side int, verb, repository string) (cost, error) {
	cmd := c.command(ctx, side, verb, repository)
	if verb == "backup" {
		in, err := os.Open(c.dump)
		if err != nil {
			return cost{}, err
		}
		defer in.Close()
		cmd.Stdin = in
	}
	cmd.Stderr = os.Stderr
	syscall.Sync() // what the one before has left to write must not slow this one down
	began := time.Now()
	if err := cmd.Run(); err != nil {
		return cost{}, err
	}
	return cost{
		wall: time.Since(began),
		cpu:  cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime(),
		peak: peakOf(cmd) - c.idle[side],
	}, nil
}

// peakOf is the largest resident set of a process that has ended, in bytes.
func peakOf(cmd *exec.Cmd) int64 { return cmd.ProcessState.SysUsage().(*syscall.Rusage).Maxrss * 1024 }

// prove makes sure that what was measured was the work: our restore gives the dump, and restic finds our repository
// whole, all data read.
func (c *contest) prove(ctx context.Context) error {
	h := sha256.New()
	cmd := c.command(ctx, us, "restore", c.repository(us))
	cmd.Stdout, cmd.Stderr = h, os.Stderr
	if err := cmd.Run(); err != nil {
		return err
	}
	if [32]byte(h.Sum(nil)) != c.sum {
		return fmt.Errorf("what we restored is not the dump")
	}
	return c.quietly(ctx, restic, "check", c.repository(us))
}

// treeSize is the sum of all files' sizes below a folder.
func treeSize(root string) (n int64) {
	filepath.WalkDir(root, func(_ string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			if info, err := d.Info(); err == nil {
				n += info.Size()
			}
		}
		return nil
	})
	return n
}
