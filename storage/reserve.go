package storage

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/caddy-backup/caddy-backup/repo"
)

// On a disk that is full to the last byte nobody could take a lock, nor write the index without the packs that are to
// go: nobody could prune, which is what makes room. So a little space is kept for both. It is given up when it is needed,
// and taken back at the next lock, if it can be. It lies beside config, where neither we nor restic list anything.
const (
	forLocks = "reserve" + tempMark + "for-locks"
	forIndex = "reserve" + tempMark + "for-index"
)

var reserves = map[string]int{
	forLocks: 32 << 10, // two locks, the old and the refreshed one, in the blocks of any file system
	forIndex: 4 << 20,  // an index file of the largest size that anybody writes
}

var _ repo.Reserver = (*Local)(nil)

// Release implements repo.Reserver.
func (l *Local) Release() bool { return l.release(forIndex) }

func (l *Local) release(reserve string) bool { return os.Remove(filepath.Join(l.root, reserve)) == nil }

func isLock(name string) bool { return strings.HasPrefix(name, "locks/") }

// makesRoom reports whether a file that could not be stored is worth another try, since it is a lock that did not fit.
func (l *Local) makesRoom(name string, err error) bool {
	full := errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
	return full && isLock(name) && l.release(forLocks)
}

// keepReserves takes the space that is not taken; without an error, since everything goes on without.
func (l *Local) keepReserves() {
	for reserve, size := range reserves {
		path := filepath.Join(l.root, reserve)
		f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, l.modes().writing)
		if err != nil {
			continue // it is there, most often
		}
		_, err = f.Write(make([]byte, size)) // not a hole
		if errors.Join(err, f.Close()) != nil {
			_ = os.Remove(path) // half of it would be taken for all
		}
	}
}
