package dump

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// renameNew gives a file a name that must be new: fs.ErrExist when it is not. File systems that cannot promise that in
// one step are asked for a second name instead.
func renameNew(from, to string) error {
	err := unix.Renameat2(unix.AT_FDCWD, from, unix.AT_FDCWD, to, unix.RENAME_NOREPLACE)
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOSYS) {
		return os.Link(from, to) // the caller removes the first name
	}
	if err != nil {
		return &os.LinkError{Op: "rename", Old: from, New: to, Err: err}
	}
	return nil
}

// exchange has two names change what they name, in one step: errors.ErrUnsupported where the file system cannot.
func exchange(a *os.File, nameA string, b *os.File, nameB string) error {
	err := unix.Renameat2(int(a.Fd()), nameA, int(b.Fd()), nameB, unix.RENAME_EXCHANGE)
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOSYS) {
		return errors.ErrUnsupported
	}
	if err != nil {
		return &os.LinkError{Op: "exchange", Old: nameA, New: nameB, Err: err}
	}
	return nil
}
