//go:build unix && !linux

package dump

import "os"

// renameNew gives a file a second name, that must be new: fs.ErrExist when it is not. The caller removes the first one.
func renameNew(from, to string) error { return os.Link(from, to) }
