package dump

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-backup/caddy-backup/backup"
	"github.com/caddy-backup/caddy-backup/internal/setting"
)

func init() { caddy.RegisterModule(new(SQLite)) }

// SQLite dumps an SQLite database as the file that it would be if nobody were using it. It is read in this process, in
// one read transaction: whole and consistent while others write to it. In WAL mode (PRAGMA journal_mode=WAL) nobody
// waits for that; in the older modes writers wait until the dump is done. The same transaction runs SQLite's integrity
// check, which must say ok.
//
// SQLite must be able to open the database as any program does: besides the file it needs, in WAL mode, the files
// beside it, ending in -wal and -shm.
type SQLite struct {
	// Path of the database, absolute. Placeholders are replaced.
	Path string `json:"path,omitempty"`

	path string
	busy time.Duration // how long others may hold a lock; default busyTimeout
	copy bool          // for tests: as if there were no table of pages
}

const (
	busyTimeout = 30 * time.Second
	countedUpTo = 256 << 20 // bytes: the rows of larger databases are not counted
)

// CaddyModule tells Caddy about the source.
func (*SQLite) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: namespace + "sqlite", New: func() caddy.Module { return new(SQLite) }}
}

// UnmarshalCaddyfile reads
//
//	sqlite <path>
func (s *SQLite) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // the module's name
	if !d.AllArgs(&s.Path) {
		return d.ArgErr()
	}
	for d.NextBlock(0) {
		return d.Errf("unrecognized subdirective '%s'", d.Val())
	}
	return nil
}

// Provision replaces the placeholders.
func (s *SQLite) Provision(caddy.Context) (err error) {
	s.path, err = setting.Resolve("path", s.Path)
	return err
}

// Validate checks the settings. Whether the database is there is seen when it is dumped.
func (s *SQLite) Validate() error {
	if s.path == "" {
		return errors.New("sqlite is missing its path")
	}
	if !filepath.IsAbs(s.path) {
		return fmt.Errorf("path '%s' is not absolute: write it from the root, as in /srv/blog/db.sqlite3", s.path)
	}
	s.path = filepath.Clean(s.path)
	return nil
}

// OwnFiles are the files that the database consists of. While it is dumped, nothing else in this process may open and
// close them: that would take SQLite's locks away (fcntl(2): closing any descriptor of a file drops all of the
// process's locks on it), and a writer could change what we are reading.
func (s *SQLite) OwnFiles() []string {
	path, err := filepath.EvalSymlinks(s.path) // SQLite puts the others beside the file that a link leads to
	if err != nil {
		path = s.path
	}
	return []string{path, path + "-wal", path + "-shm", path + "-journal"}
}

// LocalPaths is the database's file.
func (s *SQLite) LocalPaths() []string { return []string{s.path} }

// Parts is the one file.
func (s *SQLite) Parts(_ context.Context, name string) ([]backup.Part, error) {
	return []backup.Part{{Name: name + ".sqlite3", Media: "application/vnd.sqlite3"}}, nil
}

// Dump checks the database and then writes its pages, in one read transaction.
func (s *SQLite) Dump(ctx context.Context, _ backup.Part, w io.Writer, t *backup.Task) (backup.Facts, error) {
	out := &sinkWriter{w: w}
	facts, err := s.dump(ctx, out, t)
	switch {
	case out.err != nil:
		return backup.Facts{}, out.err
	case err != nil:
		return backup.Facts{}, sqliteError(ctx, s.path, err)
	}
	return facts, nil
}

// sinkWriter tells an error of the writer from one of the database.
type sinkWriter struct {
	w   io.Writer
	err error
}

func (s *sinkWriter) Write(p []byte) (int, error) {
	n, err := s.w.Write(p)
	if err != nil {
		s.err = err
	}
	return n, err
}

func (s *SQLite) dump(ctx context.Context, w io.Writer, t *backup.Task) (backup.Facts, error) {
	// Only its metadata is looked at: see OwnFiles for what opening it here would do.
	info, err := os.Stat(s.path)
	if err != nil {
		return backup.Facts{}, err
	}
	if !info.Mode().IsRegular() {
		return backup.Facts{}, errors.New("not a regular file: give the path of the database's file")
	}
	_, err = os.Stat(s.OwnFiles()[2])
	unused := err != nil

	c, err := openSQLite(s.path, "rw")
	if err != nil {
		return backup.Facts{}, err
	}
	defer c.Close()
	snap, err := c.begin(ctx, s.busyTimeout())
	if err != nil {
		return backup.Facts{}, err
	}
	facts := backup.Facts{Engine: "SQLite " + snap.version, Source: "database " + s.path}
	note := func(text string) { facts.Notes = append(facts.Notes, text) } // the run logs them
	for _, text := range snap.concerns(s.path, info, unused) {
		note(text)
	}
	began, err := os.Stat(s.path) // again: to open it may have repaired it
	if err != nil {
		return backup.Facts{}, err
	}
	if s.copy || !snap.pageTable {
		err = s.dumpCopy(ctx, c, w, t)
	} else {
		checked := t.Quiet()
		facts.Checked, err = c.check(ctx, note)
		if err == nil && snap.size() <= countedUpTo {
			facts.Rows = c.countRows(ctx)
		}
		checked()
		if err == nil {
			err = c.stream(ctx, w, snap)
		}
	}
	if err != nil {
		return backup.Facts{}, err
	}
	if facts.Checked == "" {
		facts.Checked = checkedWhole
	}
	if err := snap.undisturbed(s.path, began, note); err != nil {
		return backup.Facts{}, err
	}
	return facts, nil
}

// undisturbed looks for what others did to the file during the dump without regard to SQLite's locks. Where another file took its
// place, the dump is still whole, since the old one was open.
func (snap snapshot) undisturbed(path string, began os.FileInfo, note func(string)) error {
	now, err := os.Stat(path)
	switch {
	case err != nil || !os.SameFile(began, now):
		note("it was removed or replaced during the dump, which is of what it was before")
	case snap.journalMode != "wal" && (now.Size() != began.Size() || !now.ModTime().Equal(began.ModTime())): // in WAL mode others may write
		return errors.New("it was written to during the dump by something that does not heed SQLite's locks, such as cp: " +
			"the dump may be of no one moment; run it again, and replace databases by renaming")
	}
	return nil
}

func (s *SQLite) busyTimeout() time.Duration {
	if s.busy > 0 {
		return s.busy
	}
	return busyTimeout
}

// concerns are things that a person should know about how the database is used.
func (snap snapshot) concerns(path string, info os.FileInfo, unused bool) (texts []string) {
	if snap.journalMode != "wal" {
		texts = append(texts, fmt.Sprintf("writers to %s wait while it is dumped, because it is not in WAL mode; "+
			"change that with: sqlite3 %[1]s 'PRAGMA journal_mode=WAL'", path))
		return texts
	}
	owner, ok := info.Sys().(*syscall.Stat_t)
	if me := os.Geteuid(); unused && ok && me != 0 && uint32(me) != owner.Uid {
		texts = append(texts, fmt.Sprintf("nobody had %s open, so its -wal and -shm files belong to user %s during the dump; "+
			"a program that opens it meanwhile as another user may find it read-only", path, userName()))
	}
	return texts
}

// Interface guards
var (
	_ backup.Source         = (*SQLite)(nil)
	_ backup.LocalSource    = (*SQLite)(nil)
	_ caddy.Provisioner     = (*SQLite)(nil)
	_ caddy.Validator       = (*SQLite)(nil)
	_ caddyfile.Unmarshaler = (*SQLite)(nil)
)
