package main

import (
	"strings"
	"testing"
)

const events = `{"Action":"start","Package":"m/a"}
{"Action":"run","Package":"m/a","Test":"TestGood"}
{"Action":"output","Package":"m/a","Test":"TestGood","Output":"=== RUN   TestGood\n"}
{"Action":"output","Package":"m/a","Test":"TestGood","Output":"    a_test.go:7: chatter\n"}
{"Action":"output","Package":"m/a","Test":"TestGood","Output":"NOT TESTED: TestGood: links\n"}
{"Action":"pass","Package":"m/a","Test":"TestGood"}
{"Action":"output","Package":"m/a","Test":"TestGone","Output":"=== RUN   TestGone\n"}
{"Action":"output","Package":"m/a","Test":"TestGone","Output":"    a_test.go:9: no restic\n"}
{"Action":"output","Package":"m/a","Test":"TestGone","Output":"--- SKIP: TestGone (0.00s)\n"}
{"Action":"skip","Package":"m/a","Test":"TestGone"}
{"Action":"output","Package":"m/a","Output":"PASS\n"}
{"Action":"output","Package":"m/a","Output":"ok  \tm/a\t0.1s\n"}
{"Action":"pass","Package":"m/a"}
{"Action":"output","Package":"m/b","Test":"TestBad","Output":"=== RUN   TestBad\n"}
{"Action":"output","Package":"m/b","Test":"TestBad","Output":"    b_test.go:3: got 1, want 2\n"}
{"Action":"output","Package":"m/b","Test":"TestBad","Output":"--- FAIL: TestBad (0.00s)\n"}
{"Action":"fail","Package":"m/b","Test":"TestBad"}
{"Action":"output","Package":"m/b","Test":"TestPanic","Output":"panic: oh\n"}
{"Action":"output","Package":"m/b","Output":"FAIL\tm/b\t0.2s\n"}
{"Action":"fail","Package":"m/b"}
{"Action":"skip","Package":"m/c"}
{"Action":"build-output","ImportPath":"m/d","Output":"d.go:1: syntax error\n"}
not JSON
`

func TestPrinter(t *testing.T) {
	var b strings.Builder
	p := printer{w: &b, pending: map[string][]string{}}
	p.read(strings.NewReader(events))
	if n := p.reportSkips(nil); n != 1 {
		t.Errorf("%d unexpected skips, want 1", n)
	}
	if n := p.reportSkips([]string{"no restic"}); n != 0 {
		t.Errorf("%d unexpected skips, want none", n)
	}
	want := []string{
		"NOT TESTED: TestGood: links\n", "ok  \tm/a\t0.1s\n", "b_test.go:3: got 1, want 2\n--- FAIL: TestBad", "panic: oh\n", "FAIL\tm/b\t0.2s\n",
		"d.go:1: syntax error\n", "not JSON\n", "SKIP\tm/a.TestGone\ta_test.go:9: no restic\n",
	}
	for _, w := range want {
		if !strings.Contains(b.String(), w) {
			t.Errorf("missing %q", w)
		}
	}
	for _, not := range []string{"chatter", "PASS", "=== RUN"} {
		if strings.Contains(b.String(), not) {
			t.Errorf("prints %q", not)
		}
	}
	if t.Failed() {
		t.Log(b.String())
	}
}
