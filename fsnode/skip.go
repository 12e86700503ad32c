package fsnode

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// skips are the files and folders of ours that no backup takes in: it would grow by itself, or hold its own password.
type skips struct {
	paths []string
	files []fs.FileInfo // of those that exist: they are known again under another name, by a link or a bind mount
}

// newSkips prepares them for a walk of root, which must not lie in one of them.
func newSkips(root string, paths []string) (skips, error) {
	var s skips
	for _, p := range paths {
		s.paths = append(s.paths, filepath.Clean(p))
		if fi, err := os.Stat(p); err == nil {
			s.files = append(s.files, fi)
		}
	}
	dir, err := filepath.Abs(root)
	if err == nil {
		dir, err = filepath.EvalSymlinks(dir)
	}
	if err != nil {
		return s, readable(err, root, "")
	}
	for ; ; dir = filepath.Dir(dir) {
		if fi, err := os.Stat(dir); err == nil && s.has(fi, dir) {
			return s, fmt.Errorf("%s lies in %s, which is a repository of ours: a repository is not backed up into itself", root, dir)
		}
		if dir == filepath.Dir(dir) {
			return s, nil
		}
	}
}

// has reports whether the entry is one of them.
func (s skips) has(fi fs.FileInfo, path string) bool {
	for _, p := range s.paths {
		if p == path {
			return true
		}
	}
	for _, f := range s.files {
		if os.SameFile(f, fi) {
			return true
		}
	}
	return false
}
