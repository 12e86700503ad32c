// Command bench measures us beside restic, on the same stream, in the same run, one after the other: a first backup of
// an SQL dump from standard input, the same again, the restore to standard output, and the prune of a series of dumps. It prints a table of medians and
// ratios, and puts it into bench/README.md when told so.
//
//	go run ./bench -out bench/README.md
//	go run ./bench postgres -out bench/README.md
//
// The second measures dumps of a real PostgreSQL database beside pg_dump | gzip and pg_dump | restic.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"

	"github.com/dustin/go-humanize"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	var err error
	switch {
	case len(os.Args) == 4 && os.Args[1] == "ours":
		err = ours(ctx, os.Args[2], os.Args[3])
	case len(os.Args) == 5 && os.Args[1] == "ours":
		err = job(ctx, os.Args[3], os.Args[4])
	case len(os.Args) > 1 && os.Args[1] == "postgres":
		err = benchPostgres(ctx, os.Args[2:])
	default:
		err = bench(ctx)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func bench(ctx context.Context) error {
	size := flag.String("size", "1GiB", "size of the dump")
	rounds := flag.Int("rounds", 5, "how often each step is measured")
	dir := flag.String("dir", os.TempDir(), "where the dump and the repositories lie meanwhile: four times the size is needed")
	out := flag.String("out", "", "file between whose markers the table is written; none: standard output only")
	flag.Parse()
	bytes, err := humanize.ParseBytes(*size)
	if err != nil {
		return err
	}
	scratch, err := os.MkdirTemp(*dir, "bench")
	if err != nil {
		return err
	}
	defer os.RemoveAll(scratch)
	b := &contest{dir: scratch, dump: filepath.Join(scratch, "dump.sql"), rounds: *rounds, series: int64(bytes) / 32}
	if err := b.generate(int64(bytes)); err != nil {
		return err
	}
	if err := b.run(ctx); err != nil {
		return err
	}
	return publish(*out, tableBegins, tableEnds, b.report(int64(bytes)))
}
