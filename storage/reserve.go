package storage

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// On a disk that is full to the last byte nobody could take a lock, and so nobody could prune, which is what makes room.
// So a little space is kept: it is given up when a lock does not fit, and taken back as soon as it can be. It lies beside
// config, where neither we nor restic list anything.
const (
	reserveName = "reserve" + tempMark + "for-locks"
	reserveSize = 32 << 10 // two locks, the old and the refreshed one, in the blocks of any file system
)

func isLock(name string) bool { return strings.HasPrefix(name, "locks/") }

// useReserve makes room for a lock that did not fit; false when that is not why, or there is nothing to give up.
func (l *Local) useReserve(name string, err error) bool {
	full := errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
	return full && isLock(name) && os.Remove(filepath.Join(l.root, reserveName)) == nil
}

// keepReserve takes the space if it is not taken; without an error, since everything goes on without.
func (l *Local) keepReserve(name string) {
	path := filepath.Join(l.root, reserveName)
	if _, err := os.Lstat(path); err == nil || !isLock(name) {
		return
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, l.modes().writing)
	if err != nil {
		return
	}
	_, err = f.Write(make([]byte, reserveSize)) // not a hole
	if errors.Join(err, f.Close()) != nil {
		_ = os.Remove(path) // half of it would be taken for all
	}
}
