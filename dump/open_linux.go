package dump

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// openBy names the other processes that have one of these files open, as far as we may look.
func openBy(paths []string) (who []string) {
	processes, _ := os.ReadDir("/proc")
	for _, p := range processes {
		pid, err := strconv.Atoi(p.Name())
		if err != nil || pid == os.Getpid() {
			continue
		}
		dir := filepath.Join("/proc", p.Name(), "fd")
		open, _ := os.ReadDir(dir) // what is not ours to see, or is gone, has none
		for _, fd := range open {
			if target, err := os.Readlink(filepath.Join(dir, fd.Name())); err == nil && slices.Contains(paths, target) {
				name, _ := os.ReadFile(filepath.Join("/proc", p.Name(), "comm"))
				who = append(who, fmt.Sprintf("process %d (%s)", pid, strings.TrimSpace(string(name))))
				break
			}
		}
	}
	return who
}

// mountsBelow lists what is mounted at a path, or below it.
func mountsBelow(path string) (mounts []string) {
	table, _ := os.ReadFile("/proc/self/mountinfo")
	for line := range strings.Lines(string(table)) {
		fields := strings.Fields(line)
		if len(fields) < 5 {
			continue
		}
		at := mountEscapes.Replace(fields[4])
		if at == path || strings.HasPrefix(at, path+"/") {
			mounts = append(mounts, at)
		}
	}
	return mounts
}

var mountEscapes = strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`)
