package backup

import (
	"fmt"
	"os"
)

// process identifies a process beyond its number, which is used again: after a boot, and in every container.
type process struct {
	Boot      string `json:"boot,omitempty"`
	PID       int    `json:"pid"`
	Start     uint64 `json:"start,omitempty"`     // since boot, in the kernel's ticks
	Namespace string `json:"namespace,omitempty"` // in which PID is meant
	Session   int    `json:"session,omitempty"`   // in which its programs are, but for those that became daemons; may be 0
}

func thisProcess() process {
	pid := os.Getpid()
	start, _ := startTime(pid)
	return process{Boot: bootID(), PID: pid, Start: start, Namespace: pidNamespace(), Session: session()}
}

// ProcessMark is a variable ("NAME=value") for the environment of the programs that this process starts, and so for all that those
// start: by it the next process knows what is left of them when they and this process are dead.
func ProcessMark() string { return thisProcess().mark() }

func (p process) mark() string { return fmt.Sprintf("CADDY_BACKUP_PROCESS=%d.%d", p.PID, p.Start) }

// here reports whether p's number can be looked up by us: the same boot, the same container, and both are known.
func (p process) here() bool {
	return p.Boot != "" && p.Boot == bootID() && p.Namespace != "" && p.Namespace == pidNamespace()
}

// dead reports whether p is provably gone. released says that the operating system's lock on p's journal, which p held
// while it lived, is free; it is false where the file system knows no locks.
func (p process) dead(released bool) bool {
	if p.here() {
		start, there := startTime(p.PID)
		return !there || start != p.Start
	}
	if p.Boot != "" && bootID() != "" && p.Boot != bootID() {
		return true
	}
	return released // in another container, or on a system without /proc, only the lock tells
}
