package dump

import (
	"bytes"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/caddy-backup/caddy-backup/backup"
	"github.com/caddy-backup/caddy-backup/dump/dumptest"
	"github.com/caddy-backup/caddy-backup/internal/realtest"
)

// pgDump dumps a part, and looks for what is left behind.
func pgDump(t *testing.T, p *Postgres, part backup.Part) (dump []byte, facts backup.Facts) {
	t.Helper()
	var b bytes.Buffer
	facts, err := p.Dump(t.Context(), part, &b, dumptest.Task(t))
	if err != nil {
		t.Fatal(err)
	}
	return b.Bytes(), facts
}

// pgConnect opens a connection of ours.
func pgConnect(t *testing.T, pg *realtest.Postgres, database string) *pgconn.PgConn {
	t.Helper()
	db, err := newPgDatabase(pg.DSN(database))
	if err != nil {
		t.Fatal(err)
	}
	conn, err := db.connect(t.Context(), database)
	if err != nil {
		t.Fatal(err)
	}
	return conn
}

// pgCounts asks the server for the number of rows of each table that has rows of its own.
func pgCounts(t *testing.T, pg *realtest.Postgres, database string) map[string]int64 {
	t.Helper()
	counts := map[string]int64{}
	conn := pgConnect(t, pg, database)
	defer closePg(conn)
	results, err := conn.Exec(t.Context(), `SELECT schemaname, tablename, (xpath('/row/n/text()', query_to_xml(
		format('SELECT count(*) AS n FROM ONLY %I.%I', schemaname, tablename), false, true, '')))[1]::text
		FROM pg_tables JOIN pg_class ON oid = format('%I.%I', schemaname, tablename)::regclass
		WHERE relkind = 'r' AND schemaname NOT IN ('pg_catalog', 'information_schema')`).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range results[0].Rows {
		n, err := strconv.ParseInt(string(row[2]), 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		counts[tableKey(string(row[0]), string(row[1]))] = n
	}
	return counts
}

// The rows that were counted in the archive, and in a script, are those of the tables.
func testPostgresRows(t *testing.T, pg *realtest.Postgres) {
	pg.CreateDatabase(t, "rows")
	pg.SQL(t, "rows", shopSchema+`
		CREATE TABLE "select" (a text); INSERT INTO "select" SELECT 'x' FROM generate_series(1, 7);
		CREATE TABLE "line`+"\n"+`break. ""quoted""" (a int, "b (" text); INSERT INTO "line`+"\n"+`break. ""quoted""" VALUES (1, E'\\.'), (2, E'a\nCOPY x FROM stdin;\n');
		CREATE FUNCTION liar() RETURNS text LANGUAGE sql AS $$ SELECT '
COPY public.lie (a) FROM stdin;
1
\.
' $$;`)
	want := pgCounts(t, pg, "rows")
	if want["public.product"] != 5000 || want["public.sale_2025"] == 0 || len(want) != 8 {
		t.Fatalf("the test asks wrongly: %v", want)
	}
	for _, format := range []string{formatCustom, formatPlain} {
		p := pgSource(t, pg.DSN("rows"))
		p.Format = format
		dump, facts := pgDump(t, p, backup.Part{Name: "db.dump"})
		if !maps.Equal(facts.Rows, want) {
			t.Errorf("%s: rows %v, want %v", format, facts.Rows, want)
		}
		wantVerdict(t, p, dump, map[string]string{formatCustom: "archive read to its end", formatPlain: "script of pg_dump"}[format], "")
		if again, _ := pgDump(t, p, backup.Part{Name: "db.dump"}); format == formatPlain && !bytes.Equal(dump, again) {
			t.Error("two scripts of the same are not the same")
		}
	}
}

// Only what is asked for is dumped, and a pattern with a typing error is none that matches nothing.
func testPostgresSelected(t *testing.T, pg *realtest.Postgres) {
	for _, c := range []struct {
		name    string
		set     func(*Postgres)
		with    []string
		without []string
	}{
		{"tables", func(p *Postgres) { p.Tables = []string{"account", "lo*"} }, []string{"public.account", "public.log"}, []string{"public.product"}},
		{"schemas", func(p *Postgres) { p.Schemas = []string{`"Odd"*`} }, nil, []string{"public.account"}},
		{"not tables", func(p *Postgres) { p.ExcludeTables = []string{"acc*", "sale_rest"} }, []string{"public.product"}, []string{"public.account", "public.sale_rest"}},
		{"not schemas", func(p *Postgres) { p.ExcludeSchemas = []string{"public"} }, []string{`"Odd ""schema"."tä\ble"`}, []string{"public.account"}},
		{"not rows", func(p *Postgres) { p.ExcludeTableData = []string{"product"} }, []string{"public.account"}, []string{"public.product"}},
	} {
		p := pgSource(t, pg.DSN("the shop"))
		c.set(p)
		_, facts := pgDump(t, p, backup.Part{})
		for _, table := range c.with {
			if _, ok := facts.Rows[table]; !ok {
				t.Errorf("%s: %s is missing in %v", c.name, table, facts.Rows)
			}
		}
		for _, table := range c.without {
			if _, ok := facts.Rows[table]; ok {
				t.Errorf("%s: %s is there: %v", c.name, table, facts.Rows)
			}
		}
	}
	p := pgSource(t, pg.DSN("the shop"))
	p.Tables = []string{"account", "acount"}
	_, err := p.Dump(t.Context(), backup.Part{}, io.Discard, dumptest.Task(t))
	if err == nil || !strings.Contains(err.Error(), "each pattern must match") {
		t.Errorf("a typing error: %v", err)
	}
}

// Every database of the server is a part, and roles and tablespaces are one.
func testPostgresAll(t *testing.T, pg *realtest.Postgres) {
	pg.CreateDatabase(t, "a.b/c%2E ü")
	pg.SQL(t, "a.b/c%2E ü", "CREATE TABLE only_here (n int)")
	pg.SQL(t, "postgres", "CREATE DATABASE nobody ALLOW_CONNECTIONS false")
	p := pgSource(t, pg.DSN("no such database: another is asked"))
	p.AllDatabases, p.ExcludeDatabases = true, []string{"big", "pos*"}
	parts, err := p.Parts(t.Context(), "db")
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, part := range parts {
		names = append(names, part.Name)
	}
	for _, name := range []string{"db.globals-only.sql", "db.the shop.dump", "db.a%2Eb%2Fc%252E %C3%BC.dump"} {
		if !slices.Contains(names, name) {
			t.Errorf("%s is not in %v", name, names)
		}
	}
	for _, name := range []string{"db.big.dump", "db.postgres.dump", "db.template1.dump", "db.nobody.dump"} {
		if slices.Contains(names, name) {
			t.Errorf("%s is in %v", name, names)
		}
	}
	_, facts := pgDump(t, p, backup.Part{Name: "db.a%2Eb%2Fc%252E %C3%BC.dump"})
	if _, ok := facts.Rows["public.only_here"]; !ok || !strings.HasPrefix(facts.Source, "database a.b/c%2E ü on ") {
		t.Errorf("another database was dumped: %+v", facts)
	}
	globals, facts := pgDump(t, p, backup.Part{Name: "db.globals-only.sql"})
	if !bytes.Contains(globals, []byte("CREATE ROLE shopkeeper;")) || !bytes.Contains(globals, []byte("SCRAM-SHA-256")) || len(facts.Notes) > 0 {
		t.Errorf("%+v: %s", facts, globals)
	}
	wantVerdict(t, p, globals, "script of pg_dump", "")
	wantVerdict(t, p, globals[:len(globals)/2], "", "cut off")
	pg.SQL(t, "postgres", "CREATE ROLE lookout LOGIN PASSWORD 'canary' IN ROLE pg_read_all_data")
	p = pgSource(t, "host="+pg.Dir+" port="+strconv.Itoa(pg.Port)+" user=lookout dbname=postgres")
	globals, facts = pgDump(t, p, backup.Part{Name: "db.globals-only.sql"})
	if bytes.Contains(globals, []byte("SCRAM-SHA-256")) || len(facts.Notes) != 1 {
		t.Errorf("%+v: %s", facts, globals)
	}
	p.AllDatabases, p.ExcludeDatabases = true, []string{"*"}
	if _, err := p.Parts(t.Context(), "db"); err == nil || !strings.Contains(err.Error(), "no database is left") {
		t.Errorf("error = %v", err)
	}
}

// Somebody who keeps a table for himself cannot make the night's backup wait for ever.
func testPostgresLocked(t *testing.T, pg *realtest.Postgres) {
	conn := pgConnect(t, pg, "the shop")
	defer closePg(conn)
	if err := conn.Exec(t.Context(), "BEGIN; LOCK TABLE public.account IN ACCESS EXCLUSIVE MODE").Close(); err != nil {
		t.Fatal(err)
	}
	dumptest.NothingLeft(t)
	p := pgSource(t, pg.DSN("the shop"))
	p.LockTimeout = caddy.Duration(200 * time.Millisecond)
	_, err := p.Dump(t.Context(), backup.Part{}, io.Discard, dumptest.Task(t))
	if err == nil || !strings.Contains(err.Error(), "longer lock_timeout") {
		t.Errorf("error = %v", err)
	}
	if err := conn.Exec(t.Context(), "ROLLBACK").Close(); err != nil {
		t.Fatal(err)
	}
	pgDump(t, p, backup.Part{})
}

// A service of pg_service.conf says everything that a DSN does, its password included.
func testPostgresService(t *testing.T, pg *realtest.Postgres) {
	dir := t.TempDir()
	file := filepath.Join(dir, "pg_service.conf")
	text := fmt.Sprintf("# ours\n[shop]\nhost=127.0.0.1\nport=%d\nuser=postgres\npassword=%s\ndbname=the shop\n[bad]\nhots=canary\n", pg.Port, pg.Password)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("HOME", dir)
	t.Setenv("PGSYSCONFDIR", dir)
	for _, dsn := range []string{"service=shop", "postgres:///?service=shop", "service=shop dbname='the shop'"} {
		if _, facts := pgDump(t, pgSource(t, dsn), backup.Part{}); facts.Rows["public.product"] != 5000 {
			t.Errorf("%s: %+v", dsn, facts)
		}
	}
	t.Run("by the environment", func(t *testing.T) {
		t.Setenv("PGSERVICE", "bad")
		pgDump(t, pgSource(t, "service=shop"), backup.Part{})
		if _, err := newPgDatabase("dbname=big"); err == nil || !strings.Contains(err.Error(), "take PGSERVICE away") {
			t.Errorf("error = %v", err)
		}
	})
	for dsn, want := range map[string]string{"service=none": "there is no service none in ", "service=bad": "do not know the parameter 'hots'"} {
		_, err := pgSource(t, dsn).Dump(t.Context(), backup.Part{}, io.Discard, dumptest.Task(t))
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "canary") {
			t.Errorf("%s: %v", dsn, err)
		}
	}
}

// A script is whole or an error, whatever becomes of the program.
func testPostgresFaultyScripts(t *testing.T, pg *realtest.Postgres) {
	for _, c := range []struct{ name, dump, want string }{
		{"fails after output", `"$REAL/pg_dump" "$@"; exit 1`, "pg_dump ended with status 1"},
		{"prints nothing", `exit 0`, "does not end with the line"},
		{"prints half", `"$REAL/pg_dump" "$@" | head -c 100000`, "does not end with the line"},
		{"prints all but the last line", `"$REAL/pg_dump" "$@" | grep -v complete`, "does not end with the line"},
		{"hangs", `"$REAL/pg_dump" "$@"; trap '' TERM; : >"$HERE/begun"; while :; do sleep 60; done`, "was stopped: context deadline exceeded"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := fakePrograms(t, pg, "99.1", c.dump, "exit 1")
			dumptest.NothingLeft(t)
			t.Setenv("PATH", onlyPrograms(t, "sh", "head", "sleep", "grep"))
			ctx := t.Context()
			if c.name == "hangs" {
				ctx = stopWhen(t, filepath.Join(dir, "begun"))
			}
			p := pgSource(t, pg.DSN("the shop"))
			p.Programs, p.Format = dir, formatPlain
			_, err := p.Dump(ctx, backup.Part{}, io.Discard, dumptest.Task(t))
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error = %v, want %q", err, c.want)
			}
		})
	}
}
