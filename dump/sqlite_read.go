package dump

import (
	"bufio"
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"net/url"
	"strings"
	"time"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

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
	buf := bufio.NewWriterSize(w, copyBuffer)
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

func quoteName(name string) string   { return `"` + strings.ReplaceAll(name, `"`, `""`) + `"` }
func quoteString(text string) string { return "'" + strings.ReplaceAll(text, "'", "''") + "'" }
