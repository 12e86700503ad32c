package dump

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

// sqliteError names the database and the way out of the errors that people meet.
func sqliteError(ctx context.Context, path string, err error) error {
	if cause := context.Cause(ctx); cause != nil {
		return fmt.Errorf("dump of %s was stopped: %w", path, cause)
	}
	var damaged *damagedError
	switch code := sqliteCode(err); {
	case errors.Is(err, errNoPages):
		return fmt.Errorf("database %s: %w; an empty database is no backup: look whether the path is right", path, err)
	case errors.As(err, &damaged), code == sqlite3.SQLITE_CORRUPT:
		return fmt.Errorf("database %s is damaged: %w; restore the last good backup, or save what can be read with: sqlite3 %[1]s .recover",
			path, err)
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("database %s is not there: %w; correct the path, or create it first", path, fs.ErrNotExist)
	case errors.Is(err, fs.ErrPermission), code == sqlite3.SQLITE_CANTOPEN, code == sqlite3.SQLITE_PERM,
		code == sqlite3.SQLITE_READONLY:
		return fmt.Errorf("database %s cannot be opened by user %s: %w; it needs read and write permission for the file, "+
			"and in WAL mode for %[1]s-wal, %[1]s-shm and the folder: setfacl -m u:%[2]s:rwX %[1]s* %[4]s",
			path, userName(), err, filepath.Dir(path))
	case code == sqlite3.SQLITE_BUSY, code == sqlite3.SQLITE_LOCKED:
		return fmt.Errorf("database %s is locked by another program: %w; end its long transaction or exclusive lock, "+
			"or back up at another time", path, err)
	case code == sqlite3.SQLITE_NOTADB:
		return fmt.Errorf("file %s is no SQLite database, or it is encrypted: %w; correct the path, or let its own "+
			"program dump it, with the source command", path, err)
	}
	return fmt.Errorf("database %s: %w", path, err)
}

// sqliteCode is SQLite's primary result code in err, 0 when there is none.
func sqliteCode(err error) int {
	var e *sqlite.Error
	if errors.As(err, &e) {
		return e.Code() & 0xff
	}
	return 0
}
