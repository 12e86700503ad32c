//go:build unix && !linux

package dump

import (
	"errors"
	"os"
)

// renameNew gives a file a second name, that must be new: fs.ErrExist when it is not. The caller removes the first one.
func renameNew(from, to string) error { return os.Link(from, to) }

// exchange cannot be done here.
func exchange(*os.File, string, *os.File, string) error { return errors.ErrUnsupported }
