// Package dump holds the sources: what can be dumped, and how. Each is a guest module of Caddy below backup.sources, so
// that others can add their own; what they must keep to is written at backup.Source and tried by package dumptest.
//
//	postgres   pg_dump and pg_restore, or psql, run as child processes
//	sqlite     read in this process, page by page, in one read transaction
//	command    whatever a program prints
//	files      a folder with everything in it
//	mysql      mariadb-dump or mysqldump, and a connection of our own
//	django     manage.py dumpdata, or the dump of the project's own database
//	caddy      Caddy's own storage and configuration
//
// Programs are run by argument vector, never by a shell; secrets go to them by files and environment, never by
// arguments. See program.
package dump

import (
	"os"
	"os/user"
	"strconv"
)

// namespace is where the modules of this package are registered.
const namespace = "backup.sources."

// userName is who we are, for messages about permissions.
func userName() string {
	if u, err := user.Current(); err == nil {
		return u.Username
	}
	return strconv.Itoa(os.Geteuid())
}
