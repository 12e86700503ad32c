package dump

import (
	"errors"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/caddy-backup/caddy-backup/backup"
)

// above is the folder in which a restore makes something first: the one that what is meant lies in, or the nearest that is there. It is
// never above the one that the source's folder lies in: when that is missing, a disk may not be mounted.
func (f *Files) above(s backup.Stored) string {
	place := followed(f.folder)
	top := filepath.Dir(place)
	at := filepath.Dir(filepath.Join(place, filepath.FromSlash(s.Sub)))
	for at != top {
		if _, err := os.Lstat(at); !errors.Is(err, fs.ErrNotExist) {
			break
		}
		at = filepath.Dir(at)
	}
	return at
}

// madeFolders are folders that were made for what was to lie in them, the outer ones first.
type madeFolders struct {
	roots []*os.Root
	made  []func() error // removes one
}

// makeAbove makes the folders that what is meant lies in, where they are gone, and never leaves the source's folder on the way. They get
// mode and owner of the one that they are in: of their own only a restore of them as a whole knows.
func (f *Files) makeAbove(s backup.Stored, t *backup.Task) (m *madeFolders, err error) {
	m = new(madeFolders)
	if s.Sub == "" {
		return m, nil
	}
	place := followed(f.folder)
	if err := m.add(filepath.Dir(place), []string{filepath.Base(place)}, t); err != nil {
		return m, err
	}
	if path.Dir(s.Sub) == "." {
		return m, nil
	}
	return m, m.add(place, strings.Split(path.Dir(s.Sub), "/"), t)
}

// add makes the folders of a path below a folder that are not there.
func (m *madeFolders) add(below string, names []string, t *backup.Task) error {
	root, err := os.OpenRoot(below)
	if err != nil {
		return err
	}
	m.roots = append(m.roots, root)
	for i := range names {
		if err := m.one(root, filepath.Join(names[:i+1]...), t); err != nil {
			return err
		}
	}
	return nil
}

// one makes a folder, unless something of the name is there.
func (m *madeFolders) one(root *os.Root, name string, t *backup.Task) error {
	if _, err := root.Lstat(name); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	in, err := root.Stat(filepath.Dir(name))
	if err != nil {
		return err
	}
	if err := root.Mkdir(name, 0o700); err != nil {
		return err
	}
	m.made = append(m.made, func() error { return root.Remove(name) })
	if owner, ok := in.Sys().(*syscall.Stat_t); ok && os.Geteuid() == 0 {
		if err := root.Lchown(name, int(owner.Uid), int(owner.Gid)); err != nil {
			return err
		}
	}
	t.Log.Warn("folder " + filepath.Join(root.Name(), name) + " was gone, and is made with mode and owner of the one that it is in")
	return root.Chmod(name, in.Mode().Perm())
}

// close takes those that are empty away again, after an error.
func (m *madeFolders) close(err error) {
	for _, remove := range slices.Backward(m.made) {
		if err != nil {
			_ = remove()
		}
	}
	for _, root := range m.roots {
		root.Close()
	}
}
