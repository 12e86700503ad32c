package main

import (
	"bytes"
	"cmp"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/dustin/go-humanize"
)

// quantity is one row of the table: a step, what of its cost, and the ratio that we owe (0: none).
type quantity struct {
	step step
	name string
	of   func(cost) float64
	show func(float64) string
	owed float64
}

var quantities = []quantity{
	{first, "wall", wall, seconds, 0.72},
	{first, "CPU", cpu, seconds, 0.85},
	{first, "peak memory above idle", peak, mebibytes, 0.9},
	{again, "wall", wall, seconds, 0.36},
	{again, "CPU", cpu, seconds, 0},
	{again, "peak memory above idle", peak, mebibytes, 0.9},
	{giving, "wall", wall, seconds, 0.35},
	{giving, "CPU", cpu, seconds, 0},
	{giving, "peak memory above idle", peak, mebibytes, 0.9},
	{thinning, "wall", wall, seconds, 0.6},
	{thinning, "CPU", cpu, seconds, 0},
	{thinning, "peak memory above idle", peak, mebibytes, 0},
}

func wall(c cost) float64 { return c.wall.Seconds() }
func cpu(c cost) float64  { return c.cpu.Seconds() }
func peak(c cost) float64 { return float64(c.peak) }

func seconds(v float64) string   { return fmt.Sprintf("%.2f s", v) }
func mebibytes(v float64) string { return fmt.Sprintf("%.0f MiB", v/(1<<20)) }

// report is the table in Markdown, with the machine that it was measured on.
func (c *contest) report(size int64) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s of SQL text, in the series %s a day, medians of %d rounds, %s.\n%s, %d cores, %s; %s. Idle, restic takes %s of memory and our program %s.\n\n", humanize.IBytes(uint64(size)), humanize.IBytes(uint64(c.series)),
		c.rounds, time.Now().UTC().Format(time.DateOnly), processor(), runtime.NumCPU(), runtime.Version(), resticVersion(),
		mebibytes(float64(c.idle[restic])), mebibytes(float64(c.idle[us])))
	b.WriteString("| measure | restic | ours | ratio (lowest - highest round) | owed |\n|---|--:|--:|--:|--:|\n")
	for _, q := range quantities {
		theirs, mine := values(c.costs[q.step][restic], q.of), values(c.costs[q.step][us], q.of)
		ratios := make([]float64, len(mine))
		for i := range mine {
			ratios[i] = mine[i] / theirs[i]
		}
		t, m := median(theirs), median(mine)
		row(&b, string(q.step)+", "+q.name, q.show(t), q.show(m),
			fmt.Sprintf("%.2f (%.2f - %.2f)", m/t, slices.Min(ratios), slices.Max(ratios)), m/t, q.owed)
	}
	ratio := float64(c.stored[us]) / float64(c.stored[restic])
	row(&b, "stored after the first", humanize.Bytes(uint64(c.stored[restic])), humanize.Bytes(uint64(c.stored[us])),
		fmt.Sprintf("%.2f", ratio), ratio, 0.97)
	return b.String()
}

func row(b *strings.Builder, name, theirs, mine, shown string, ratio, owed float64) {
	debt := ""
	if owed > 0 {
		debt = fmt.Sprintf("<= %.2f", owed)
		if ratio > owed {
			debt += ", missed"
		}
	}
	fmt.Fprintf(b, "| %s | %s | %s | %s | %s |\n", name, theirs, mine, shown, debt)
}

func values(costs []cost, of func(cost) float64) []float64 {
	list := make([]float64, len(costs))
	for i, c := range costs {
		list[i] = of(c)
	}
	return list
}

func median(list []float64) float64 {
	s := slices.SortedFunc(slices.Values(list), cmp.Compare)
	return (s[(len(s)-1)/2] + s[len(s)/2]) / 2
}

// processor names the CPU, where Linux tells.
func processor() string {
	info, _ := os.ReadFile("/proc/cpuinfo")
	for line := range strings.Lines(string(info)) {
		if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return runtime.GOARCH
}

func resticVersion() string {
	out, _ := exec.Command("restic", "version").Output()
	version, _, _ := strings.Cut(string(out), " compiled")
	return version
}

// The table of bench/README.md stands between these lines.
const tableBegins, tableEnds = "<!-- table -->\n", "<!-- /table -->\n"

// publish prints a table, and writes it between the markers of a file, if there is one.
func publish(file, begins, ends, text string) error {
	fmt.Print(text)
	if file == "" {
		return nil
	}
	return replaceTable(file, begins, ends, text)
}

func replaceTable(path, begins, ends, table string) error {
	old, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	before, rest, ok := bytes.Cut(old, []byte(begins))
	_, after, ok2 := bytes.Cut(rest, []byte(ends))
	if !ok || !ok2 {
		return fmt.Errorf("%s: no place for the table", path)
	}
	return os.WriteFile(path, slices.Concat(before, []byte(begins+table+ends), after), 0o644)
}
