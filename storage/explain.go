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

// allow says what gives the user we run as access to the folder. Several roads, because a folder that another user's
// restic writes to must not change its owner.
func (l *Local) allow() string {
	name := strconv.Itoa(os.Getuid())
	if u, err := user.LookupId(name); err == nil {
		name = u.Username
	}
	if os.Getuid() == 0 {
		return fmt.Sprintf("we run as root, so look at the mount (findmnt -T %s) and at attributes (lsattr -d %s)", l.root, l.root)
	}
	return fmt.Sprintf("we run as user %s (uid %d): make the folder with: install -d -m 700 -o %s %s; or let the user in with: "+
		"chown -R %s %s; or: setfacl -R -m u:%s:rwX -m d:u:%s:rwX %s",
		name, os.Getuid(), name, l.root, name, l.root, name, name, l.root)
}
