package dump

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// tempFile is a file beside the place that it is for. It is held locked while its process lives, so that what a killed
// one left behind is known, and removed by the next one for the same place.
type tempFile struct{ *os.File }

// newTempFile makes one, with mode 0600.
func newTempFile(place string) (*tempFile, error) {
	dir, pattern := filepath.Dir(place), "."+filepath.Base(place)+".restore-"
	sweepTempFiles(dir, pattern)
	f, err := os.CreateTemp(dir, pattern+"*")
	if err != nil {
		return nil, err
	}
	_ = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) // where there are no locks, leftovers stay
	return &tempFile{f}, nil
}

// remove takes it away, if it still has its name.
func (f *tempFile) remove() { _ = errors.Join(os.Remove(f.Name()), f.Close()) }

// sweepTempFiles removes those that nobody holds.
func sweepTempFiles(dir, prefix string) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return
	}
	for _, e := range entries {
		random, ours := strings.CutPrefix(e.Name(), prefix)
		if _, err := strconv.ParseUint(random, 10, 64); !ours || err != nil || !e.Type().IsRegular() {
			continue
		}
		path := filepath.Join(dir, e.Name())
		f, err := os.OpenFile(path, os.O_RDWR|syscall.O_NOFOLLOW, 0)
		if err != nil {
			continue
		}
		if syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) == nil {
			_ = os.Remove(path)
		}
		f.Close()
	}
}
