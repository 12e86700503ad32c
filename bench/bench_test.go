package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestDump(t *testing.T) {
	var a, b bytes.Buffer
	if err := writeDump(&a, 1<<20); err != nil {
		t.Fatal(err)
	}
	if err := writeDump(&b, 1<<20); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(a.Bytes(), b.Bytes()) {
		t.Error("not the same twice")
	}
	if n := a.Len(); n < 1<<20 || n > 1<<20+4096 {
		t.Errorf("%d bytes", n)
	}
	if n := strings.Count(a.String(), "\n\\.\n"); n != 4 {
		t.Errorf("%d tables end, want 4", n)
	}
}

// TestSeries: a day changes a little of the day before, always the same.
func TestSeries(t *testing.T) {
	const size = 64 << 18
	day := func(n int) []byte {
		var b bytes.Buffer
		if err := writeDayOf(&b, size, n); err != nil {
			t.Fatal(err)
		}
		return b.Bytes()
	}
	zero, ten := bytes.SplitAfter(day(0), []byte("COPY ")), bytes.SplitAfter(day(10), []byte("COPY "))
	changed := 0
	for i := range zero {
		if !bytes.Equal(zero[i], ten[i]) {
			changed++
		}
	}
	if len(zero) != 65 || len(zero) != len(ten) || changed < 4 || changed > 25 || !bytes.Equal(day(10), day(10)) {
		t.Errorf("%d parts, %d of them others after ten days", len(zero), changed)
	}
}

func TestReport(t *testing.T) {
	both := func(theirs, mine time.Duration) [2][]cost {
		return [2][]cost{{{theirs, theirs, 100 << 20}}, {{mine, mine, 50 << 20}}}
	}
	c := &contest{rounds: 1, series: 32 << 20, stored: [2]int64{100, 90}, costs: map[step][2][]cost{
		first: both(4*time.Second, 2*time.Second), again: both(2*time.Second, time.Second), giving: both(time.Second, time.Second),
		thinning: both(2*time.Second, time.Second),
	}}
	text := c.report(1 << 30)
	for _, want := range []string{
		"1.0 GiB of SQL text, in the series 32 MiB a day", "| prune of 30 dumps to 7, wall | 2.00 s | 1.00 s | 0.50 (0.50 - 0.50) | <= 0.60 |",
		"| first backup, wall | 4.00 s | 2.00 s | 0.50 (0.50 - 0.50) | <= 0.72 |",
		"| restore to stdout, wall | 1.00 s | 1.00 s | 1.00 (1.00 - 1.00) | <= 0.35, missed |",
		"| first backup, peak memory above idle | 100 MiB | 50 MiB |", "| stored after the first | 100 B | 90 B | 0.90 | <= 0.97 |",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("missing %q in\n%s", want, text)
		}
	}
	path := filepath.Join(t.TempDir(), "README.md")
	os.WriteFile(path, []byte("before\n"+tableBegins+"old\n"+tableEnds+"after\n"), 0o600)
	if err := replaceTable(path, tableBegins, tableEnds, "new\n"); err != nil {
		t.Fatal(err)
	}
	if got, _ := os.ReadFile(path); string(got) != "before\n"+tableBegins+"new\n"+tableEnds+"after\n" {
		t.Errorf("got %q", got)
	}
}

func TestLiveReport(t *testing.T) {
	three := func(a, b, c time.Duration) [3][]cost {
		return [3][]cost{{{a, a, 10 << 20}}, {{b, b, 80 << 20}}, {{c, c, 40 << 20}}}
	}
	l := &live{rounds: 1, costs: map[step][3][]cost{first: three(8*time.Second, 6*time.Second, 4*time.Second), changed: three(8*time.Second, 4*time.Second, 2*time.Second)},
		stored: map[step][3]int64{first: {100, 110, 99}, changed: {100, 120, 108}}}
	text := l.report(1 << 30)
	for _, want := range []string{
		"| first backup, wall | 8.00 s | 6.00 s | 4.00 s | 0.50 (0.50 - 0.50) | 0.67 (0.67 - 0.67) |",
		"| second backup, largest process | 10 MiB | 80 MiB | 40 MiB | 4.00 (4.00 - 4.00) | 0.50 (0.50 - 0.50) |",
		"| stored after the second backup | 100 B | 120 B | 108 B | 1.08 | 0.90 |",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("missing %q in\n%s", want, text)
		}
	}
}

func TestMedian(t *testing.T) {
	if m := median([]float64{3, 1, 2}); m != 2 {
		t.Error(m)
	}
	if m := median([]float64{4, 1, 2, 3}); m != 2.5 {
		t.Error(m)
	}
}
