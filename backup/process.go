package backup

import "os"

// process identifies a process beyond its number, which is used again: after a boot, and in every container.
type process struct {
	Boot      string `json:"boot,omitempty"`
	PID       int    `json:"pid"`
	Start     uint64 `json:"start,omitempty"`     // since boot, in the kernel's ticks
	Namespace string `json:"namespace,omitempty"` // in which PID is meant
}

func thisProcess() process {
	pid := os.Getpid()
	start, _ := startTime(pid)
	return process{Boot: bootID(), PID: pid, Start: start, Namespace: pidNamespace()}
}

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
