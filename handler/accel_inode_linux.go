package handler

import (
	"io/fs"
	"syscall"
	"time"
)

// inode gives what nobody can set: when the file's content or attributes changed last, and its number on its disk.
func inode(fi fs.FileInfo) (changed time.Time, id uint64) {
	st, ok := fi.Sys().(*syscall.Stat_t)
	if !ok {
		return time.Time{}, 0
	}
	return time.Unix(st.Ctim.Unix()), st.Ino
}
