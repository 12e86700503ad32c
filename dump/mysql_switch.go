package dump

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/caddy-backup/caddy-backup/backup"
)

// mySwitch puts the tables of one database into the place of another's.
type mySwitch struct {
	source *MySQL
	s      *myServer
	conn   *myConn // holds the lock
	tool   myTool
	t      *backup.Task
	late   []byte // a script of views that can be made only in the live database
	myJournal
}

// switchTime bounds what is not cancelled once begun.
const switchTime = 10 * time.Minute

// undoPatience is for how long it is tried to reach a server again that went away in the middle of a switch.
const undoPatience = time.Minute

// fill restores a dump into the new database. Its sequences draw from those of the live one, which it becomes, and what its views
// may read is known only there.
func (x *mySwitch) fill(ctx context.Context, r io.Reader) error {
	guard := newMyGuard("")
	guard.patient = true
	err := x.source.fill(ctx, x.s, x.conn, r, x.New, guard)
	x.Events, x.late = guard.enabled, guard.late
	return err
}

// do switches. After an error everything is as before, or it is ErrIncomplete.
func (x *mySwitch) do(ctx context.Context) error {
	bounded, cancel := context.WithTimeout(ctx, switchTime)
	defer cancel()
	if err := x.prepare(bounded); err != nil {
		return err
	}
	if x.Absent {
		if err := x.conn.create(ctx, x.Live, x.New, x.s); err != nil {
			return err
		}
	}
	lasting, cancel := context.WithTimeout(context.WithoutCancel(ctx), switchTime)
	defer cancel()
	if err := x.swap(lasting); err != nil {
		return x.undo(err)
	}
	return nil
}

// prepare finds out what there is to do, and writes it down. Nothing of the live database is changed yet.
func (x *mySwitch) prepare(ctx context.Context) error {
	exists, err := x.conn.value(ctx, "SELECT 1 FROM information_schema.schemata WHERE schema_name = ?", x.Live)
	if err != nil {
		return err
	}
	if x.Absent = exists == ""; x.Absent {
		x.Keep = false // there is nothing
	} else if x.Before, err = x.definitions(ctx, x.Live); err != nil {
		return fmt.Errorf("reading the definitions of database %s: %w", x.Live, err)
	}
	if err := x.conn.create(ctx, x.Old, x.Live, x.s); err != nil {
		return err
	}
	if x.After, err = x.definitions(ctx, x.New); err != nil {
		return err
	}
	// The server leaves the name of a view's own database out only while who defined the view may read there, as it may in the
	// live one alone.
	x.After = bytes.ReplaceAll(x.After, []byte(quoteMyName(x.New)), []byte(quoteMyName(x.Live)))
	x.After = append(x.After, x.late...)
	if x.Tables, err = x.conn.ownTables(ctx, x.Live); err != nil {
		return err
	}
	if x.Fresh, err = x.conn.ownTables(ctx, x.New); err != nil {
		return err
	}
	return x.write(ctx)
}

// swap goes all the way.
func (x *mySwitch) swap(ctx context.Context) error {
	// Those who hold a table keep everybody waiting who comes behind us.
	if err := x.set(ctx); err != nil {
		return err
	}
	for _, database := range []string{x.Live, x.New} {
		if err := x.strip(ctx, database); err != nil {
			return err
		}
	}
	if err := x.rename(ctx, slices.Concat(moves(x.Tables, x.Live, x.Old), moves(x.Fresh, x.New, x.Live))); err != nil {
		return err
	}
	return x.define(ctx, x.Live, x.After, x.Events)
}

func (x *mySwitch) set(ctx context.Context) error {
	_, err := x.conn.ExecContext(ctx, fmt.Sprintf("SET lock_wait_timeout = %d, foreign_key_checks = 0", int(max(time.Second, x.source.lockTimeout()).Seconds())))
	return err
}

// undo goes back after a fault, over a connection of its own: the fault may be that of the other one, and the server may still be
// at its last statement, so it waits for its lock. A server that is not there may be about to start again.
func (x *mySwitch) undo(fault error) error {
	x.t.Log.Warn("the switch failed; going back", "database", x.Live, "error", fault)
	ctx, cancel := context.WithTimeout(context.Background(), switchTime)
	defer cancel()
	x.conn.Close()
	conn, err := x.s.connect(ctx, "")
	for patience := time.Now().Add(undoPatience); err != nil && time.Now().Before(patience); {
		time.Sleep(time.Second)
		conn, err = x.s.connect(ctx, "")
	}
	if err == nil {
		x.conn = conn
		err = x.hold(ctx, switchTime/2)
	}
	if err == nil {
		err = x.back(ctx)
	}
	if err != nil {
		return fmt.Errorf("%w: database %s: %w; going back failed too: %w", backup.ErrIncomplete, x.Live, fault, err)
	}
	return fmt.Errorf("restoring over database %s: %w", x.Live, fault)
}

// back brings the live database into the state from before, from wherever it was left.
func (x *mySwitch) back(ctx context.Context) error {
	if err := x.set(ctx); err != nil {
		return err
	}
	if err := x.strip(ctx, x.Live); err != nil {
		return err
	}
	inNew, inOld, err := x.where(ctx)
	if err != nil {
		return err
	}
	away := slices.DeleteFunc(slices.Clone(x.Fresh), func(name string) bool { return slices.Contains(inNew, name) })
	home := slices.DeleteFunc(slices.Clone(x.Tables), func(name string) bool { return !slices.Contains(inOld, name) })
	if err := x.rename(ctx, slices.Concat(moves(away, x.Live, x.New), moves(home, x.Old, x.Live))); err != nil {
		return err
	}
	if x.Absent {
		return x.conn.dropEmpty(ctx, x.Live)
	}
	return x.define(ctx, x.Live, x.Before, nil)
}

// dropEmpty drops a database, unless somebody has made something in it.
func (c *myConn) dropEmpty(ctx context.Context, database string) error {
	found, err := c.value(ctx, "SELECT 1 FROM information_schema.tables WHERE table_schema = ? UNION SELECT 1 FROM information_schema.routines WHERE routine_schema = ? "+
		"UNION SELECT 1 FROM information_schema.events WHERE event_schema = ?", database, database, database)
	if err == nil && found == "" {
		_, err = c.ExecContext(ctx, "DROP DATABASE IF EXISTS "+quoteMyName(database))
	}
	return err
}

// forward makes what is missing behind the move of the tables.
func (x *mySwitch) forward(ctx context.Context) error {
	if err := x.set(ctx); err != nil {
		return err
	}
	if err := x.strip(ctx, x.Live); err != nil {
		return err
	}
	return x.define(ctx, x.Live, x.After, x.Events)
}

// moved reports whether all tables have changed places.
func (x *mySwitch) moved(ctx context.Context) (bool, error) {
	inNew, inOld, err := x.where(ctx)
	return len(x.Fresh) > 0 && len(inNew) == 0 && len(inOld) == len(x.Tables), err
}

func (x *mySwitch) where(ctx context.Context) (inNew, inOld []string, err error) {
	if inNew, err = x.conn.ownTables(ctx, x.New); err == nil {
		inOld, err = x.conn.ownTables(ctx, x.Old)
	}
	return inNew, inOld, err
}

// ownTables are the tables and sequences of a database; not its views, and not our journal.
func (c *myConn) ownTables(ctx context.Context, database string) ([]string, error) {
	return c.list(ctx, "SELECT table_name FROM information_schema.tables WHERE table_schema = ? AND table_type <> 'VIEW' AND table_name <> ? ORDER BY 1",
		database, journalTable)
}

// moves are the words of RENAME TABLE for tables that go from one database to another.
func moves(names []string, from, to string) (words []string) {
	for _, name := range names {
		name = "." + quoteMyName(name)
		words = append(words, quoteMyName(from)+name+" TO "+quoteMyName(to)+name)
	}
	return words
}

func (x *mySwitch) rename(ctx context.Context, moves []string) error {
	if len(moves) == 0 {
		return nil
	}
	_, err := x.conn.ExecContext(ctx, "RENAME TABLE "+strings.Join(moves, ", "))
	return err
}

// definitions are a script of everything in a database but data.
func (x *mySwitch) definitions(ctx context.Context, database string) ([]byte, error) {
	var script bytes.Buffer
	options := []string{"--no-data", "--routines", "--triggers", "--events", "--no-tablespaces", "--skip-lock-tables", "--default-character-set=utf8mb4"}
	if err := x.conn.endless(ctx, database); err != nil {
		return nil, err
	}
	broken, err := x.conn.brokenViews(ctx, database)
	if err != nil {
		return nil, err
	}
	if len(broken) > 0 && database == x.New {
		return nil, fmt.Errorf("%w: views of the dump cannot be read on this server, and would be lost: %s; create those who defined them, and what they "+
			"select from in other databases, or restore into a new database", backup.ErrConflict, summed(broken))
	}
	for _, name := range broken { // the program would stop there, and they cannot be made again
		x.t.Log.Warn("a view that cannot be read is not kept", "database", database, "view", name)
		options = append(options, "--ignore-table="+database+"."+name)
	}
	p, settings, err := x.s.program(x.tool, append(options, "--", database)...)
	if err != nil {
		return nil, err
	}
	defer settings.Close()
	if _, err := dumpAlong(ctx, x.t, p, &script, readScript); err != nil {
		return nil, err
	}
	return script.Bytes(), nil
}

// ofTables are the statements of definitions that make tables, which are moved instead.
var ofTables = regexp.MustCompile("(?i)^(?:DROP TABLE|CREATE TABLE|DROP SEQUENCE|CREATE SEQUENCE|DO SETVAL|LOCK TABLES|UNLOCK TABLES)")

// define makes what is not a table.
func (x *mySwitch) define(ctx context.Context, database string, definitions []byte, events []string) error {
	conn, err := x.s.connect(ctx, database)
	if err != nil {
		return err
	}
	defer conn.Close()
	guard := newMyGuard("")
	if err := conn.execute(ctx, newSQLScript(bytes.NewReader(definitions)), guard, func(stmt []byte) bool { return !ofTables.Match(stmt) }); err != nil {
		return err
	}
	return conn.enable(ctx, database, append(guard.enabled, events...))
}

// strip removes what is not a table.
func (x *mySwitch) strip(ctx context.Context, database string) error {
	for _, kind := range []struct{ drop, names string }{
		{"TRIGGER", "SELECT trigger_name FROM information_schema.triggers WHERE trigger_schema = ?"},
		{"VIEW", "SELECT table_name FROM information_schema.views WHERE table_schema = ?"},
		{"EVENT", "SELECT event_name FROM information_schema.events WHERE event_schema = ?"},
		{"PROCEDURE", "SELECT routine_name FROM information_schema.routines WHERE routine_type = 'PROCEDURE' AND routine_schema = ?"},
		{"FUNCTION", "SELECT routine_name FROM information_schema.routines WHERE routine_type = 'FUNCTION' AND routine_schema = ?"},
		{"PACKAGE", "SELECT routine_name FROM information_schema.routines WHERE routine_type = 'PACKAGE' AND routine_schema = ?"}, // with its body
	} {
		names, err := x.conn.list(ctx, kind.names, database)
		if err != nil {
			return err
		}
		if kind.drop == "PACKAGE" && len(names) > 0 {
			if _, err := x.conn.ExecContext(ctx, "SET sql_mode = ORACLE"); err != nil { // else it is no word to older servers
				return err
			}
		}
		for _, name := range names {
			if _, err := x.conn.ExecContext(ctx, "DROP "+kind.drop+" IF EXISTS "+quoteMyName(database)+"."+quoteMyName(name)); err != nil {
				return err
			}
		}
	}
	return nil
}
