package backup

import (
	"fmt"
	"path/filepath"
)

// LocalSource is a Source that knows which files or folders of this machine it reads.
type LocalSource interface {
	LocalPaths() []string
}

// sameDisk names the sources of a job that lie on the same file system as a repository in a folder: one disk that dies
// takes both. Other disks of the same machine are not told from other machines.
func sameDisk(location string, j Job) (names []string) {
	if !filepath.IsAbs(location) {
		return nil
	}
	disk, known := deviceOf(location)
	if !known {
		return nil
	}
	for _, s := range j.Sources {
		local, ok := s.Source.(LocalSource)
		if !ok {
			continue
		}
		for _, p := range local.LocalPaths() {
			if d, known := deviceOf(p); known && d == disk {
				names = append(names, fmt.Sprintf("source %s of job %s", s.Name, j.Name))
				break
			}
		}
	}
	return names
}

// deviceOf numbers the file system that a path lies on, or will lie on when it is made.
func deviceOf(path string) (uint64, bool) {
	for {
		if d, ok := device(path); ok || path == filepath.Dir(path) {
			return d, ok
		}
		path = filepath.Dir(path)
	}
}
