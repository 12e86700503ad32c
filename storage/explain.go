package storage

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"strconv"
	"syscall"
)

// explain adds to an error of the file system, which names the path, who we are and the way out.
func (l *Local) explain(err error) error {
	switch {
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return fmt.Errorf("%w; free some space on the volume of %s, or enlarge it (df %s)", err, l.root, l.root)
	case errors.Is(err, syscall.EROFS):
		return fmt.Errorf("%w; mount the volume of %s for writing", err, l.root)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("%w; %s", err, l.allow())
	}
	return err
}

// allow says what gives the user we run as access to the folder.
func (l *Local) allow() string {
	uid := os.Getuid()
	if uid == 0 {
		return fmt.Sprintf("we run as root, so look at the mount (findmnt -T %s) and at attributes (lsattr -d %s)", l.root, l.root)
	}
	name := strconv.Itoa(uid)
	if u, err := user.LookupId(name); err == nil {
		name = u.Username
	}
	return fmt.Sprintf("we run as user %s (uid %d): %s", name, uid, l.letIn(name))
}

// letIn is the way for a user to get access. A folder that is there may be another user's, whose restic writes to it: it
// must not change its owner unasked.
func (l *Local) letIn(name string) string {
	switch _, err := os.Stat(l.root); {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Sprintf("make the folder with: install -d -m 700 -o %s %s", name, l.root)
	case err != nil:
		return fmt.Sprintf("let the user pass through the folders above it, see: namei -l %s", l.root)
	}
	return fmt.Sprintf("let the user in, beside the owner, with: setfacl -R -m u:%s:rwX -m d:u:%s:rwX %s; or run as the owner (ls -ld %s); "+
		"or, when nobody else writes to it, change the owner with: chown -R %s %s", name, name, l.root, l.root, name, l.root)
}
