package dump

import (
	"context"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"
	"time"

	"github.com/go-sql-driver/mysql"

	"github.com/caddy-backup/caddy-backup/backup"
)

const maxMyName = 64 // characters of a database's name

// Restore creates a new database and runs the dump in it, statement by statement over one connection of our own: no client
// program reads it, so nothing in it can start a program or read a file here. After any failure the new database is dropped
// again; if we are killed, it bears a mark, see begin. It gets the character set of the database that the source dumps, while that is there; each table has its own in the
// dump. Views and routines keep those who defined them: that takes the right to do so.
func (m *MySQL) Restore(ctx context.Context, p backup.Part, r io.Reader, place string, t *backup.Task) error {
	if err := checkMyName(place); err != nil {
		return err
	}
	s, err := newMyServer(m.dsn)
	if err != nil {
		return err
	}
	database := m.databaseOf(p, s)
	if database == "" {
		return fmt.Errorf("%w: users are not restored by themselves; restore the part as a file, and read it before you run it",
			backup.ErrInvalid)
	}
	conn, err := s.connect(ctx, "")
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := conn.begin(ctx, place, database, s, t); err != nil {
		return err
	}
	guard := newMyGuard(database)
	if err = m.fill(ctx, s, conn, r, place, guard); err == nil {
		err = s.finish(ctx, place)
	}
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, switchTime)
	defer cancel()
	conn.warnStrangers(ctx, place, t)
	switch {
	case len(guard.enabled) == 0:
		return nil
	case place == database:
		return conn.enable(ctx, place, guard.enabled)
	}
	t.Log.Warn("the events of the restored database are disabled: they may do what those of the live one do already; "+
		"enable them with ALTER EVENT … ENABLE", "database", place, "events", summed(guard.enabled))
	return nil
}

// fill runs a script in a new database that nobody else uses, which is dropped again when that fails. Meanwhile the server is
// asked over the other connection, which holds the lock, whether it is there.
func (m *MySQL) fill(ctx context.Context, s *myServer, holds *myConn, r io.Reader, place string, guard *myGuard) error {
	ctx, stop := m.pulse(ctx, holds, pulseLook, alive)
	defer stop()
	conn, err := s.connect(ctx, place)
	if err == nil {
		defer conn.Close()
		err = conn.withRight(ctx, conn.execute(ctx, newSQLScript(r), guard, func([]byte) bool { return true }))
	}
	if cause := context.Cause(ctx); err != nil && cause != nil {
		err = cause
	}
	if err != nil {
		return errors.Join(s.explain("restore into the new database "+place, err), s.drop(place))
	}
	return nil
}

func checkMyName(name string) error {
	if name == "" || len([]rune(name)) > maxMyName || strings.ContainsAny(name, "\x00\n") || strings.HasSuffix(name, " ") {
		return fmt.Errorf("%w: '%s' cannot be the name of a database: 1 to %d characters", backup.ErrInvalid, name, maxMyName)
	}
	if oursInMy(name) {
		return fmt.Errorf("%w: names that begin like %s are for databases that are dropped again", backup.ErrInvalid, name)
	}
	return nil
}

// oursInMy reports whether a database is one that we make for a while.
func oursInMy(name string) bool {
	return strings.HasPrefix(name, besidePrefix) || strings.HasPrefix(name, backup.ScratchPrefix)
}

// create makes a new database like another one. It is not cancelled once begun: nobody would know whether it is there.
func (c *myConn) create(ctx context.Context, place, like string, s *myServer) error {
	query := "CREATE DATABASE " + quoteMyName(place)
	charset, err := c.value(ctx, "SELECT concat(default_character_set_name, ' COLLATE ', default_collation_name) FROM information_schema.schemata "+
		"WHERE schema_name = ?", like)
	if err != nil {
		return s.explain("creating "+place+" for a restore", err)
	}
	if charset != "" {
		query += " CHARACTER SET " + charset
	}
	if err := context.Cause(ctx); err != nil {
		return err
	}
	bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
	defer cancel()
	_, err = c.ExecContext(bounded, query)
	var refused *mysql.MySQLError
	if errors.As(err, &refused) && refused.Number == 1007 {
		return fmt.Errorf("%w: database %s exists on %s; restore to another name, or drop it first", backup.ErrConflict, place, s.place())
	}
	if refused != nil && refused.Number == 1044 {
		return fmt.Errorf("user %s may not make the database %s: %w; %s", s.user, place, err, c.grant(ctx, place))
	}
	if err != nil {
		return s.explain("creating "+place+" for a restore", err)
	}
	return nil
}

// alterDatabase is what the dump programs write around a routine, trigger or event that is older than the collation of its
// database.
var alterDatabase = regexp.MustCompile("^ALTER DATABASE `(?:[^`]|``)+` (CHARACTER SET .*)")

// ofThisDatabase takes the name out of such a statement: it is that of the live database, which is not to be touched, or is
// gone. Without a name the one that we are connected to is meant.
func ofThisDatabase(stmt []byte) []byte {
	if m := alterDatabase.FindSubmatch(stmt[:min(len(stmt), insertHead)]); m != nil {
		return append([]byte("ALTER DATABASE "), m[1]...)
	}
	return stmt
}

// headMode is what the dump programs set before the first table. A date like 2024-02-31, which a server may have let in, would be
// turned into 0000-00-00 in that mode without a word.
var headMode = regexp.MustCompile(`(@OLD_SQL_MODE=@@SQL_MODE, SQL_MODE='NO_AUTO_VALUE_ON_ZERO)'`)

// execute runs those statements of a whole script that the guard admits and that are wanted.
func (c *myConn) execute(ctx context.Context, script *sqlScript, guard *myGuard, wanted func(stmt []byte) bool) error {
	if err := c.follow(ctx, script, guard, "SET sql_mode = ''"); err != nil {
		return err
	}
	limit, err := c.packet(ctx)
	if err != nil {
		return err
	}
	var views myViews
	for n := 1; ; n++ {
		stmt, err := script.next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
		if !wanted(stmt) {
			continue
		}
		run, err := guard.admit(stmt)
		if err != nil {
			return fmt.Errorf("line %d: %w", script.line, err)
		}
		if run == nil {
			continue
		}
		if settings.Match(run) {
			err = c.follow(ctx, script, guard, headMode.ReplaceAllString(string(run), "$1,ALLOW_INVALID_DATES'"))
		} else {
			err = c.send(ctx, run, script.mode, limit)
		}
		if err != nil {
			if cause := context.Cause(ctx); cause != nil {
				return cause
			}
			if err = views.later(ctx, c, string(run), err); err == nil {
				continue
			}
			return fmt.Errorf("statement %d, at line %d (%.60q): %w", n, script.line, run, err)
		}
	}
	if !script.complete {
		return fmt.Errorf("%w: it does not end with the line %q", errCutOff, lastComment)
	}
	if err := views.make(ctx, c, guard); err != nil {
		return err
	}
	_, err = c.ExecContext(ctx, "COMMIT") // a script may have said that it will
	return err
}

// follow runs a statement that may change how the server reads quotes and bytes, and has script and guard read them the same way:
// what they took for a value must not be a statement for the server. There are many ways to write such a setting: it is asked.
func (c *myConn) follow(ctx context.Context, script *sqlScript, guard *myGuard, stmt string) error {
	if _, err := c.ExecContext(ctx, stmt); err != nil {
		return err
	}
	var mode string
	err := c.QueryRowContext(ctx, "SELECT @@SESSION.sql_mode, @@SESSION.character_set_client, @@lower_case_table_names > 0").
		Scan(&mode, &guard.charset, &guard.caseless)
	if err == nil {
		guard.mode = parseSQLMode(mode)
		script.mode = guard.mode
	}
	return err
}

// drop takes a new database away, also when the run was cancelled. Its error says what is left.
func (s *myServer) drop(place string) error {
	err := s.tidy("DROP DATABASE IF EXISTS " + quoteMyName(place))
	switch {
	case err == nil:
		return nil
	case strings.HasPrefix(place, ourPrefix):
		return fmt.Errorf("database %s is left behind on %s: the next backup or drill of this source drops it (%w)", place, s.place(), err)
	}
	return fmt.Errorf("the new database %s is left behind on %s, incomplete: drop it, or restore to this name again (%w)", place, s.place(), err)
}

// tidy runs a statement over a connection of its own, within a minute.
func (s *myServer) tidy(query string) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	conn, err := s.connect(ctx, "")
	if err != nil {
		return err
	}
	defer conn.Close()
	_, err = conn.ExecContext(ctx, query)
	return err
}

func quoteMyName(name string) string { return "`" + strings.ReplaceAll(name, "`", "``") + "`" }

// Verify reads a script to its end: it must have the line that the dump programs write last.
func (m *MySQL) Verify(ctx context.Context, _ backup.Part, r io.Reader, _ *backup.Task) (backup.Facts, error) {
	rows, err := readScript(&contextReader{ctx, r})
	if err != nil {
		return backup.Facts{}, err
	}
	return backup.Facts{Checked: checkedMySQL, Rows: rows}, nil
}

var _ backup.Verifier = (*MySQL)(nil)
