package repo

import (
	"os/user"
	"strconv"
)

// owner is who this process runs as, for locks and key files.
type owner struct {
	Username string
	UID, GID uint32
}

// currentUser is informational: what cannot be found out stays empty.
func currentUser() owner {
	u, err := user.Current()
	if err != nil {
		return owner{}
	}
	o := owner{Username: u.Username}
	if n, err := strconv.ParseUint(u.Uid, 10, 32); err == nil {
		o.UID = uint32(n)
	}
	if n, err := strconv.ParseUint(u.Gid, 10, 32); err == nil {
		o.GID = uint32(n)
	}
	return o
}
