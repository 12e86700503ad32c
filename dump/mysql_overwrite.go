package dump

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/caddy-backup/caddy-backup/backup"
)

// besidePrefix begins the names of the databases that a restore over a live one makes for the time being.
const besidePrefix = "caddy_backup_restore_"

// Live is the name of the database.
func (m *MySQL) Live(d backup.Stored) string {
	s, err := parseMyDSN(m.dsn)
	if err != nil {
		return "?"
	}
	if name := m.databaseOf(d.Part, &myServer{mySettings: s}); name != "" {
		return name
	}
	return "the users of " + s.place()
}

// Ready compares versions and tries whether databases can be made.
func (m *MySQL) Ready(ctx context.Context, d backup.Stored, o backup.Over, t *backup.Task) error {
	s, err := newMyServer(m.dsn)
	if err != nil {
		return err
	}
	if m.databaseOf(d.Part, s) == "" {
		return fmt.Errorf("%w: users are not restored by themselves; restore the part as a file, and read it before you run it", backup.ErrInvalid)
	}
	conn, server, err := s.session(ctx, "")
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := suits(server, d.Facts.Engine, o, t); err != nil {
		return err
	}
	if _, err := m.dumper(ctx, server); err != nil {
		return err
	}
	probe := besideName()
	if _, err := conn.ExecContext(ctx, "CREATE DATABASE "+quoteMyName(probe)); err != nil {
		return fmt.Errorf("the dump is restored beside the live database first, and user %s may not make one: %w; GRANT ALL ON `%s%%`.* TO this user",
			s.user, err, strings.ReplaceAll(besidePrefix, "_", `\_`))
	}
	return s.drop(probe)
}

// suits refuses a server that is older than the one that was dumped, or of the other make.
func suits(server myVersion, dumped string, o backup.Over, t *backup.Task) error {
	make, text, known := strings.Cut(dumped, " ")
	if !known {
		return nil
	}
	from, err := parseMyVersion(text)
	if err != nil {
		return nil
	}
	from.mariadb = make == "MariaDB"
	switch order := slices.Compare(server.numbers[:2], from.numbers[:2]); {
	case o.Force:
	case from.mariadb != server.mariadb:
		return fmt.Errorf("the dump is of %s, and the server is %s: force the restore if you know that it fits", from, server)
	case order < 0:
		return fmt.Errorf("the dump is of %s, and the server is older, %s: force the restore if you know that it fits", from, server)
	case order > 0:
		t.Log.Warn("the server is newer than the one that was dumped", "dumped", from.String(), "server", server.String())
	}
	return nil
}

func besideName() string {
	random := make([]byte, 6)
	rand.Read(random) // never fails
	return besidePrefix + hex.EncodeToString(random)
}

// Overwrite restores the dump into a database beside the live one, and when that went well moves the tables of both, in one
// statement; views, triggers, routines and events are made anew. The old tables stay when some of them are in no dump. No
// transaction covers that: if it fails, the old ones are moved
// back, and ErrIncomplete says that even this failed.
func (m *MySQL) Overwrite(ctx context.Context, d backup.Stored, r io.Reader, o backup.Over, t *backup.Task) error {
	s, err := newMyServer(m.dsn)
	if err != nil {
		return err
	}
	conn, server, err := s.session(ctx, "")
	if err != nil {
		return err
	}
	defer conn.Close()
	tool, err := m.dumper(ctx, server)
	if err != nil {
		return err
	}
	x := &mySwitch{MySQL: m, s: s, conn: conn, tool: tool, t: t, live: m.databaseOf(d.Part, s), fresh: besideName(), old: besideName()}
	if err := conn.create(ctx, x.fresh, x.live, s); err != nil {
		return err
	}
	if x.events, err = s.fill(ctx, r, x.fresh, ""); err != nil { // its sequences draw from those of the live one, which it becomes
		return err
	}
	err = x.do(ctx)
	if errors.Is(err, backup.ErrIncomplete) {
		return fmt.Errorf("%w; the old tables are in database %s, the new ones in %s, or where they were moved to", err, x.old, x.fresh)
	}
	if leavesOut := len(m.ignored(x.live)) > 0; err == nil && (o.Aside || leavesOut) {
		if leavesOut {
			t.Log.Warn("the source leaves out tables, which no snapshot holds, so the old ones stay")
		}
		t.Log.Warn("the tables as they were are kept; drop the database when nobody misses them", "database", x.old)
		return s.drop(x.fresh)
	}
	return errors.Join(err, s.drop(x.fresh), s.drop(x.old))
}

// mySwitch puts the tables of one database into the place of another's.
type mySwitch struct {
	*MySQL
	s                *myServer
	conn             *myConn
	tool             myTool
	t                *backup.Task
	live, fresh, old string   // databases
	events           []string // that run in what was dumped
}

// switchTime bounds what is not cancelled once begun.
const switchTime = 10 * time.Minute

func (x *mySwitch) do(ctx context.Context) error {
	exists, err := x.conn.value(ctx, "SELECT 1 FROM information_schema.schemata WHERE schema_name = ?", x.live)
	if err == nil && exists == "" {
		err = x.conn.create(ctx, x.live, x.fresh, x.s)
	}
	if err == nil {
		err = x.conn.create(ctx, x.old, x.live, x.s)
	}
	if err != nil {
		return err
	}
	before, err := x.definitions(ctx, x.live)
	if err != nil {
		return fmt.Errorf("reading the definitions of database %s: %w", x.live, err)
	}
	after, err := x.definitions(ctx, x.fresh)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), switchTime)
	defer cancel()
	// Those who hold a table keep everybody waiting who comes behind us.
	if _, err := x.conn.ExecContext(ctx, fmt.Sprintf("SET lock_wait_timeout = %d, foreign_key_checks = 0", int(x.lockTimeout().Seconds()))); err != nil {
		return err
	}
	return x.swap(ctx, before, after)
}

// swap does it, and undoes what it did when it fails.
func (x *mySwitch) swap(ctx context.Context, before, after []byte) error {
	err := errors.Join(x.strip(ctx, x.live), x.strip(ctx, x.fresh))
	moved := false
	if err == nil {
		if err = x.move(ctx, [2]string{x.live, x.old}, [2]string{x.fresh, x.live}); err == nil {
			moved = true
			err = x.define(ctx, x.live, after, x.events)
		}
	}
	if err == nil {
		return nil
	}
	x.t.Log.Warn("the switch failed; going back", "database", x.live, "error", err)
	var back error
	if moved {
		if back = x.strip(ctx, x.live); back == nil {
			back = x.move(ctx, [2]string{x.live, x.fresh}, [2]string{x.old, x.live})
		}
	} else {
		back = x.strip(ctx, x.live)
	}
	if back == nil {
		back = x.define(ctx, x.live, before, nil)
	}
	if back != nil {
		return fmt.Errorf("%w: database %s: %w; going back failed too: %w", backup.ErrIncomplete, x.live, err, back)
	}
	return fmt.Errorf("restoring over database %s: %w", x.live, err)
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

// move moves all tables from one database to another, of several pairs in turn, in one statement.
func (x *mySwitch) move(ctx context.Context, pairs ...[2]string) error {
	var renames []string
	for _, pair := range pairs {
		names, err := x.conn.list(ctx, "SELECT table_name FROM information_schema.tables WHERE table_schema = ? AND table_type <> 'VIEW' ORDER BY 1", pair[0])
		if err != nil {
			return err
		}
		for _, name := range names {
			name = "." + quoteMyName(name)
			renames = append(renames, quoteMyName(pair[0])+name+" TO "+quoteMyName(pair[1])+name)
		}
	}
	if len(renames) == 0 {
		return nil
	}
	_, err := x.conn.ExecContext(ctx, "RENAME TABLE "+strings.Join(renames, ", "))
	return err
}

var _ backup.Overwriter = (*MySQL)(nil)
