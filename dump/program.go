package dump

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/caddy-backup/caddy-backup/backup"
)

// program is a client program as it is to be run: by argument vector, without a shell, in a process group of its own.
type program struct {
	path  string              // from findProgram, or absolute
	args  []string            // without the program's own name; every user of the machine can read them: no secrets
	env   []string            // all of its environment, see environ
	dir   string              // working directory; default "/"
	files []*os.File          // become descriptors 3, 4 … of the program
	as    *syscall.Credential // whom it runs as; default: us
	grace time.Duration       // what a program gets to end after SIGTERM, and left-behind pipes to fall dry; default 2 s
}

const (
	defaultGrace = 2 * time.Second
	// killWait is after SIGKILL; longer only when the kernel itself hangs, on a dead network disk. With the grace it is less than the 15
	// seconds that a run gives its source to end, or nobody would be told which program it is that cannot be killed.
	killWait   = 12 * time.Second
	copyBuffer = 256 << 10 // bytes
	pipeSize   = 1 << 20   // the most that the kernel gives to users; saves a fifth of a dump's time
)

var (
	errOutputHeld = errors.New("left a process behind that keeps its output open, so the output may be incomplete")
	errInputLeft  = errors.New("ended well, but before it had read all of its input")
)

// run starts the program, gives it in (nothing when nil; an *os.File is handed over: the program reads from it
// directly, and our end of it is closed), copies its standard output to out, and waits. It returns the number of bytes
// that out took. The error is nil only if the program ended by itself with status 0, all of its output was read to the
// end and taken by out, and all of in was read. When ctx is done, in fails or out fails, the program's group gets
// SIGTERM and after the grace SIGKILL, and that reason is the error. What the program said last stands beside an error, as a
// backup.OutputError. Whatever is left of the group is killed in any case.
func (p program) run(ctx context.Context, t *backup.Task, in io.Reader, out io.Writer) (int64, error) {
	name := filepath.Base(p.path)
	if p.grace == 0 {
		p.grace = defaultGrace
	}
	if cause := context.Cause(ctx); cause != nil {
		closeFile(in)
		return 0, stopped(name, cause)
	}
	c, err := p.start(in)
	if err != nil {
		return 0, startError(p, err)
	}
	ended := t.Journal.Started(c.cmd.Process.Pid)
	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	f := &flows{
		output: childOutput{pipe: childPipe{f: c.stdout}, exited: c.exited, grace: p.grace},
		stderr: stderrTail{log: t.Log, program: name},
	}
	f.start(c, in, out, fail)
	asked := false // to end, by us
	select {
	case <-c.exited:
		c.stdout.SetReadDeadline(time.Now().Add(p.grace))
	case <-ctx.Done():
		asked = true
		if !c.end(p.grace) {
			c.abandon()
			f.wait()
			return f.output.n, fmt.Errorf("%s cannot be killed (process %d): %w", name, c.cmd.Process.Pid, context.Cause(ctx))
		}
	}
	select {
	case <-f.copied:
	case <-ctx.Done():
		c.stdout.Close()
	}
	<-f.copied // out is not ours any more when run returns
	c.sweep(p.grace)
	f.wait()
	status := c.reap()
	ended()
	return f.output.n, backup.WithOutput(f.outcome(name, asked, status, context.Cause(ctx)), f.stderr.last())
}

// flows are the three streams of a program while it runs.
type flows struct {
	output childOutput
	stderr stderrTail
	group  sync.WaitGroup
	copied chan struct{} // closed when nothing more is written to out
	inErr  error         // valid after wait
}

// start copies all three. fail is called when in or out fails.
func (f *flows) start(c *child, in io.Reader, out io.Writer, fail context.CancelCauseFunc) {
	f.copied = make(chan struct{})
	f.group.Go(func() { io.Copy(&f.stderr, &childPipe{f: c.stderr}) })
	f.group.Go(func() { f.inErr = c.feed(in, fail) })
	f.group.Go(func() {
		defer close(f.copied)
		if _, err := io.CopyBuffer(out, &f.output, make([]byte, copyBuffer)); err != nil {
			fail(err)
		}
	})
}

func (f *flows) wait() { f.group.Wait() }

// outcome says what became of a program, the first cause first.
func (f *flows) outcome(name string, asked bool, status, cause error) error {
	switch {
	case asked:
		return stopped(name, cause)
	case status != nil:
		return exitError(name, status)
	case cause != nil:
		return stopped(name, cause)
	case f.inErr != nil:
		return fmt.Errorf("%s: %w", name, f.inErr)
	}
	return nil
}

func stopped(name string, cause error) error {
	if errors.Is(cause, errOutputHeld) {
		return fmt.Errorf("%s %w", name, cause)
	}
	return fmt.Errorf("%s was stopped: %w", name, cause)
}

// exitError puts the end of a program into words: its status or signal.
func exitError(name string, err error) error {
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		return fmt.Errorf("%s: %w", name, err)
	}
	text := fmt.Sprintf("%s ended with status %d", name, exit.ExitCode())
	if ws, ok := exit.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
		text = fmt.Sprintf("%s was killed by signal %d (%s)", name, ws.Signal(), ws.Signal())
		if ws.Signal() == syscall.SIGKILL {
			text += ", by somebody, or because the machine ran out of memory"
		}
	}
	return &statusError{text: text, err: exit}
}

// statusError is an exit status in words.
type statusError struct {
	text string
	err  *exec.ExitError
}

func (e *statusError) Error() string { return e.text }
func (e *statusError) Unwrap() error { return e.err }
