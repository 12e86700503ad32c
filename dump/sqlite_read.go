package dump

import (
	"bufio"
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"github.com/caddy-backup/caddy-backup/backup"
)

const checkedWhole = "integrity_check: ok"

// sqliteConn is one connection to a database, without the pool of database/sql: a transaction needs exactly one.
type sqliteConn struct{ driver.Conn }

// openSQLite opens an existing database; mode is "ro" or "rw". It never creates one, and never writes rows; but with
// "rw", as any program that opens a database, it repairs what a crashed writer left.
func openSQLite(path, mode string) (*sqliteConn, error) {
	params := url.Values{"mode": {mode}, "_error_rc": {"1"}, "_defensive": {"1"}}
	if mode == "ro" {
		params.Set("immutable", "1") // our own temporary file: no locks, no -shm
	}
	u := url.URL{Scheme: "file", Path: path, RawQuery: params.Encode()}
	c, err := new(sqlite.Driver).Open(u.String())
	if err != nil {
		return nil, err
	}
	conn := &sqliteConn{c}
	for _, pragma := range []string{
		"busy_timeout=100", // milliseconds: begin waits longer, but not while ctx is done
		"query_only=1",
		"trusted_schema=0", // what stands in the schema must not run functions with side effects
		"cell_size_check=1",
	} {
		if _, err := conn.one(context.Background(), "PRAGMA "+pragma); err != nil {
			conn.Close()
			return nil, err
		}
	}
	return conn, nil
}

// query gives every row to f. The values are f's to keep.
func (c *sqliteConn) query(ctx context.Context, text string, f func(row []driver.Value) error) error {
	rows, err := c.Conn.(driver.QueryerContext).QueryContext(ctx, text, nil)
	if err != nil {
		return err
	}
	defer rows.Close()
	row := make([]driver.Value, len(rows.Columns()))
	for {
		switch err := rows.Next(row); {
		case err == io.EOF:
			return nil
		case err != nil:
			return err
		case ctx.Err() != nil:
			return ctx.Err()
		}
		if err := f(row); err != nil {
			return err
		}
	}
}

// one is the first column of the first row, nil when there is none.
func (c *sqliteConn) one(ctx context.Context, text string) (value driver.Value, err error) {
	first := true
	err = c.query(ctx, text, func(row []driver.Value) error {
		if first {
			value, first = row[0], false
		}
		return nil
	})
	return value, err
}

// snapshot is the state of a database that a read transaction sees.
type snapshot struct {
	version     string // of SQLite
	journalMode string
	pages       int64
	pageSize    int64 // bytes
	pageTable   bool  // the pages can be read as a table
}

func (s snapshot) size() int64 { return s.pages * s.pageSize }

// errNoPages is an empty file, or a database that nothing was ever written to.
var errNoPages = errors.New("it is empty: there is no page in it")

// begin starts a read transaction; from then on until Close everything that c reads is of the same moment. It waits as
// long as wait for somebody who has an exclusive lock.
func (c *sqliteConn) begin(ctx context.Context, wait time.Duration) (s snapshot, err error) {
	if _, err := c.one(ctx, "BEGIN"); err != nil {
		return s, err
	}
	// The first reading of the file takes the lock and fixes the moment.
	for deadline := time.Now().Add(wait); ; {
		_, err := c.one(ctx, "SELECT count(*) FROM sqlite_schema")
		if err == nil {
			break
		}
		if sqliteCode(err) != sqlite3.SQLITE_BUSY || ctx.Err() != nil || time.Now().After(deadline) {
			return s, err
		}
	}
	for text, to := range map[string]any{
		"SELECT sqlite_version()": &s.version, "PRAGMA journal_mode": &s.journalMode,
		"PRAGMA page_count": &s.pages, "PRAGMA page_size": &s.pageSize,
	} {
		value, err := c.one(ctx, text)
		if err != nil {
			return s, err
		}
		switch to := to.(type) {
		case *string:
			*to, _ = value.(string)
		case *int64:
			*to, _ = value.(int64)
		}
	}
	if s.pages == 0 {
		return s, errNoPages
	}
	module, err := c.one(ctx, "SELECT name FROM pragma_module_list WHERE name = 'sqlite_dbpage'")
	s.pageTable = module != nil
	return s, err
}

// stream writes the pages in their order: the database's file, as it would be with everything in the WAL brought home.
func (c *sqliteConn) stream(ctx context.Context, w io.Writer, s snapshot) error {
	buf := bufio.NewWriterSize(w, streamBuffer)
	var n int64
	err := c.query(ctx, "SELECT data FROM sqlite_dbpage ORDER BY pgno", func(row []driver.Value) error {
		page, _ := row[0].([]byte)
		n += int64(len(page))
		if int64(len(page)) != s.pageSize {
			return fmt.Errorf("page %d has %d bytes instead of %d", n/s.pageSize, len(page), s.pageSize)
		}
		_, err := buf.Write(page)
		return err
	})
	if err != nil {
		return err
	}
	if n != s.size() {
		return fmt.Errorf("read %d bytes of %d", n, s.size())
	}
	return buf.Flush()
}

// check runs SQLite's integrity check. It says how much was checked, or what is wrong.
func (c *sqliteConn) check(ctx context.Context, note func(string)) (checked string, err error) {
	err = c.integrity(ctx, "PRAGMA integrity_check")
	if !foreign(err) {
		return checkedWhole, err
	}
	// The schema uses functions or collations that its own program defines. Check what can be checked without them.
	if _, err := c.one(ctx, "PRAGMA ignore_check_constraints=1"); err != nil {
		return "", err
	}
	err = c.integrity(ctx, "PRAGMA integrity_check")
	if !foreign(err) {
		note("CHECK constraints were not checked: the schema uses functions of its own program")
		return checkedWhole + " without CHECK constraints", err
	}
	tables, err := c.tables(ctx)
	if err != nil {
		return "", err
	}
	for _, table := range tables {
		err := c.integrity(ctx, "PRAGMA integrity_check("+quoteString(table)+")")
		if foreign(err) {
			note(fmt.Sprintf("table %s was not checked: %v", table, err))
		} else if err != nil {
			return "", err
		}
	}
	return checkedWhole + " in part, see notes", nil
}

func (c *sqliteConn) integrity(ctx context.Context, pragma string) error {
	var problems []string
	err := c.query(ctx, pragma, func(row []driver.Value) error {
		text, _ := row[0].(string)
		problems = append(problems, strings.Split(text, "\n")...)
		return nil
	})
	if err != nil || len(problems) == 1 && problems[0] == "ok" {
		return err
	}
	return &damagedError{problems}
}

// damagedError is what the integrity check found: a line for each problem, or for a place in which problems are.
type damagedError struct{ problems []string }

func (e *damagedError) Error() string {
	text := strings.Join(e.problems[:min(4, len(e.problems))], "; ")
	if more := len(e.problems) - 4; more > 0 {
		text += fmt.Sprintf(" (and %d more)", more)
	}
	return text
}

// foreign tells whether err is for want of something that only the database's own program has.
func foreign(err error) bool {
	var e *sqlite.Error
	if !errors.As(err, &e) || e.Code()&0xff != sqlite3.SQLITE_ERROR {
		return false
	}
	for _, words := range []string{"unknown function", "no such function", "no such collation", "no such module", "unsafe use of"} {
		if strings.Contains(e.Error(), words) {
			return true
		}
	}
	return false
}

// tables lists the ordinary tables.
func (c *sqliteConn) tables(ctx context.Context) (names []string, err error) {
	err = c.query(ctx, `SELECT name FROM pragma_table_list WHERE schema = 'main' AND type = 'table'
		AND name NOT LIKE 'sqlite\_%' ESCAPE '\' ORDER BY name`, func(row []driver.Value) error {
		names = append(names, row[0].(string))
		return nil
	})
	return names, err
}

// countRows counts the rows of the tables. One that cannot be counted is left out: the check has said what is to say.
func (c *sqliteConn) countRows(ctx context.Context) map[string]int64 {
	tables, _ := c.tables(ctx)
	counts := map[string]int64{}
	for _, table := range tables {
		if n, err := c.one(ctx, "SELECT count(*) FROM "+quoteName(table)); err == nil {
			counts[table], _ = n.(int64)
		}
	}
	return counts
}

// dumpCopy is the way for an SQLite without a table of pages: a copy made in one step, and checked, is written.
func (s *SQLite) dumpCopy(ctx context.Context, c *sqliteConn, w io.Writer, t *backup.Task) error {
	dir, err := os.MkdirTemp("", "caddy-backup-") // 0700
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "copy")
	t.Log.Warn("the pages of " + s.path + " cannot be read in place: they are copied to a temporary file first, " + path)
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		return err
	}
	b, err := c.Conn.(interface {
		NewBackup(string) (*sqlite.Backup, error)
	}).NewBackup(path)
	if err != nil {
		return err
	}
	_, err = b.Step(-1)
	if err := errors.Join(err, b.Finish()); err != nil {
		return err
	}
	if err := checkFile(ctx, path); err != nil {
		return err
	}
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = io.Copy(w, &contextReader{ctx, f})
	return err
}

// checkFile runs the integrity check on a file that nobody else uses, and compares its length with what it says itself:
// SQLite would take a page that is cut short as filled up with zeros.
func checkFile(ctx context.Context, path string) error {
	c, err := openSQLite(path, "ro")
	if err != nil {
		return err
	}
	defer c.Close()
	snap, err := c.begin(ctx, 0)
	if err != nil {
		return err
	}
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	if info.Size() != snap.size() {
		return fmt.Errorf("%d bytes instead of %d: %w", info.Size(), snap.size(), io.ErrUnexpectedEOF)
	}
	_, err = c.check(ctx, func(string) {})
	return err
}

// contextReader ends a copy when ctx is done.
type contextReader struct {
	ctx context.Context
	r   io.Reader
}

func (c *contextReader) Read(p []byte) (int, error) {
	if err := context.Cause(c.ctx); err != nil {
		return 0, err
	}
	return c.r.Read(p)
}

func quoteName(name string) string   { return `"` + strings.ReplaceAll(name, `"`, `""`) + `"` }
func quoteString(text string) string { return "'" + strings.ReplaceAll(text, "'", "''") + "'" }
