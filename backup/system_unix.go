//go:build linux || darwin || freebsd

package backup

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// lockFile takes an exclusive lock on an open file, which ends with the process at the latest. free is false when
// another process holds it; an error means that this file system has no locks.
func lockFile(f *os.File) (free bool, err error) {
	err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		return false, nil
	}
	return err == nil, err
}

// killGroup ends a group of processes at once.
func killGroup(pgid int) { unix.Kill(-pgid, unix.SIGKILL) }

// processExists reports whether there is a process of that number, anybody's.
func processExists(pid int) bool { return !errors.Is(unix.Kill(pid, 0), unix.ESRCH) }

// syncDir makes the names in a folder durable.
func syncDir(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// keepOwner gives a file the owner of another one.
func keepOwner(path, of string) error {
	var have, want unix.Stat_t
	if err := errors.Join(unix.Stat(path, &have), unix.Stat(of, &want)); err != nil {
		return err
	}
	if have.Uid == want.Uid {
		return nil
	}
	return os.Chown(path, int(want.Uid), int(want.Gid))
}

// device numbers the file system of an existing path.
func device(path string) (uint64, bool) {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return 0, false
	}
	return uint64(st.Dev), true
}

// freeSpace is how many bytes we can still write below an existing path; false when that is not known.
func freeSpace(path string) (int64, bool) {
	var st unix.Statfs_t
	if err := unix.Statfs(path, &st); err != nil {
		return 0, false
	}
	return int64(st.Bavail) * int64(st.Bsize), true
}
