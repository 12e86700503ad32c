package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/dustin/go-humanize"
)

// live measures dumps of a real PostgreSQL database, from pg_dump's start until what it said is stored.
type live struct {
	dir, dsn string
	rounds   int
	costs    map[step][3][]cost // by way
	stored   map[step][3]int64  // bytes, of the last round
}

// The ways in which a dump is stored, in the order of the arrays.
const (
	byGzip = iota
	byRestic
	byUs
)

var (
	wayNames  = [3]string{"pg_dump \\| gzip", "pg_dump \\| restic", "ours"}
	liveSteps = []step{first, changed}
)

// changed is the second dump of a database of which a little has changed.
const changed step = "second backup"

// benchPostgres makes a database on the server of the dsn, and drops it at the end.
func benchPostgres(ctx context.Context, args []string) error {
	set := flag.NewFlagSet("postgres", flag.ExitOnError)
	dsn := set.String("dsn", "host=/run/postgresql user=postgres", "the server, without a database, as key=value; programs can read it: no password")
	size := set.String("size", "1GiB", "size of the rows as text")
	rounds := set.Int("rounds", 3, "how often each step is measured")
	dir := set.String("dir", os.TempDir(), "where the dumps lie meanwhile: twice the size is needed")
	out := set.String("out", "", "file between whose markers the table is written; none: standard output only")
	_ = set.Parse(args)
	bytes, err := humanize.ParseBytes(*size)
	if err != nil {
		return err
	}
	scratch, err := os.MkdirTemp(*dir, "bench")
	if err != nil {
		return err
	}
	defer os.RemoveAll(scratch)
	name := fmt.Sprintf("caddy_bench_%d", os.Getpid())
	l := &live{dir: scratch, dsn: *dsn + " dbname=" + name, rounds: *rounds, costs: map[step][3][]cost{}, stored: map[step][3]int64{}}
	admin := *dsn + " dbname=postgres"
	if err := psql(ctx, admin, "CREATE DATABASE "+name+" TEMPLATE template0 ENCODING 'UTF8'"); err != nil {
		return err
	}
	err = l.run(ctx, int64(bytes))
	err = errors.Join(err, psql(context.WithoutCancel(ctx), admin, "DROP DATABASE "+name))
	if err != nil {
		return err
	}
	return publish(*out, liveBegins, liveEnds, l.report(int64(bytes)))
}

// psql runs a statement.
func psql(ctx context.Context, dsn, sql string) error {
	out, err := exec.CommandContext(ctx, "psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", dsn, "-c", sql).CombinedOutput()
	if err != nil {
		return fmt.Errorf("psql: %w: %s", err, out)
	}
	return nil
}

// load fills the database with the rows of the generated dump.
func (l *live) load(ctx context.Context, size int64) error {
	err := psql(ctx, l.dsn, `CREATE TABLE customers (id int, email text, name text, city text, phone text, joined text, newsletter text);
		CREATE TABLE orders (id int, customer_id int, placed text, status text, total text, reference text, note text);
		CREATE TABLE order_items (id int, order_id int, product_id int, quantity text, price text, discount text);
		CREATE TABLE events (id int, at text, kind text, session text, path text, agent text)`)
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, "psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", l.dsn)
	cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	err = writeDump(in, size)
	if err = errors.Join(err, in.Close(), cmd.Wait()); err != nil {
		return err
	}
	return psql(ctx, l.dsn, "VACUUM ANALYZE")
}

func (l *live) run(ctx context.Context, size int64) error {
	if err := l.load(ctx, size); err != nil {
		return err
	}
	for round := range l.rounds {
		fmt.Fprintf(os.Stderr, "round %d of %d\n", round+1, l.rounds)
		if err := l.round(ctx, round); err != nil {
			return err
		}
	}
	return nil
}

// round takes both steps in all three ways, with fresh repositories. The way that goes first changes with the round.
func (l *live) round(ctx context.Context, round int) error {
	c := &contest{dir: l.dir}
	for side := range 2 {
		defer removeRepository(c.repository(side))
		if err := c.quietly(ctx, side, "init", c.repository(side)); err != nil {
			return err
		}
	}
	for _, s := range liveSteps {
		if s == changed { // one row in a thousand, all over
			if err := psql(ctx, l.dsn, fmt.Sprintf("UPDATE orders SET note = note || '.' WHERE id %% 1000 = %d", round)); err != nil {
				return err
			}
		}
		costs, stored := l.costs[s], l.stored[s]
		for i := range 3 {
			way := (i + round) % 3
			cost, n, err := l.take(ctx, c, way, s)
			if err != nil {
				return fmt.Errorf("%s, %s: %w", wayNames[way], s, err)
			}
			costs[way], stored[way] = append(costs[way], cost), n
		}
		l.costs[s], l.stored[s] = costs, stored
	}
	if round == 0 {
		return c.quietly(ctx, restic, "check", c.repository(us))
	}
	return nil
}

// take makes one dump, and gives what it took and how many bytes are stored then, of gzip those of this dump alone.
func (l *live) take(ctx context.Context, c *contest, way int, s step) (cost, int64, error) {
	zipped := filepath.Join(l.dir, "dump.sql.gz")
	var cmd *exec.Cmd
	place := c.repository(min(way, us))
	switch way {
	case byGzip:
		cmd = exec.CommandContext(ctx, "bash", "-c", `set -o pipefail; pg_dump --dbname="$0" | gzip > "$1" && sync "$1"`, l.dsn, zipped)
		place = zipped
	case byRestic:
		place = c.repository(restic)
		cmd = c.command(ctx, restic, "backup", place)
		cmd.Args = append([]string{"bash", "-c", `set -o pipefail; dsn=$0; pg_dump -Fc -Z0 --dbname="$dsn" | "$@"`, l.dsn}, cmd.Args...)
		bash, err := exec.LookPath("bash")
		if err != nil {
			return cost{}, 0, err
		}
		cmd.Path = bash
	case byUs:
		place = c.repository(us)
		cmd = c.command(ctx, us, "job", place)
		cmd.Args = append(cmd.Args, l.dsn)
	}
	cmd.Stderr = os.Stderr
	syscall.Sync()
	began := time.Now()
	if err := cmd.Run(); err != nil {
		return cost{}, 0, err
	}
	took := cost{time.Since(began), cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime(), peakOf(cmd)}
	return took, treeSize(place), nil
}

// The table of bench/README.md about live dumps stands between these lines.
const liveBegins, liveEnds = "<!-- postgres -->\n", "<!-- /postgres -->\n"

// report is the table in Markdown.
func (l *live) report(size int64) string {
	var b strings.Builder
	fmt.Fprintf(&b, "A database of %s of rows as text, medians of %d rounds, %s.\n%s; %s; %s.\n\n", humanize.IBytes(uint64(size)), l.rounds,
		time.Now().UTC().Format(time.DateOnly), processor(), resticVersion(), dumpVersion())
	fmt.Fprintf(&b, "| measure | %s | ours to gzip (lowest - highest) | ours to restic (lowest - highest) |\n|---|--:|--:|--:|--:|--:|\n", strings.Join(wayNames[:], " | "))
	for _, s := range liveSteps {
		for _, q := range []quantity{{name: "wall", of: wall, show: seconds}, {name: "CPU", of: cpu, show: seconds}, {name: "largest process", of: peak, show: mebibytes}} {
			var shown []string
			for way := range 3 {
				shown = append(shown, q.show(median(values(l.costs[s][way], q.of))))
			}
			fmt.Fprintf(&b, "| %s, %s | %s | %s | %s |\n", s, q.name, strings.Join(shown, " | "), l.ratio(s, q, byGzip), l.ratio(s, q, byRestic))
		}
		n := l.stored[s]
		fmt.Fprintf(&b, "| stored after the %s | %s | %s | %s | %.2f | %.2f |\n", s, humanize.Bytes(uint64(n[byGzip])), humanize.Bytes(uint64(n[byRestic])),
			humanize.Bytes(uint64(n[byUs])), float64(n[byUs])/float64(n[byGzip]), float64(n[byUs])/float64(n[byRestic]))
	}
	return b.String()
}

// ratio is ours to that of another way, with its range.
func (l *live) ratio(s step, q quantity, to int) string {
	mine, theirs := values(l.costs[s][byUs], q.of), values(l.costs[s][to], q.of)
	ratios := make([]float64, len(mine))
	for i := range mine {
		ratios[i] = mine[i] / theirs[i]
	}
	return fmt.Sprintf("%.2f (%.2f - %.2f)", median(mine)/median(theirs), slices.Min(ratios), slices.Max(ratios))
}

func dumpVersion() string {
	out, _ := exec.Command("pg_dump", "--version").Output()
	return strings.TrimSpace(string(out))
}
