package dump

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"

	"github.com/caddy-backup/caddy-backup/backup"
)

// change has something new take the place of something old, a file or a whole folder. The new one is made in a private
// folder beside the place, which is held locked while its process lives: so what a killed one left is known, and removed by
// the next change at the same place, unless there may be something in it that is nowhere else.
type change struct {
	parent  *os.Root // in which the place is
	name    string   // of the place in it
	dir     string   // the private folder's name in parent
	private *os.Root
	held    *os.File
	kept    bool // the old one is not to go with it
}

// In the private folder: what is new, which after the change is the old one; and where the old one lies meanwhile, where
// the two cannot change places in one step.
const (
	changePrefix = ".caddy-backup-restore-"
	changeNew    = "new"
	changeOld    = "old"
	changeOpen   = "open" // a mark: it is not decided yet what becomes of the old one
)

// changeFolder is the name of a private folder, as newChange makes it.
var changeFolder = regexp.MustCompile("^" + regexp.QuoteMeta(changePrefix) + "[A-Z2-7]{26}$")

// newChange makes the private folder. The change owns parent from then on.
func newChange(parent *os.Root, name string) (x *change, err error) {
	sweepChanges(parent)
	x = &change{parent: parent, name: name, dir: changePrefix + rand.Text()}
	if err := parent.Mkdir(x.dir, 0o700); err != nil {
		return nil, err
	}
	if x.private, err = parent.OpenRoot(x.dir); err == nil {
		x.held, err = x.private.Open(".")
	}
	if err != nil {
		return nil, errors.Join(err, parent.Remove(x.dir))
	}
	_ = syscall.Flock(int(x.held.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) // where there are no locks, leftovers stay
	return x, nil
}

// sweepChanges removes the private folders of processes that were killed.
func sweepChanges(parent *os.Root) {
	dir, err := parent.Open(".")
	if err != nil {
		return
	}
	defer dir.Close()
	names, _ := dir.Readdirnames(-1)
	for _, name := range names {
		if !changeFolder.MatchString(name) {
			continue
		}
		if isIn(parent, name, changeOld) || isIn(parent, name, changeOpen) {
			continue // it may be all that is left
		}
		f, err := parent.OpenFile(name, os.O_RDONLY|syscall.O_DIRECTORY|syscall.O_NOFOLLOW, 0)
		if err != nil {
			continue
		}
		if syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) == nil {
			_ = parent.RemoveAll(name)
		}
		f.Close()
	}
}

// isIn reports whether there is something of a name in a private folder, or may be.
func isIn(parent *os.Root, dir, name string) bool {
	_, err := parent.Lstat(filepath.Join(dir, name))
	return !errors.Is(err, fs.ErrNotExist)
}

// change puts the new one into its place, and tells whether there was an old one. After an error the old one is where it
// was, or the error is ErrIncomplete. When it returns, it is durable. Until settled is called, should we be killed, the old one
// stays in the private folder.
func (x *change) change() (there bool, err error) {
	at, err := x.parent.Open(".")
	if err != nil {
		return false, err
	}
	defer at.Close()
	if _, err := x.parent.Lstat(x.name); errors.Is(err, fs.ErrNotExist) {
		if err := x.parent.Rename(x.inside(changeNew), x.name); err != nil {
			return false, err
		}
		return false, at.Sync()
	}
	if err := x.private.WriteFile(changeOpen, nil, 0o600); err != nil {
		return true, err
	}
	switch err := exchange(x.held, changeNew, at, x.name); {
	case errors.Is(err, errors.ErrUnsupported):
		err = x.inTwoSteps()
		if err != nil {
			return true, err
		}
	case err != nil:
		return true, err
	}
	if err := errors.Join(at.Sync(), x.held.Sync()); err != nil {
		x.kept = true
		return true, fmt.Errorf("%w: it was replaced, but a power failure may undo that; the old one lies in %s: %w", backup.ErrIncomplete,
			filepath.Join(x.parent.Name(), x.inside(changeNew)), err)
	}
	return true, nil
}

// settled tells that of the old one all that is wanted lies elsewhere.
func (x *change) settled() {
	if !x.kept {
		_ = x.private.Remove(changeOpen)
	}
}

// inTwoSteps is for file systems on which two names cannot be exchanged: there is a moment without any.
func (x *change) inTwoSteps() error {
	if err := x.parent.Rename(x.name, x.inside(changeOld)); err != nil {
		return err
	}
	err := x.parent.Rename(x.inside(changeNew), x.name)
	if err == nil {
		return x.private.Rename(changeOld, changeNew)
	}
	if back := x.parent.Rename(x.inside(changeOld), x.name); back != nil {
		x.kept = true
		return fmt.Errorf("%w: it lies in %s: %w", backup.ErrIncomplete, filepath.Join(x.parent.Name(), x.inside(changeOld)), errors.Join(err, back))
	}
	return err
}

func (x *change) inside(name string) string { return filepath.Join(x.dir, name) }

// eachOld walks through the old folder; f may return fs.SkipDir. Paths are relative to it, with slashes.
func (x *change) eachOld(f func(rel string, folder bool) error) error {
	return fs.WalkDir(x.private.FS(), changeNew, func(path string, e fs.DirEntry, err error) error {
		rel, below := strings.CutPrefix(path, changeNew+"/")
		if err != nil || !below {
			return err
		}
		return f(rel, e.IsDir())
	})
}

// takeOver moves something of the old folder to the same path in the new one, where there is nothing.
func (x *change) takeOver(rel string) error {
	to := filepath.Join(x.name, filepath.FromSlash(rel))
	if _, err := x.parent.Lstat(to); !errors.Is(err, fs.ErrNotExist) {
		return errors.Join(fs.ErrExist, err)
	}
	return x.parent.Rename(filepath.Join(x.dir, changeNew, filepath.FromSlash(rel)), to)
}

// keepOld has the old one stay, under a name that tells what it is.
func (x *change) keepOld(place string, t *backup.Task) {
	to := x.name + beforeRestore()
	if err := x.parent.Rename(x.inside(changeNew), to); err != nil {
		to, x.kept = x.inside(changeNew), true
	}
	t.Log.Warn(fmt.Sprintf("what was at %s is kept as %s; remove it when nobody misses it", place, filepath.Join(x.parent.Name(), to)))
}

// close removes the private folder with what is in it, before the change the new one, after it the old one.
func (x *change) close() {
	if !x.kept {
		_ = x.parent.RemoveAll(x.dir) // what cannot be removed is tried again by the next one
	}
	x.held.Close()
	x.private.Close()
	x.parent.Close()
}
