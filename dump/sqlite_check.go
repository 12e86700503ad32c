package dump

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

const checkedWhole = "integrity_check: ok"

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
