package dump

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	sqlite3 "modernc.org/sqlite/lib"

	"github.com/caddy-backup/caddy-backup/backup"
)

// Live is the path of the database.
func (s *SQLite) Live(backup.Stored) string { return s.path }

// Ready looks whether the folder can be written to and has room, and whether somebody has the database open.
func (s *SQLite) Ready(ctx context.Context, d backup.Stored, o backup.Over, _ *backup.Task) error {
	place := followed(s.path)
	if err := syscall.Access(filepath.Dir(place), 2|1); err != nil { // W_OK and X_OK
		return fmt.Errorf("folder %s cannot be written to by user %s: %w", filepath.Dir(place), userName(), err)
	}
	if err := backup.RequireSpace(place, d.Size); err != nil {
		return err
	}
	if _, err := os.Stat(place); errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s %w", place, backup.ErrAbsent)
	}
	if o.Force {
		return nil
	}
	return s.unused(ctx, place)
}

// Overwrite writes the dump beside the database, has SQLite check it, and gives it the database's name, in one step. What
// SQLite kept beside the old one is gone before that: it would be applied to the new one. A link stays, and leads to the
// new database.
func (s *SQLite) Overwrite(ctx context.Context, _ backup.Stored, r io.Reader, o backup.Over, t *backup.Task) error {
	place := followed(s.path)
	temp, err := s.beside(ctx, place, r, t)
	if err != nil {
		return fmt.Errorf("restoring over %s: %w", place, err)
	}
	defer temp.remove()
	temp.Close() // a close later on could take away the locks of whoever opens it under its new name
	if !o.Force {
		if err := s.unused(ctx, place); err != nil { // somebody may have come meanwhile
			return err
		}
	}
	if cause := context.Cause(ctx); cause != nil { // from here on it is a matter of a moment
		return cause
	}
	old, err := asideOf(place)
	if err == nil && o.Aside {
		err = old.keep(t)
	}
	if err == nil {
		err = os.Rename(temp.Name(), place)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("restoring over %s: %w", place, err), old.back())
	}
	if !o.Aside {
		old.remove(t)
	} else if !old.kept && len(old.moved) > 0 {
		t.Log.Warn(fmt.Sprintf("what was left of the old database is kept as %s…; remove it when nobody misses it", old.to))
	}
	return syncDir(filepath.Dir(place))
}

// unused makes sure that nobody has the database open. Where the system does not tell that, only who is in the middle of
// something, or has it open in WAL mode, is found, by their locks. What a crashed writer left is repaired on the way, and
// the WAL brought home, as by any program that opens it.
func (s *SQLite) unused(ctx context.Context, place string) error {
	if _, err := os.Stat(place); err != nil {
		return nil // there is no database
	}
	way := "end that program first, or force the restore: what it writes then is lost"
	if who := openBy(append([]string{place}, withSuffixes(place, companions)...)); len(who) > 0 {
		return fmt.Errorf("%w: database %s is open by %s: %s", backup.ErrConflict, place, strings.Join(who, ", "), way)
	}
	c, err := openSQLite(place, "rw")
	if err != nil {
		return nil // nobody can use what cannot be opened
	}
	defer c.Close()
	for _, text := range []string{"PRAGMA query_only=0", "PRAGMA locking_mode=EXCLUSIVE", "BEGIN EXCLUSIVE", "COMMIT", "PRAGMA wal_checkpoint(TRUNCATE)"} {
		_, err := c.one(ctx, text)
		if code := sqliteCode(err); code == sqlite3.SQLITE_BUSY || code == sqlite3.SQLITE_LOCKED {
			return fmt.Errorf("%w: database %s is in use: %s", backup.ErrConflict, place, way)
		}
		if err != nil {
			return context.Cause(ctx) // a broken one is what restores are for
		}
	}
	return nil
}

func withSuffixes(path string, suffixes []string) (paths []string) {
	for _, s := range suffixes {
		paths = append(paths, path+s)
	}
	return paths
}

// aside are the files of a database that has other names for a moment, or for good. All are named as SQLite looks for them:
// what is in the WAL is part of the database.
type aside struct {
	place string
	to    string   // its other name
	moved []string // the endings of what was moved
	kept  bool     // the database has its other name too
}

// beforeRestore is what is added to the name of something old that is kept.
func beforeRestore() string {
	return time.Now().UTC().Format(".before-restore-20060102t150405.000000000z")
}

// asideOf moves what SQLite keeps beside a database out of the way. The database itself stays.
func asideOf(place string) (*aside, error) {
	a := &aside{place: place, to: place + beforeRestore()}
	for _, ending := range companions {
		if err := a.move(ending); err != nil {
			return a, err
		}
	}
	return a, nil
}

func (a *aside) move(ending string) error {
	err := os.Rename(a.place+ending, a.to+ending)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil {
		a.moved = append(a.moved, ending)
	}
	return err
}

// keep gives the database a second name, so that it stays when another takes its place.
func (a *aside) keep(t *backup.Task) error {
	if err := os.Link(a.place, a.to); errors.Is(err, fs.ErrNotExist) {
		return nil
	} else if err != nil {
		return fmt.Errorf("keeping the old one: %w", err)
	}
	a.kept = true
	t.Log.Warn(fmt.Sprintf("the old database is kept as %s; remove it when nobody misses it", a.to))
	return nil
}

// back gives all their names back; the error says what could not be.
func (a *aside) back() error {
	var failed []error
	for _, ending := range a.moved {
		if err := os.Rename(a.to+ending, a.place+ending); err != nil {
			failed = append(failed, fmt.Errorf("%w: %w; rename it", backup.ErrIncomplete, err))
		}
	}
	if a.kept {
		failed = append(failed, os.Remove(a.to))
	}
	return errors.Join(failed...)
}

// remove takes away what was moved.
func (a *aside) remove(t *backup.Task) {
	for _, ending := range a.moved {
		if err := os.Remove(a.to + ending); err != nil {
			t.Log.Warn("the old database was replaced, but something of it is left", "error", err)
		}
	}
}

var _ backup.Overwriter = (*SQLite)(nil)
