package dump

import (
	"os"
	"os/exec"
	"syscall"

	"golang.org/x/sys/unix"
)

// childAttributes puts the program into a group of its own and has the kernel kill it when we die.
func childAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}

// waitHeld waits for a started program. It calls held between the program's end and its reaping, while its process
// number is still its own.
func waitHeld(cmd *exec.Cmd, held func()) error {
	for {
		err := unix.Waitid(unix.P_PID, cmd.Process.Pid, nil, unix.WEXITED|unix.WNOWAIT, nil)
		if err != unix.EINTR {
			break // any other error: Wait will say it
		}
	}
	held()
	return cmd.Wait()
}

// enlarge lets a pipe take pipeSize. The kernel may refuse that to a user who has many; then it stays as it is.
func enlarge(pipe *os.File) {
	if raw, err := pipe.SyscallConn(); err == nil { // not Fd: it would make the pipe blocking, and deadlines fail
		raw.Control(func(fd uintptr) { unix.FcntlInt(fd, unix.F_SETPIPE_SZ, pipeSize) })
	}
}
