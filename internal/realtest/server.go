package realtest

import (
	"bytes"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"runtime"
	"strconv"
	"syscall"
	"testing"
	"time"
)

// server is a program that runs until the test ends.
type server struct {
	name   string
	signal syscall.Signal // that it takes for a quick end
	pid    int
	done   chan struct{} // closed when it has ended
}

// start starts the program in a folder, waits at most two minutes until it is ready, and has it stopped when the test ends.
func (s *server) start(t testing.TB, cmd *exec.Cmd, dir string, as *syscall.Credential, end syscall.Signal, ready func() bool) {
	t.Helper()
	s.name, s.signal, s.done = filepath.Base(cmd.Path), end, make(chan struct{})
	var log bytes.Buffer
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, &log, &log
	// The signal at our death is bound to the thread that starts, so that one stays until the end.
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: as, Pdeathsig: end}
	started := make(chan error)
	go func() {
		runtime.LockOSThread()
		defer close(s.done)
		err := cmd.Start()
		started <- err
		if err == nil {
			cmd.Wait()
		}
	}()
	if err := <-started; err != nil {
		t.Fatal(err)
	}
	s.pid = cmd.Process.Pid
	t.Cleanup(func() { s.Stop(t) })
	if !s.await(ready) {
		s.Stop(t)
		t.Fatalf("%s does not start:\n%s", s.name, log.String())
	}
}

func (s *server) await(ready func() bool) bool {
	for range 2400 {
		if ready() {
			return true
		}
		select {
		case <-s.done:
			return false
		case <-time.After(50 * time.Millisecond):
		}
	}
	return false
}

// Stop ends the server at once, its connections broken, and waits until it is gone. It may be called more than once.
func (s *server) Stop(t testing.TB) {
	t.Helper()
	for _, sig := range []syscall.Signal{s.signal, syscall.SIGQUIT, syscall.SIGKILL} {
		select {
		case <-s.done:
			return
		default:
			syscall.Kill(s.pid, sig)
		}
		select {
		case <-s.done:
			return
		case <-time.After(10 * time.Second):
		}
	}
	t.Errorf("%s does not stop", s.name)
}

// Crash kills the server with SIGKILL, and waits until it is gone.
func (s *server) Crash() {
	syscall.Kill(s.pid, syscall.SIGKILL)
	<-s.done
}

// credential makes dir belong to a user when we are root, as which some servers refuse to run; else nil.
func credential(t testing.TB, name, dir string) *syscall.Credential {
	t.Helper()
	if os.Getuid() != 0 {
		return nil
	}
	u, err := user.Lookup(name)
	if err != nil {
		missing(t, name)
	}
	uid, _ := strconv.Atoi(u.Uid)
	gid, _ := strconv.Atoi(u.Gid)
	if err := os.Chown(dir, uid, gid); err != nil {
		t.Fatal(err)
	}
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
}

// FreePort is a port of 127.0.0.1, and of ::1 where there is that, at which nobody listens and that stays the test's own until it
// ends: sockets are bound to it, so the kernel gives it to nobody who asks for any. Who names it can listen there with SO_REUSEADDR,
// as servers do.
func FreePort(t testing.TB) int {
	t.Helper()
	for {
		held, err := bound(syscall.AF_INET, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { syscall.Close(held) })
		at, err := syscall.Getsockname(held)
		if err != nil {
			t.Fatal(err)
		}
		port := at.(*syscall.SockaddrInet4).Port
		// A name like localhost leads to both, and the kernel gives the ports of one without regard to the other.
		six, err := bound(syscall.AF_INET6, &syscall.SockaddrInet6{Port: port, Addr: [16]byte{15: 1}})
		if err == nil {
			t.Cleanup(func() { syscall.Close(six) })
		}
		if err != syscall.EADDRINUSE {
			return port
		}
	}
}

// bound is a socket that has an address, at which it does not listen.
func bound(family int, at syscall.Sockaddr) (int, error) {
	held, err := syscall.Socket(family, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, err
	}
	err = syscall.SetsockoptInt(held, syscall.SOL_SOCKET, syscall.SO_REUSEADDR, 1)
	if err == nil {
		err = syscall.Bind(held, at)
	}
	if err != nil {
		syscall.Close(held)
	}
	return held, err
}
