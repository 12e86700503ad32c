package dump

import (
	"bytes"
	"context"
	"errors"
	"io"
	"maps"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/caddy-backup/caddy-backup/backup"
	"github.com/caddy-backup/caddy-backup/dump/dumptest"
	"github.com/caddy-backup/caddy-backup/internal/realtest"
)

// pgLive is a live database, a dump of what it was before, and what is in it now.
type pgLive struct {
	*Postgres
	pg     *realtest.Postgres
	dump   []byte
	stored backup.Stored
	was    map[string]string
	is     map[string]string
}

const liveName = `live "one"`

func newPgLive(t *testing.T, pg *realtest.Postgres, format string) *pgLive {
	t.Helper()
	pg.SQL(t, "postgres", "DROP DATABASE IF EXISTS "+quoteName(liveName)+" WITH (FORCE)")
	pg.SQL(t, "postgres", "CREATE DATABASE "+quoteName(liveName)+` OWNER shopkeeper TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C';
		COMMENT ON DATABASE "live ""one""" IS 'the shop''s';
		ALTER DATABASE "live ""one""" SET search_path = "$user", public, "Odd ""schema""";
		ALTER DATABASE "live ""one""" SET app.motto = 'it''s, "ours"';
		ALTER ROLE shopkeeper IN DATABASE "live ""one""" SET work_mem = '5MB';
		ALTER DATABASE "live ""one""" CONNECTION LIMIT 33;
		REVOKE CONNECT ON DATABASE "live ""one""" FROM PUBLIC; GRANT CONNECT ON DATABASE "live ""one""" TO pg_monitor;`)
	pg.SQL(t, liveName, shopSchema)
	x := &pgLive{Postgres: pgSource(t, pg.DSN(liveName)), pg: pg}
	x.Format = format
	part := firstPart(t, x.Postgres)
	var facts backup.Facts
	x.dump, facts = pgDump(t, x.Postgres, part)
	x.stored = backup.Stored{Part: part, Facts: facts, Size: int64(len(x.dump))}
	x.was = x.state(t)
	// What came since: new things, some of which hang on old ones.
	pg.SQL(t, liveName, `DELETE FROM account WHERE id > 10; CREATE TABLE newer (n int); CREATE VIEW on_old AS SELECT id FROM account;
		ALTER TABLE log ADD extra text; SELECT lo_from_bytea(0, 'newer'); ALTER FUNCTION tell() RENAME TO told_otherwise`)
	x.is = x.state(t)
	return x
}

// state is pgState with what is set for the database itself.
func (x *pgLive) state(t *testing.T) map[string]string {
	t.Helper()
	state := pgState(t, x.pg, liveName)
	state["database"] = x.pg.SQL(t, "postgres", `SELECT datconnlimit, shobj_description(oid, 'pg_database'), array(SELECT a::text FROM unnest(datacl) a ORDER BY 1),
		array(SELECT setrole::regrole || ' ' || setconfig::text FROM pg_db_role_setting WHERE setdatabase = oid ORDER BY 1)
		FROM pg_database WHERE datname = `+quoteString(liveName))
	return state
}

func (x *pgLive) over(ctx context.Context, t *testing.T, r io.Reader, o backup.Over) error {
	t.Helper()
	task := dumptest.Task(t)
	if err := x.Ready(ctx, x.stored, o, task); err != nil && !errors.Is(err, backup.ErrAbsent) {
		return err
	}
	return x.Overwrite(ctx, x.stored, r, o, task)
}

// Making a live database takes its time: all that leaves it as it was comes before what replaces it.
func testPostgresOverwrite(t *testing.T, pg *realtest.Postgres) {
	for _, format := range []string{formatCustom, formatPlain} {
		t.Run(format, func(t *testing.T) {
			x := newPgLive(t, pg, format)
			if live := x.Live(x.stored); live != liveName {
				t.Errorf("live = %s", live)
			}
			t.Run("drill", func(t *testing.T) { testPostgresDrill(t, x) })
			if format == formatCustom || realtest.Soak() {
				t.Run("fails", func(t *testing.T) { testPostgresOverwriteFails(t, x) })
				t.Run("killed", func(t *testing.T) { testPostgresKilledOverwrite(t, x) })
			}
			t.Run("in use", func(t *testing.T) { testPostgresOverwriteInUse(t, x) })
			if format == formatCustom {
				t.Run("kept aside, and missing", func(t *testing.T) { testPostgresAside(t, x) })
			}
		})
	}
	t.Run("rights and versions", func(t *testing.T) { testPostgresReady(t, pg) })
	t.Run("the server's own", func(t *testing.T) { testPostgresOwn(t, pg) })
	t.Run("scratch databases", func(t *testing.T) { testPostgresScratch(t, pg) })
}

// Who uses the database keeps it from being replaced, unless that is forced; then it is what it was when it was dumped.
func testPostgresOverwriteInUse(t *testing.T, x *pgLive) {
	conn := pgConnect(t, x.pg, liveName)
	defer closePg(conn)
	for _, over := range []func() error{
		func() error { return x.over(t.Context(), t, bytes.NewReader(x.dump), backup.Over{}) },
		func() error { // who came while it was restored
			return x.Overwrite(t.Context(), x.stored, bytes.NewReader(x.dump), backup.Over{}, dumptest.Task(t))
		},
	} {
		err := over()
		if !errors.Is(err, backup.ErrConflict) || !strings.Contains(err.Error(), "is in use by postgres (caddy-backup) from 127.0.0.1") {
			t.Errorf("in use: %v", err)
		}
	}
	samePgState(t, x.state(t), x.is)
	task := dumptest.Task(t)
	if err := x.Overwrite(t.Context(), x.stored, bytes.NewReader(x.dump), backup.Over{Force: true}, task); err != nil {
		t.Fatal(err)
	}
	if log := dumptest.Log(task); !strings.Contains(log, "sessions of the live database were ended") {
		t.Errorf("nobody is told whose writes are lost: %s", log)
	}
	samePgState(t, x.state(t), x.was)
	if err := conn.Exec(t.Context(), "SELECT 1").Close(); err == nil {
		t.Error("the old database is still connected to")
	}
	noBuildings(t, x.pg)
}

// The old one is kept when that is asked for, or the source leaves something out, and one that is missing comes back.
func testPostgresAside(t *testing.T, x *pgLive) {
	testPostgresKept(t, x, backup.Over{Aside: true})
	x.ExcludeTableData = []string{"newest"} // its rows are in no snapshot
	testPostgresKept(t, x, backup.Over{})
}

func testPostgresKept(t *testing.T, x *pgLive, o backup.Over) {
	x.pg.SQL(t, liveName, "CREATE TABLE newest (n int)")
	if err := x.over(t.Context(), t, bytes.NewReader(x.dump), o); err != nil {
		t.Fatal(err)
	}
	kept := strings.TrimSpace(x.pg.SQL(t, "postgres", "SELECT datname FROM pg_database WHERE datname LIKE 'live \"one\"_before_restore_%'"))
	if x.pg.Digests(t, kept)["public.newest"] == "" || x.pg.Digests(t, liveName)["public.newest"] != "" {
		t.Errorf("%s is not the old one", kept)
	}
	x.pg.SQL(t, "postgres", "DROP DATABASE "+quoteName(kept)+"; DROP DATABASE "+quoteName(liveName))
	if err := x.over(t.Context(), t, bytes.NewReader(x.dump), backup.Over{}); err != nil {
		t.Fatal(err)
	}
	if got := x.pg.Digests(t, liveName); got["public.account"] != x.was["public.account"] {
		t.Errorf("%v", got)
	}
}

// Whatever goes wrong, the live database is what it was, and nothing is left beside it.
func testPostgresOverwriteFails(t *testing.T, x *pgLive) {
	lost := errors.New("injected failure")
	half := x.dump[:len(x.dump)/2]
	for _, c := range []struct {
		name string
		r    func(stop func()) io.Reader
		want error
	}{
		{"unreadable half-way", func(func()) io.Reader { return io.MultiReader(bytes.NewReader(half), iotest.ErrReader(lost)) }, lost},
		{"unreadable at the end", func(func()) io.Reader { return io.MultiReader(bytes.NewReader(x.dump), iotest.ErrReader(lost)) }, lost},
		{"cut", func(func()) io.Reader { return bytes.NewReader(half) }, nil},
		{"nothing", func(func()) io.Reader { return bytes.NewReader(nil) }, backup.ErrInvalid},
		{"cancelled", func(stop func()) io.Reader {
			return io.MultiReader(bytes.NewReader(half), readerFunc(func([]byte) (int, error) { stop(); return 0, io.EOF }), bytes.NewReader(x.dump[len(half):]))
		}, context.Canceled},
	} {
		t.Run(c.name, func(t *testing.T) {
			dumptest.NothingLeft(t)
			ctx, stop := context.WithCancel(t.Context())
			defer stop()
			err := x.Overwrite(ctx, x.stored, c.r(stop), backup.Over{Force: true}, dumptest.Task(t))
			if err == nil || c.want != nil && !errors.Is(err, c.want) || errors.Is(err, backup.ErrIncomplete) {
				t.Errorf("error = %v, want %v", err, c.want)
			}
			if got := x.pg.Digests(t, liveName); got["public.account"] != x.is["public.account"] || got["public.newer"] == "" {
				t.Errorf("the live one changed: %v", got)
			}
			noBuildings(t, x.pg)
		})
	}
	samePgState(t, x.state(t), x.is)
}

func testPostgresReady(t *testing.T, pg *realtest.Postgres) {
	pg.SQL(t, "postgres", "DROP ROLE IF EXISTS clerk; CREATE ROLE clerk LOGIN PASSWORD 'canary'; CREATE DATABASE clerks OWNER clerk")
	dsn := strings.Replace(pg.SocketDSN("clerks"), "user=postgres", "user=clerk", 1)
	ready := func(engine, database string) error {
		p := pgSource(t, strings.Replace(dsn, "clerks", database, 1))
		return p.Ready(t.Context(), backup.Stored{Part: firstPart(t, p), Facts: backup.Facts{Engine: engine}}, backup.Over{}, dumptest.Task(t))
	}
	for _, c := range []struct{ sql, engine, database, want string }{
		{"", "", "clerks", "must be allowed to create databases"},
		{"ALTER ROLE clerk CREATEDB", "", "clerks", ""},
		{"", "", "the shop", "must be allowed to rename the database"},
		{"", "PostgreSQL 99.1", "clerks", "the server is older"},
		{"", "PostgreSQL 9.6.24", "clerks", ""},
		{"", "", "postgres", "must be allowed to rename the database"},
	} {
		if c.sql != "" {
			pg.SQL(t, "postgres", c.sql)
		}
		if err := ready(c.engine, c.database); (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: %v", c, err)
		}
	}
}

// The server's own database is one of all, and goes back with them.
func testPostgresOwn(t *testing.T, pg *realtest.Postgres) {
	p := pgSource(t, pg.DSN("postgres"))
	p.AllDatabases = true
	s := backup.Stored{Part: backup.Part{Name: "db.postgres.dump"}}
	pg.SQL(t, "postgres", "CREATE TABLE ours AS SELECT 1 AS n")
	dump, _ := pgDump(t, p, s.Part)
	pg.SQL(t, "postgres", "DELETE FROM ours")
	if err := p.Ready(t.Context(), s, backup.Over{}, dumptest.Task(t)); err != nil {
		t.Fatal(err)
	}
	if err := p.Overwrite(t.Context(), s, bytes.NewReader(dump), backup.Over{}, dumptest.Task(t)); err != nil {
		t.Fatal(err)
	}
	if got := pg.SQL(t, "postgres", "SELECT n FROM ours"); got != "1\n" {
		t.Errorf("%s", got)
	}
	noBuildings(t, pg)
}

const scratch = backup.ScratchPrefix + "20260101t000000z_abcd_01234567"

// A dump is tried out in a database of its own, which is gone afterwards.
func testPostgresDrill(t *testing.T, x *pgLive) {
	drill := func(dump []byte, name string) (backup.Facts, error) {
		dumptest.NothingLeft(t)
		return x.Drill(t.Context(), x.stored, bytes.NewReader(dump), backup.Scratch{Name: name}, dumptest.Task(t))
	}
	facts, err := drill(x.dump, scratch)
	if err != nil || !maps.Equal(facts.Rows, x.stored.Facts.Rows) || facts.Rows["public.account"] != 1000 || facts.Engine != x.stored.Facts.Engine {
		t.Errorf("%+v, %v", facts, err)
	}
	if _, err := drill(x.dump[:len(x.dump)/2], scratch); err == nil {
		t.Error("a dump that is cut passes the drill")
	}
	if _, err := drill(x.dump, liveName); !errors.Is(err, backup.ErrInvalid) {
		t.Errorf("a drill in the live database: %v", err)
	}
	noBuildings(t, x.pg)
	samePgState(t, x.state(t), x.is)
}

// Only what is abandoned is swept, and nobody dumps, or restores over, what is there for a while.
func testPostgresScratch(t *testing.T, pg *realtest.Postgres) {
	p := pgSource(t, pg.DSN("the shop"))
	roles := backup.Part{Name: "db" + globalsSuffix}
	globals, facts := pgDump(t, p, roles)
	facts, err := p.Drill(t.Context(), backup.Stored{Part: roles, Facts: facts}, bytes.NewReader(globals), backup.Scratch{Name: scratch}, dumptest.Task(t))
	if err != nil || !strings.Contains(facts.Checked, "not tried out") {
		t.Errorf("roles: %+v, %v", facts, err)
	}
	const other = backup.ScratchPrefix + "other"
	pg.SQL(t, "postgres", "CREATE DATABASE "+scratch)
	pg.SQL(t, "postgres", "CREATE DATABASE "+other)
	p.AllDatabases = true
	parts, err := p.Parts(t.Context(), "db")
	for _, part := range parts {
		if strings.Contains(part.Name, "caddy_backup") || err != nil {
			t.Errorf("%v is dumped, %v", part, err)
		}
	}
	if err := p.SweepDrills(t.Context(), func(name string) bool { return name == scratch }, dumptest.Task(t)); err != nil {
		t.Error(err)
	}
	if pgExists(t, pg, scratch) || !pgExists(t, pg, other) {
		t.Error("the wrong one was swept")
	}
	p = pgSource(t, pg.DSN(other))
	if _, err := p.Dump(t.Context(), backup.Part{}, io.Discard, dumptest.Task(t)); !errors.Is(err, backup.ErrInvalid) {
		t.Errorf("dump: %v", err)
	}
	if err := p.Ready(t.Context(), backup.Stored{}, backup.Over{}, dumptest.Task(t)); !errors.Is(err, backup.ErrInvalid) {
		t.Errorf("ready: %v", err)
	}
	pg.SQL(t, "postgres", "DROP DATABASE "+other)
}
