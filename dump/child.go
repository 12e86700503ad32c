package dump

import (
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"syscall"
	"time"

	"github.com/caddy-backup/caddy-backup/backup"
)

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
		Path: p.path, Args: append([]string{p.path}, p.args...), Env: append(slices.Clip(p.env), backup.ProcessMark()), Dir: p.dir, ExtraFiles: p.files,
		SysProcAttr: childAttributes(),
	}
	c.cmd.SysProcAttr.Credential = p.as
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
	_, err := io.CopyBuffer(struct{ io.Writer }{c.stdin}, source, make([]byte, copyBuffer))
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

// closeFile closes what was handed over to a program that was never started.
func closeFile(in io.Reader) {
	if f, ok := in.(*os.File); ok {
		f.Close()
	}
}

func (c *child) closePipes() {
	for _, f := range []*os.File{c.stdin, c.stdout, c.stderr} {
		if f != nil {
			f.Close()
		}
	}
}

// childPipe reads what a program has written, up to the pipe's deadline and then what lies in it: on a busy machine, or one that
// was suspended, the deadline may pass before anybody looks.
type childPipe struct {
	f    *os.File
	late int // bytes that were read behind the deadline
}

func (c *childPipe) Read(p []byte) (int, error) {
	n, err := c.f.Read(p)
	if !errors.Is(err, os.ErrDeadlineExceeded) || c.late >= pipeSize { // more has not lain there: somebody goes on writing
		return n, err
	}
	n, err = readPresent(c.f, p)
	c.late += n
	return n, err
}

// readPresent reads without waiting, whatever the deadline is, which has passed when it returns.
func readPresent(f *os.File, p []byte) (n int, err error) {
	f.SetReadDeadline(time.Time{})
	defer f.SetReadDeadline(time.Unix(1, 0))
	raw, err := f.SyscallConn()
	if err != nil {
		return 0, err
	}
	var failed error
	err = raw.Read(func(fd uintptr) bool {
		for failed = syscall.EINTR; failed == syscall.EINTR; {
			n, failed = syscall.Read(int(fd), p)
		}
		return true // false would be to wait for more
	})
	switch {
	case err != nil:
		return 0, err
	case failed == syscall.EAGAIN:
		return 0, os.ErrDeadlineExceeded
	case failed != nil:
		return 0, failed
	case n == 0:
		return 0, io.EOF
	}
	return n, nil
}

// childOutput reads a program's output. Once the leader has ended, what is in the pipe is read, but nobody waits longer
// than the grace for more: a process that it left behind may keep the pipe open for ever.
type childOutput struct {
	pipe   childPipe
	exited <-chan struct{}
	grace  time.Duration
	n      int64
}

func (o *childOutput) Read(p []byte) (int, error) {
	select {
	case <-o.exited:
		o.pipe.f.SetReadDeadline(time.Now().Add(o.grace)) // anew: out may have taken long since the last one
	default:
	}
	n, err := o.pipe.Read(p)
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
