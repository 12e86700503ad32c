package dump

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"time"

	"github.com/caddyserver/certmagic"
	"github.com/dustin/go-humanize"
	"github.com/dustin/go-humanize/english"

	"github.com/caddy-backup/caddy-backup/backup"
	"github.com/caddy-backup/caddy-backup/fsnode"
)

// What the sources look at before a run, so that a person learns of it in the daytime.

func diagnosis(level backup.Level, format string, args ...any) backup.Diagnosis {
	return backup.Diagnosis{Level: level, Text: fmt.Sprintf(format, args...)}
}

func failing(err error) []backup.Diagnosis {
	return []backup.Diagnosis{{Level: backup.LevelError, Text: err.Error()}}
}

// serverClock compares the clock of a database server, in seconds since 1970, with ours.
func serverClock(server, seconds string, err error) []backup.Diagnosis {
	theirs, bad := strconv.ParseFloat(seconds, 64)
	if err := cmp.Or(err, bad); err != nil {
		return []backup.Diagnosis{diagnosis(backup.LevelNote, "the clock of %s cannot be read: %v", server, err)}
	}
	if d := backup.ClockApart(server, time.UnixMicro(int64(theirs*1e6)), time.Now()); d != nil {
		return []backup.Diagnosis{*d}
	}
	return nil
}

// peekTime is how long it is looked through a folder. The rest of a large one the next run will show.
const peekTime = 8 * time.Second

// Examine looks whether the folder is there, and whether what is in it can be opened.
func (f *Files) Examine(ctx context.Context, _ *backup.Task) []backup.Diagnosis {
	ctx, cancel := context.WithTimeout(ctx, peekTime)
	defer cancel()
	found, err := fsnode.Peek(ctx, f.folder, fsnode.SaveOptions{Exclude: f.Exclude, Skip: f.skip.get()})
	if err != nil {
		return failing(err)
	}
	var list []backup.Diagnosis
	for _, err := range found.Closed {
		list = append(list, failing(err)...)
	}
	if found.More > 0 {
		list = append(list, diagnosis(backup.LevelError, "%s more in folder %s cannot be read", humanize.Comma(int64(found.More)), f.folder))
	}
	switch entries := english.Plural(found.Entries, "entry", "entries"); {
	case !found.Whole:
		list = append(list, diagnosis(backup.LevelNote, "there was time for %s of folder %s only: whether the others can be read the next run will show",
			entries, f.folder))
	case found.Entries == 0:
		list = append(list, diagnosis(backup.LevelWarning, "folder %s is empty: is a disk not mounted (findmnt -T %s)?", f.folder, f.folder))
	case len(list) == 0:
		list = append(list, diagnosis(backup.LevelOK, "folder %s can be read, %s", f.folder, entries))
	}
	return list
}

// Examine asks the storage for its first level of keys.
func (c *Caddy) Examine(ctx context.Context, _ *backup.Task) []backup.Diagnosis {
	keys, err := c.storage.List(ctx, "", false)
	if err != nil {
		return failing(fmt.Errorf("the storage of Caddy, %s, cannot be read by user %s: %w", c.place(), userName(), err))
	}
	if len(keys) == 0 {
		return []backup.Diagnosis{diagnosis(backup.LevelWarning, "Caddy's storage %s is empty: is a disk not mounted?", c.place())}
	}
	return []backup.Diagnosis{diagnosis(backup.LevelOK, "Caddy's storage %s can be read", c.place())}
}

// LocalPaths is the folder of the storage, if it is one.
func (c *Caddy) LocalPaths() []string {
	if f, ok := c.storage.(*certmagic.FileStorage); ok {
		return []string{f.Path}
	}
	return nil
}

// Examine opens the database as a dump does, and reads what it says of itself. Whether it is whole, the dump proves.
func (s *SQLite) Examine(ctx context.Context, _ *backup.Task) []backup.Diagnosis {
	list, err := s.examine(ctx)
	if err != nil {
		return failing(sqliteError(ctx, s.path, err))
	}
	return list
}

func (s *SQLite) examine(ctx context.Context) ([]backup.Diagnosis, error) {
	info, err := os.Stat(s.path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, errors.New("not a regular file: give the path of the database's file")
	}
	_, err = os.Stat(s.OwnFiles()[2])
	unused := err != nil
	c, err := openSQLite(s.path, "rw")
	if err != nil {
		return nil, err
	}
	defer c.Close()
	snap, err := c.begin(ctx, s.busyTimeout())
	if err != nil {
		return nil, err
	}
	list := []backup.Diagnosis{diagnosis(backup.LevelOK, "SQLite %s opens %s, %s, journal mode %s", snap.version, s.path,
		humanize.IBytes(uint64(snap.size())), snap.journalMode)}
	for _, text := range snap.concerns(s.path, info, unused) {
		list = append(list, diagnosis(backup.LevelNote, "%s", text))
	}
	return list, nil
}

// Interface guards
var (
	_ backup.Examiner = (*Caddy)(nil)
	_ backup.Examiner = (*Command)(nil)
	_ backup.Examiner = (*Files)(nil)
	_ backup.Examiner = (*SQLite)(nil)
	_ backup.Examiner = (*Postgres)(nil)
)
