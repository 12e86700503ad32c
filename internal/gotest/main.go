// Command gotest runs "go test" with the arguments given and prints what it would print. In addition it lists the tests
// that were skipped; where CI is set, a test that is skipped for a reason that is not allowed is a failure: a part of the
// product that nobody tested must not look tested. With -short, which is about skipping, nothing is said about it.
//
// It tests one package more at a time than there are cores, for some tests wait for other programs.
package main

import (
	"bufio"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
)

func main() {
	atOnce := fmt.Sprint("-p=", runtime.NumCPU()+1)
	cmd := exec.Command("go", append([]string{"test", "-json", atOnce}, os.Args[1:]...)...)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "gotest:", err)
		os.Exit(2)
	}
	p := printer{w: os.Stdout, pending: map[string][]string{}}
	p.read(out)
	failed := cmd.Wait() != nil
	if !slices.Contains(os.Args, "-short") {
		if unexpected := p.reportSkips(allowed); unexpected > 0 && os.Getenv("CI") != "" {
			fmt.Printf("FAIL\t%d tests were skipped that must not be where CI is set\n", unexpected)
			failed = true
		}
	}
	if failed {
		os.Exit(1)
	}
}

// allowed are the reasons, or parts of them, for which a test may be skipped even where CI is set. Larger data beside
// the project is a bonus that a plain clone does not have; what it stands for is tested with data of the project's own.
// Loop devices, mounts, tracers and containers are not to be had in many containers (realtest.NoDisk).
var allowed = []string{"the shared fixtures are not here", "no disk of its own can be mounted here", "no process can be traced here",
	"no container of its own can be made here"}

// notTested begins what a test says of a part of it that cannot be tried here (realtest.NotTested).
const notTested = "NOT TESTED: "

// event is one line of go test -json (go doc test2json).
type event struct {
	Action  string
	Package string
	Test    string
	Output  string
}

// printer turns events back into what go test prints without -v: of tests that passed only what they left out, of others all.
type printer struct {
	w       io.Writer
	pending map[string][]string // output of tests that have not ended, by package and test
	skipped []skip
}

type skip struct{ test, reason string }

func (p *printer) read(r io.Reader) {
	lines := bufio.NewReader(r)
	for {
		line, err := lines.ReadBytes('\n')
		var e event
		switch {
		case len(line) == 0:
		case json.Unmarshal(line, &e) != nil:
			p.w.Write(line)
		default:
			p.event(e)
		}
		if err != nil {
			return
		}
	}
}

func (p *printer) event(e event) {
	key := e.Package + "." + e.Test
	switch e.Action {
	case "build-output":
		io.WriteString(p.w, e.Output)
	case "output":
		if e.Test != "" {
			p.pending[key] = append(p.pending[key], e.Output)
		} else if e.Output != "PASS\n" {
			io.WriteString(p.w, e.Output)
		}
	case "pass":
		for _, line := range p.pending[key] {
			if strings.HasPrefix(line, notTested) {
				io.WriteString(p.w, line)
			}
		}
		delete(p.pending, key)
	case "skip":
		if e.Test != "" {
			p.skipped = append(p.skipped, skip{key, reason(p.pending[key])})
		}
		delete(p.pending, key)
	case "fail":
		p.flush(e, key)
	}
}

// flush prints what a failed test said, or, when the whole package ended badly, what its unfinished tests said: the
// output of a panic is among it.
func (p *printer) flush(e event, key string) {
	for k, lines := range p.pending {
		if k == key || e.Test == "" && strings.HasPrefix(k, e.Package+".") {
			for _, line := range lines {
				if !strings.HasPrefix(line, "=== ") {
					io.WriteString(p.w, line)
				}
			}
			delete(p.pending, k)
		}
	}
}

// reason finds what a skipped test said: the lines that are neither its start nor its end.
func reason(lines []string) string {
	var said []string
	for _, line := range lines {
		line = strings.TrimSpace(line)
		if line != "" && !strings.HasPrefix(line, "=== ") && !strings.HasPrefix(line, "--- ") {
			said = append(said, line)
		}
	}
	return strings.Join(said, " ")
}

// reportSkips prints all skips and counts those for reasons that are not allowed.
func (p *printer) reportSkips(allowed []string) (unexpected int) {
	slices.SortFunc(p.skipped, func(a, b skip) int { return cmp.Compare(a.test, b.test) })
	for _, s := range p.skipped {
		if !slices.ContainsFunc(allowed, func(reason string) bool { return strings.Contains(s.reason, reason) }) {
			unexpected++
		}
		fmt.Fprintf(p.w, "SKIP\t%s\t%s\n", s.test, s.reason)
	}
	return unexpected
}
