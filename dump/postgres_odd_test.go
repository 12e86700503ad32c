package dump

import (
	"bytes"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/caddy-backup/caddy-backup/backup"
	"github.com/caddy-backup/caddy-backup/dump/dumptest"
	"github.com/caddy-backup/caddy-backup/internal/realtest"
)

// pgTrip dumps a database, drops it, restores it, replaces it, and drills it.
func pgTrip(t *testing.T, pg *realtest.Postgres, p *Postgres, part backup.Part, state func() map[string]string) {
	t.Helper()
	name := p.meaning(part).database
	if name == "" {
		db, err := newPgDatabase(p.dsn)
		if err != nil {
			t.Fatal(err)
		}
		name = db.name
	}
	was := state()
	dump, facts := pgDump(t, p, part)
	s := backup.Stored{Part: part, Facts: facts, Size: int64(len(dump))}
	pg.SQL(t, "postgres", "ALTER DATABASE "+quoteName(name)+" IS_TEMPLATE false")
	pg.SQL(t, "postgres", "DROP DATABASE "+quoteName(name))
	if err := p.Restore(t.Context(), part, bytes.NewReader(dump), name, dumptest.Task(t)); err != nil {
		t.Fatalf("%q: %v: %s", name, err, backup.OutputOf(err))
	}
	samePgState(t, state(), was)
	if err := p.Overwrite(t.Context(), s, bytes.NewReader(dump), backup.Over{}, dumptest.Task(t)); err != nil {
		t.Fatalf("%q: %v: %s", name, err, backup.OutputOf(err))
	}
	samePgState(t, state(), was)
	drilled, err := p.Drill(t.Context(), s, bytes.NewReader(dump), backup.Scratch{Name: scratch}, dumptest.Task(t))
	if err != nil || !maps.Equal(drilled.Rows, facts.Rows) {
		t.Errorf("%q: drill: %v, want %v: %v: %s", name, drilled.Rows, facts.Rows, err, backup.OutputOf(err))
	}
}

// ofDatabase is what is set for a database itself.
func ofDatabase(t testing.TB, pg *realtest.Postgres, name string) string {
	t.Helper()
	return pg.SQL(t, "postgres", `SELECT pg_get_userbyid(datdba), pg_encoding_to_char(encoding), datlocprovider, datcollate, datctype, daticulocale,
		datconnlimit, datistemplate, shobj_description(oid, 'pg_database'), array(SELECT a::text FROM unnest(datacl) a ORDER BY 1),
		array(SELECT setrole::regrole || ' ' || setconfig::text FROM pg_db_role_setting WHERE setdatabase = oid ORDER BY 1)
		FROM pg_database WHERE datname = `+quoteString(name))
}

// A database that was lost comes back with what was set for it, from an archive; so does a template.
func testPostgresProperties(t *testing.T, pg *realtest.Postgres) {
	pg.SQL(t, "postgres", `CREATE ROLE "its owner" LOGIN; CREATE DATABASE "set; up" OWNER "its owner";
		COMMENT ON DATABASE "set; up" IS E'the shop''s;\n"one" \\';
		ALTER DATABASE "set; up" SET search_path = "$user", public, "Odd ""schema""";
		ALTER DATABASE "set; up" SET app.motto = E'it''s, "ours" \\ $1;\n';
		ALTER DATABASE "set; up" SET DateStyle = 'SQL, DMY';
		ALTER ROLE "its owner" IN DATABASE "set; up" SET work_mem = '5MB';
		ALTER DATABASE "set; up" CONNECTION LIMIT 33; ALTER DATABASE "set; up" IS_TEMPLATE true;
		REVOKE CONNECT ON DATABASE "set; up" FROM PUBLIC; GRANT CONNECT ON DATABASE "set; up" TO pg_monitor WITH GRANT OPTION`)
	p := pgSource(t, pg.DSN("set; up"))
	part := firstPart(t, p)
	pgTrip(t, pg, p, part, func() map[string]string {
		return map[string]string{"database": ofDatabase(t, pg, "set; up")}
	})
	dump, _ := pgDump(t, p, part)
	pg.SQL(t, "postgres", `ALTER DATABASE "set; up" IS_TEMPLATE false`)
	pg.SQL(t, "postgres", `DROP DATABASE "set; up"; DROP ROLE "its owner"`)
	task := dumptest.Task(t)
	if err := p.Restore(t.Context(), part, bytes.NewReader(dump), "set up again", task); err != nil {
		t.Fatal(err)
	}
	if log := dumptest.Log(task); !strings.Contains(log, "itself is not brought back: ALTER ROLE") || strings.Count(log, "level=WARN") != 1 {
		t.Errorf("%s", log)
	}
	if got := ofDatabase(t, pg, "set up again"); !strings.Contains(got, "postgres\tUTF8") || !strings.Contains(got, "DMY") {
		t.Errorf("%s", got)
	}
	older := bytes.Replace(dump, []byte("\x1e\x00\x00\x0015.18 "), []byte("\x1e\x00\x00\x0099.18 "), 1) // the server's version comes first
	err := p.Restore(t.Context(), part, bytes.NewReader(older), "of a newer one", dumptest.Task(t))
	if !bytes.Equal(older, dump) && (err == nil || !strings.Contains(err.Error(), "PostgreSQL 99.18, and the server is older")) {
		t.Errorf("an older server: %v", err)
	}
}

// Databases can be called whatever the server allows, and be in any of its encodings.
func testPostgresOddNames(t *testing.T, pg *realtest.Postgres) {
	names := []string{"a=b", "postgres://x@y/z", `it's "q" b\s`, "-dash", " sp ", "new\nline\t", "Ünï→😀", "host=/nowhere dbname=x", "%41", "."}
	for _, name := range names {
		pg.CreateDatabase(t, name)
		pg.SQL(t, name, "CREATE TABLE name AS SELECT "+quoteString(name)+" AS n")
	}
	pg.CreateDatabase(t, "half dropped")
	pg.SQL(t, "postgres", "UPDATE pg_database SET datconnlimit = -2 WHERE datname = 'half dropped'")
	defer pg.SQL(t, "postgres", "UPDATE pg_database SET datconnlimit = -1 WHERE datname = 'half dropped'")
	p := pgSource(t, pg.DSN("postgres"))
	p.AllDatabases = true
	parts, err := p.Parts(t.Context(), "db")
	if err != nil {
		t.Fatal(err)
	}
	for _, part := range parts {
		name := p.meaning(part).database
		if name == "half dropped" {
			t.Error("a part of a database that nobody can connect to")
		}
		if !slices.Contains(names, name) {
			continue
		}
		names = slices.DeleteFunc(names, func(n string) bool { return n == name })
		if len(names)%5 == 0 || realtest.Soak() {
			pgTrip(t, pg, p, part, func() map[string]string { return pg.Digests(t, name) })
		} else if _, facts := pgDump(t, p, part); facts.Rows["public.name"] != 1 {
			t.Errorf("%q: %+v", name, facts)
		}
	}
	if len(names) > 0 {
		t.Errorf("no parts of %q", names)
	}
	for _, d := range p.Examine(t.Context(), dumptest.Task(t)) {
		if strings.Contains(d.Text, "half dropped; DROP DATABASE ends it") {
			return
		}
	}
	t.Error("doctor does not tell of the half dropped one")
}

func testPostgresEncodings(t *testing.T, pg *realtest.Postgres) {
	for name, c := range map[string]struct{ with, sql, key string }{
		"latin": {`ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C'`,
			`SET client_encoding = utf8; CREATE TABLE "tä" (a text); INSERT INTO "tä" VALUES ('ü'), ('x')`, `public."t\xE4"`},
		"ascii": {`ENCODING 'SQL_ASCII' LC_COLLATE 'C' LC_CTYPE 'C'`, `CREATE TABLE "A" (a text); INSERT INTO "A" VALUES (E'\xff\xe4\x80'), ('x')`, `public."A"`},
		"icu": {`ENCODING 'UTF8' LOCALE_PROVIDER icu ICU_LOCALE 'de-u-ks-level2'`,
			`CREATE COLLATION blind (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
			CREATE TABLE "tä" (a text COLLATE blind UNIQUE); INSERT INTO "tä" VALUES ('ü'), ('x')`, `public."tä"`},
	} {
		t.Run(name, func(t *testing.T) {
			pg.SQL(t, "postgres", "CREATE DATABASE "+name+" TEMPLATE template0 "+c.with)
			pg.SQL(t, name, c.sql)
			p := pgSource(t, pg.DSN(name))
			part := firstPart(t, p)
			if _, facts := pgDump(t, p, part); facts.Rows[c.key] != 2 {
				t.Errorf("rows %v", facts.Rows)
			}
			pgTrip(t, pg, p, part, func() map[string]string {
				return map[string]string{"database": ofDatabase(t, pg, name), "rows": pg.SQL(t, name, strings.NewReplacer(
					"latin", `SELECT string_agg(a, ',' ORDER BY a) FROM "t`+"\xe4"+`"`, "icu", `SELECT string_agg(a, ',' ORDER BY a) FROM "tä"`,
					"ascii", `SELECT string_agg(a, ',' ORDER BY a) FROM "A"`).Replace(name))}
			})
		})
	}
}

// More large objects than the server has room for locks of one transaction come back.
func testPostgresManyObjects(t *testing.T, pg *realtest.Postgres) {
	pg.CreateDatabase(t, "many")
	pg.SQL(t, "many", "SELECT count(lo_from_bytea(0, 'x')) FROM generate_series(1, 4000)")
	p := pgSource(t, pg.DSN("many"))
	for _, format := range []string{formatCustom, formatPlain} {
		if p.Format = format; format == formatPlain && !realtest.Soak() {
			continue
		}
		part := firstPart(t, p)
		dump, _ := pgDump(t, p, part)
		if err := p.Overwrite(t.Context(), backup.Stored{Part: part}, bytes.NewReader(dump), backup.Over{}, dumptest.Task(t)); err != nil {
			t.Errorf("%s: %v: %s", format, err, backup.OutputOf(err))
		}
		if got := pg.SQL(t, "many", "SELECT count(lo_get(oid)) FROM pg_largeobject_metadata"); got != "4000\n" {
			t.Errorf("%s: %s", format, got)
		}
	}
	if got := ofDatabase(t, pg, "many"); strings.Contains(got, "synchronous_commit") {
		t.Errorf("what was set for the restore is still there: %s", got)
	}
}
