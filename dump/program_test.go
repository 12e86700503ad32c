package dump

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"testing/iotest"
	"time"

	"github.com/caddy-backup/caddy-backup/backup"
	"github.com/caddy-backup/caddy-backup/dump/dumptest"
)

// shell is a program that runs a script; the product itself never uses a shell.
func shell(script string, args ...string) program {
	return program{
		path: "/bin/sh", args: append([]string{"-c", script, "sh"}, args...),
		env: environ(), grace: 300 * time.Millisecond,
	}
}

func TestProgramEndsWell(t *testing.T) {
	dumptest.NothingLeft(t)
	task := dumptest.Task(t)
	var out bytes.Buffer
	p := shell(`echo "$1"; echo said >&2; pwd; cat`, "a b; $(c)")
	n, err := p.run(t.Context(), task, strings.NewReader("input"), &out)
	if want := "a b; $(c)\n/\ninput"; err != nil || out.String() != want || n != int64(len(want)) {
		t.Errorf("out = %q, n = %d, err = %v", out.String(), n, err)
	}
	if !strings.Contains(dumptest.Log(task), "msg=said program=sh") {
		t.Errorf("standard error is not logged: %s", dumptest.Log(task))
	}
	if dumptest.Started(task) != 1 {
		t.Error("the journal was not told")
	}
}

// said is an error with what the program said, on lines of its own.
func said(err error) string { return fmt.Sprint(err) + "\n" + backup.OutputOf(err) }

// Every way in which a program can fail to deliver is an error that names it.
func TestProgramFails(t *testing.T) {
	huge := strings.Repeat("x", 100_000)
	for _, c := range []struct {
		name, script, want, not string
	}{
		{"status after output", "echo data; echo 'no such table' >&2; exit 3", "sh ended with status 3\nno such table", ""},
		{"last words only", `i=0; while [ $i -lt 3000 ]; do echo line $i >&2; i=$((i+1)); done; exit 1`, "line 2999", "line 1000"},
		{"one endless line", "printf %s " + huge + " >&2; exit 1", "status 1\nxxx", huge},
		{"killed", "echo data; kill -KILL $$", "sh was killed by signal 9 (killed), by somebody, or because the machine ran out of memory", ""},
		{"terminated", "kill -TERM $$", "sh was killed by signal 15", ""},
		{"leaves a writer behind", "echo data; (sleep 60; echo more) & exit 0", "left a process behind", ""},
		{"leaves a writer behind and fails", "(sleep 60) & exit 4", "sh ended with status 4", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			dumptest.NothingLeft(t)
			_, err := shell(c.script).run(t.Context(), dumptest.Task(t), nil, io.Discard)
			if err == nil {
				t.Fatal("no error")
			}
			text := said(err)
			if !strings.Contains(text, c.want) || (c.not != "" && strings.Contains(text, c.not)) {
				t.Errorf("error = %.300s, want %q", text, c.want)
			}
			if len(text) > 6<<10 || len(err.Error()) > 200 || strings.Contains(err.Error(), "\n") {
				t.Errorf("error of %d bytes and output of %d", len(err.Error()), len(backup.OutputOf(err)))
			}
		})
	}
}

func TestProgramStandardErrorIsBounded(t *testing.T) {
	dumptest.NothingLeft(t)
	task := dumptest.Task(t)
	p := shell(`i=0; while [ $i -lt 1000 ]; do echo line $i >&2; i=$((i+1)); done; printf 'r\303(\033[1m' >&2`)
	if _, err := p.run(t.Context(), task, nil, io.Discard); err != nil {
		t.Fatal(err)
	}
	log := dumptest.Log(task)
	if n := strings.Count(log, "\n"); n != maxLogLines || !strings.Contains(log, "says more") {
		t.Errorf("%d lines are logged", n)
	}
}

// A program that does not want to end is made to, with everything that it started.
func TestProgramIsEnded(t *testing.T) {
	for name, script := range map[string]string{
		"hangs":               "sleep 60",
		"prints for ever":     "while :; do echo data; done",
		"ignores TERM":        "trap '' TERM; echo ready; while :; do sleep 60; done",
		"grandchild ignores":  "(trap '' TERM; while :; do sleep 60; done) & echo ready; wait",
		"grandchild detached": "setsid sleep 5 & echo ready; sleep 60",
	} {
		t.Run(name, func(t *testing.T) {
			dumptest.NothingLeft(t)
			ctx, cancel := context.WithTimeoutCause(t.Context(), 200*time.Millisecond, errors.New("enough"))
			defer cancel()
			began := time.Now()
			_, err := shell(script).run(ctx, dumptest.Task(t), nil, io.Discard)
			if err == nil || err.Error() != "sh was stopped: enough" {
				t.Errorf("error = %v", err)
			}
			if d := time.Since(began); d > 40*time.Second {
				t.Errorf("took %v", d)
			}
			if name == "grandchild detached" { // not ours to kill: it left our group
				for _, line := range leftSleeps(t) {
					syscall.Kill(line, syscall.SIGKILL)
				}
			}
		})
	}
}

// leftSleeps finds the sleep that left our group, so that the test can end it.
func leftSleeps(t *testing.T) (pids []int) {
	files, _ := filepath.Glob("/proc/[0-9]*/environ")
	for _, f := range files {
		if env, _ := os.ReadFile(f); bytes.Contains(env, []byte("TMPDIR="+os.Getenv("TMPDIR"))) {
			if pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(f))); pid != os.Getpid() {
				pids = append(pids, pid)
			}
		}
	}
	return pids
}

func TestProgramPolitelyEnded(t *testing.T) {
	dumptest.NothingLeft(t)
	task := dumptest.Task(t)
	ctx, cancel := context.WithCancel(t.Context())
	out := writerFunc(func(p []byte) (int, error) { cancel(); return len(p), nil })
	p := shell("trap 'echo tidy >&2; exit 0' TERM; echo ready; while :; do sleep 0.05; done")
	p.grace = 10 * time.Second
	_, err := p.run(ctx, task, nil, out)
	if !errors.Is(err, context.Canceled) {
		t.Errorf("an end on demand is no good end: %v", err)
	}
	if !strings.Contains(dumptest.Log(task), "tidy") {
		t.Error("had no time to tidy up")
	}
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

func TestProgramAndFailingPipes(t *testing.T) {
	broken := errors.New("broken")
	t.Run("writer", func(t *testing.T) {
		dumptest.NothingLeft(t)
		out := writerFunc(func([]byte) (int, error) { return 0, broken })
		if _, err := shell("while :; do echo data; done").run(t.Context(), dumptest.Task(t), nil, out); !errors.Is(err, broken) {
			t.Errorf("error = %v", err)
		}
	})
	t.Run("writer, at the end", func(t *testing.T) {
		dumptest.NothingLeft(t)
		out := writerFunc(func([]byte) (int, error) { time.Sleep(100 * time.Millisecond); return 0, broken })
		if _, err := shell("echo data").run(t.Context(), dumptest.Task(t), nil, out); !errors.Is(err, broken) {
			t.Errorf("error = %v", err)
		}
	})
	t.Run("reader", func(t *testing.T) {
		dumptest.NothingLeft(t)
		var out bytes.Buffer
		in := io.MultiReader(strings.NewReader("half"), iotest.ErrReader(broken))
		// The program must not see an end of its input: it would take the half for the whole.
		if _, err := shell("cat; echo END").run(t.Context(), dumptest.Task(t), in, &out); !errors.Is(err, broken) {
			t.Errorf("error = %v", err)
		}
		if strings.Contains(out.String(), "END") {
			t.Error("the program saw the end of a cut input")
		}
	})
	t.Run("input left", func(t *testing.T) {
		dumptest.NothingLeft(t)
		in := bytes.NewReader(make([]byte, 4<<20))
		if _, err := shell("head -c 10").run(t.Context(), dumptest.Task(t), in, io.Discard); !errors.Is(err, errInputLeft) {
			t.Errorf("error = %v", err)
		}
	})
}

// A slow repository is no hanging program: what lies in the pipe at its end is taken, however long that lasts.
func TestProgramWithSlowWriter(t *testing.T) {
	dumptest.NothingLeft(t)
	n := 0
	out := writerFunc(func(p []byte) (int, error) { n += len(p); time.Sleep(50 * time.Millisecond); return len(p), nil })
	p := shell("head -c 900000 /dev/zero")
	p.grace = 40 * time.Millisecond
	if _, err := p.run(t.Context(), dumptest.Task(t), nil, struct{ io.Writer }{out}); err != nil || n != 900000 {
		t.Errorf("n = %d, err = %v", n, err)
	}
}

// slowLog takes its time for each line, as on a busy machine.
type slowLog struct{ slog.Handler }

func (l slowLog) Handle(ctx context.Context, r slog.Record) error {
	time.Sleep(100 * time.Millisecond)
	return l.Handler.Handle(ctx, r)
}

// What a program has said by its end is told, however late somebody has time to read it.
func TestProgramLastWordsComeLate(t *testing.T) {
	dumptest.NothingLeft(t)
	task := dumptest.Task(t)
	task.Log = slog.New(slowLog{task.Log.Handler()})
	p := shell(`echo first >&2; head -c 100000 /dev/zero | tr '\0' x >&2; echo >&2; echo 'no such table' >&2; exit 3`)
	p.grace = time.Millisecond
	if _, err := p.run(t.Context(), task, nil, io.Discard); !strings.HasSuffix(said(err), "\nno such table") {
		t.Errorf("error = %.300s", said(err))
	}
}

func TestProgramDoesNotStart(t *testing.T) {
	dumptest.NothingLeft(t)
	dir := t.TempDir()
	plain := filepath.Join(dir, "plain")
	if err := os.WriteFile(plain, []byte("#!/bin/sh\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		p    program
		want string
	}{
		{program{path: "/no/such/program"}, "program /no/such/program is not there"},
		{program{path: plain}, "cannot be run by user"},
		{program{path: "/bin/sh", dir: "/no/such/dir"}, "working folder /no/such/dir"},
	} {
		_, err := c.p.run(t.Context(), dumptest.Task(t), nil, io.Discard)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("error = %v, want %q", err, c.want)
		}
	}
	if _, err := findProgram("pg_dumpall-not-there"); err == nil || !strings.Contains(err.Error(), "install") {
		t.Errorf("error = %v", err)
	}
	t.Setenv("PATH", dir)
	if _, err := findProgram("pg_dump"); err == nil || !strings.Contains(err.Error(), "install the package postgresql-client") {
		t.Errorf("error = %v", err)
	}
}

func TestProgramEnvironment(t *testing.T) {
	t.Setenv("CANARY_SECRET", "tweet")
	t.Setenv("LC_TIME", "C")
	var out bytes.Buffer
	p := program{path: "/usr/bin/env", env: environ("MINE=1")}
	if _, err := p.run(t.Context(), dumptest.Task(t), nil, &out); err != nil {
		t.Fatal(err)
	}
	if env := out.String(); strings.Contains(env, "tweet") || !strings.Contains(env, "PATH=") ||
		!strings.Contains(env, "MINE=1") || !strings.Contains(env, "LC_TIME=C") {
		t.Errorf("environment = %s", env)
	}
}

// The death signal is what ends a dump when we are killed: a copy of this test starts a program and is killed. Only the
// program itself gets the signal; what that has started is swept at the next start, with the help of the journal.
func TestProgramDiesWithUs(t *testing.T) {
	if seconds := os.Getenv("DUMP_TEST_VICTIM"); seconds != "" {
		p := program{path: "/bin/sleep", args: []string{seconds}, env: environ()}
		p.run(t.Context(), dumptest.Task(t), nil, io.Discard)
		return
	}
	dumptest.NothingLeft(t)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	seconds := fmt.Sprintf("61.%09d", rand.IntN(1e9)) // nobody else's
	p := program{path: self, args: []string{"-test.run=^TestProgramDiesWithUs$"}, env: environ("DUMP_TEST_VICTIM=" + seconds)}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go func() {
		for !sleeps(seconds) && ctx.Err() == nil {
			time.Sleep(10 * time.Millisecond)
		}
		cancel() // the victim does nothing about SIGTERM, so it dies
	}()
	if _, err := p.run(ctx, dumptest.Task(t), nil, io.Discard); err == nil {
		t.Error("no error")
	}
}

// sleeps tells whether the victim's program runs.
func sleeps(seconds string) bool {
	files, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, f := range files {
		if cmd, _ := os.ReadFile(f); string(cmd) == "/bin/sleep\x00"+seconds+"\x00" {
			return true
		}
	}
	return false
}

func BenchmarkProgramPipe(b *testing.B) {
	const size = 1 << 30
	p := program{path: "/usr/bin/head", args: []string{"-c", strconv.Itoa(size), "/dev/zero"}, env: environ()}
	b.SetBytes(size)
	for b.Loop() {
		if n, err := p.run(b.Context(), dumptest.Task(b), nil, struct{ io.Writer }{io.Discard}); n != size || err != nil {
			b.Fatal(n, err)
		}
	}
}
