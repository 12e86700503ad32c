package backup

import (
	"bytes"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// bootID changes with every boot of the machine.
func bootID() string {
	id, _ := os.ReadFile("/proc/sys/kernel/random/boot_id")
	return strings.TrimSpace(string(id))
}

// pidNamespace names the space in which our process IDs are numbers.
func pidNamespace() string {
	name, _ := os.Readlink("/proc/self/ns/pid")
	return name
}

// startTime is when a process started, in the kernel's ticks since boot, or false when there is no such process.
func startTime(pid int) (uint64, bool) {
	start, err := strconv.ParseUint(statField(strconv.Itoa(pid), 22), 10, 64)
	return start, err == nil
}

// statField is a field of what the kernel tells of a process, counted from 1 as in its manual, behind the first two; "" when there
// is no such process.
func statField(pid string, field int) string {
	stat, err := os.ReadFile("/proc/" + pid + "/stat")
	end := bytes.LastIndexByte(stat, ')') // the second field is the program's name in parentheses, and may hold anything
	if err != nil || end < 0 {
		return ""
	}
	if fields := strings.Fields(string(stat[end+1:])); field-3 < len(fields) {
		return fields[field-3]
	}
	return ""
}

// session is the session that this process belongs to. It is 0 when its leader lies outside the space of our process IDs, as with what
// is brought into a container that runs; a daemon has a session of its own there too.
func session() int {
	id, _ := strconv.Atoi(statField("self", 6))
	return id
}

// ownGroup is the group that this process belongs to.
func ownGroup() int { return syscall.Getpgrp() }

// groupsOf lists the groups of processes that were started, directly or not, by a process that is dead, and stayed in its session.
func groupsOf(p process) (pgids []int) {
	entries, _ := os.ReadDir("/proc")
	for _, e := range entries {
		if statField(e.Name(), 6) != strconv.Itoa(p.Session) {
			continue
		}
		environ, _ := os.ReadFile("/proc/" + e.Name() + "/environ")
		pgid, err := strconv.Atoi(statField(e.Name(), 5))
		if err == nil && !slices.Contains(pgids, pgid) && slices.Contains(strings.Split(string(environ), "\x00"), p.mark()) {
			pgids = append(pgids, pgid)
		}
	}
	return pgids
}
