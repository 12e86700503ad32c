package dump

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"syscall"
	"time"

	"github.com/caddy-backup/caddy-backup/backup"
)

// program is a client program as it is to be run: by argument vector, without a shell, in a process group of its own.
type program struct {
	path  string        // from findProgram, or absolute
	args  []string      // without the program's own name; every user of the machine can read them: no secrets
	env   []string      // all of its environment, see environ
	dir   string        // working directory; default "/"
	files []*os.File    // become descriptors 3, 4 … of the program
	grace time.Duration // what a program gets to end after SIGTERM, and left-behind pipes to fall dry; default 2 s
}

const (
	defaultGrace = 2 * time.Second
	killWait     = 5 * time.Second // after SIGKILL; longer only when the kernel itself hangs, on a dead network disk
	pipeSize     = 1 << 20         // the most that the kernel gives to users; saves a fifth of a dump's time
)

var (
	errOutputHeld = errors.New("left a process behind that keeps its output open, so the output may be incomplete")
	errInputLeft  = errors.New("ended well, but before it had read all of its input")
)

// run starts the program, gives it in (nothing when nil; an *os.File is handed over: the program reads from it
// directly, and our end of it is closed), copies its standard output to out, and waits. It returns the number of bytes
// that out took. The error is nil only if the program ended by itself with status 0, all of its output was read to the
// end and taken by out, and all of in was read. When ctx is done, in fails or out fails, the program's group gets
// SIGTERM and after the grace SIGKILL, and that reason is the error. Whatever is left of the group is killed in any case.
func (p program) run(ctx context.Context, t *backup.Task, in io.Reader, out io.Writer) (int64, error) {
	name := filepath.Base(p.path)
	if p.grace == 0 {
		p.grace = defaultGrace
	}
	c, err := p.start(in)
	if err != nil {
		return 0, startError(p, err)
	}
	ended := t.Journal.Started(c.cmd.Process.Pid)
	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	stderr := &stderrTail{log: t.Log, program: name}
	output := &childOutput{f: c.stdout, exited: c.exited, grace: p.grace}
	var group sync.WaitGroup
	var inErr error
	copied := make(chan struct{})
	group.Go(func() { io.Copy(stderr, c.stderr) })
	group.Go(func() { inErr = c.feed(in, fail) })
	go func() {
		defer close(copied)
		if _, err := io.CopyBuffer(out, output, make([]byte, 256<<10)); err != nil {
			fail(err)
		}
	}()

	asked := false // to end, by us
	select {
	case <-c.exited:
		c.stdout.SetReadDeadline(time.Now().Add(p.grace))
	case <-ctx.Done():
		asked = true
		if !c.end(p.grace) {
			c.abandon()
			<-copied
			group.Wait()
			return output.n, fmt.Errorf("%s cannot be killed (process %d): %w", name, c.cmd.Process.Pid, context.Cause(ctx))
		}
	}
	select {
	case <-copied:
	case <-ctx.Done():
		c.stdout.Close()
		<-copied
	}
	c.sweep(p.grace)
	group.Wait()
	status := c.reap()
	ended()
	return output.n, outcome(name, asked, status, context.Cause(ctx), inErr, stderr)
}

// outcome says what became of a program, the first cause first.
func outcome(name string, asked bool, status, cause, inErr error, stderr *stderrTail) error {
	switch {
	case asked:
		return stopped(name, cause)
	case status != nil:
		return exitError(name, status, stderr.last())
	case cause != nil:
		return stopped(name, cause)
	case inErr != nil:
		return fmt.Errorf("%s: %w", name, inErr)
	}
	return nil
}

func stopped(name string, cause error) error {
	if errors.Is(cause, errOutputHeld) {
		return fmt.Errorf("%s %w", name, cause)
	}
	return fmt.Errorf("%s was stopped: %w", name, cause)
}

// exitError puts the end of a program into words: its status or signal, and its last words.
func exitError(name string, err error, words string) error {
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
	if words != "" {
		text += ": " + words
	}
	return &statusError{text: text, err: exit}
}

// statusError is an exit status with the program's last words.
type statusError struct {
	text string
	err  *exec.ExitError
}

func (e *statusError) Error() string { return e.text }
func (e *statusError) Unwrap() error { return e.err }

// child is a program that runs. Its leader stays unreaped until reap, so that the number of its process group cannot
// become somebody else's while we may still send signals to it.
type child struct {
	cmd            *exec.Cmd
	stdin          *os.File // nil when the program has no input from us
	stdout, stderr *os.File
	exited         chan struct{} // closed when the leader has ended
	release        chan struct{} // closed when no signal will be sent any more
	status         chan error    // gets what Wait says
}

func (p program) start(in io.Reader) (*child, error) {
	c := &child{exited: make(chan struct{}), release: make(chan struct{}), status: make(chan error, 1)}
	c.cmd = &exec.Cmd{
		Path: p.path, Args: append([]string{p.path}, p.args...), Env: p.env, Dir: p.dir, ExtraFiles: p.files,
		SysProcAttr: childAttributes(),
	}
	if c.cmd.Dir == "" {
		c.cmd.Dir = "/"
	}
	theirs, err := c.pipes(in)
	if err == nil {
		started := make(chan error)
		go c.supervise(started)
		err = <-started
	}
	for _, f := range theirs {
		f.Close()
	}
	if err != nil {
		c.closePipes()
		return nil, err
	}
	return c, nil
}

// supervise starts the leader and waits for it, on one OS thread: the child's death signal is bound to the thread that
// started it, and would come too early if the runtime ended that thread.
func (c *child) supervise(started chan<- error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	err := c.cmd.Start()
	started <- err
	if err != nil {
		return
	}
	c.status <- waitHeld(c.cmd, func() {
		close(c.exited)
		<-c.release
	})
}

// pipes makes the three pipes and returns the program's ends of them. They are our own, not exec's, because ours can be
// enlarged and given deadlines.
func (c *child) pipes(in io.Reader) (theirs []*os.File, err error) {
	add := func(ours **os.File, toChild bool) *os.File {
		r, w, e := os.Pipe()
		if e != nil {
			err = errors.Join(err, e)
			return nil
		}
		enlarge(r)
		if toChild {
			r, w = w, r
		}
		*ours = r
		theirs = append(theirs, w)
		return w
	}
	if w := add(&c.stdout, false); w != nil {
		c.cmd.Stdout = w
	}
	if w := add(&c.stderr, false); w != nil {
		c.cmd.Stderr = w
	}
	switch in := in.(type) {
	case nil: // exec opens /dev/null
	case *os.File:
		c.cmd.Stdin = in
		theirs = append(theirs, in)
	default:
		if r := add(&c.stdin, true); r != nil {
			c.cmd.Stdin = r
		}
	}
	return theirs, err
}

// feed copies in to the program and closes its input. When in fails, the input stays open, so that the program cannot
// take a cut stream for a whole one, and fail is called. What it returns matters only if the program ended well.
func (c *child) feed(in io.Reader, fail context.CancelCauseFunc) error {
	if c.stdin == nil {
		return nil
	}
	source := &sourceReader{r: in}
	_, err := io.CopyBuffer(struct{ io.Writer }{c.stdin}, source, make([]byte, 256<<10))
	switch {
	case source.err != nil:
		fail(source.err)
		return source.err
	case err != nil:
		return errInputLeft
	}
	return c.stdin.Close()
}

// end asks the group to end, then makes it; false when even that does not help.
func (c *child) end(grace time.Duration) bool {
	pgid := c.cmd.Process.Pid
	for _, step := range []struct {
		signal syscall.Signal
		wait   time.Duration
	}{{syscall.SIGTERM, grace}, {syscall.SIGKILL, killWait}} {
		syscall.Kill(-pgid, step.signal)
		select {
		case <-c.exited:
			return true
		case <-time.After(step.wait):
		}
	}
	return false
}

// sweep kills what the leader left in its group, and bounds the wait for pipes that somebody outside the group holds.
func (c *child) sweep(grace time.Duration) {
	syscall.Kill(-c.cmd.Process.Pid, syscall.SIGKILL)
	c.stderr.SetReadDeadline(time.Now().Add(grace))
	if c.stdin != nil {
		c.stdin.SetWriteDeadline(time.Now())
	}
}

// reap ends the zombie and returns the leader's status.
func (c *child) reap() error {
	close(c.release)
	err := <-c.status
	c.closePipes()
	return err
}

// abandon gives up a leader that cannot be killed. It is reaped whenever it ends; the journal keeps it.
func (c *child) abandon() {
	close(c.release)
	c.closePipes()
}

func (c *child) closePipes() {
	for _, f := range []*os.File{c.stdin, c.stdout, c.stderr} {
		if f != nil {
			f.Close()
		}
	}
}

// childOutput reads a program's output. Once the leader has ended, what is in the pipe is read, but nobody waits longer
// than the grace for more: a process that it left behind may keep the pipe open for ever.
type childOutput struct {
	f      *os.File
	exited <-chan struct{}
	grace  time.Duration
	n      int64
}

func (o *childOutput) Read(p []byte) (int, error) {
	select {
	case <-o.exited:
		o.f.SetReadDeadline(time.Now().Add(o.grace)) // anew: out may have taken long since the last one
	default:
	}
	n, err := o.f.Read(p)
	o.n += int64(n)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		err = errOutputHeld
	}
	return n, err
}

// sourceReader tells an error of the reader from one of the writer in a copy.
type sourceReader struct {
	r   io.Reader
	err error
}

func (s *sourceReader) Read(p []byte) (int, error) {
	n, err := s.r.Read(p)
	if err != nil && err != io.EOF {
		s.err = err
	}
	return n, err
}
