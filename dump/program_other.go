//go:build unix && !linux

package dump

import (
	"os"
	"os/exec"
	"syscall"
)

// childAttributes puts the program into a group of its own.
func childAttributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }

// waitHeld waits for a started program, and calls held after its end.
func waitHeld(cmd *exec.Cmd, held func()) error {
	err := cmd.Wait()
	held()
	return err
}

// enlarge does nothing here.
func enlarge(*os.File) {}
