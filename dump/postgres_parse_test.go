package dump

import (
	"context"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/caddy-backup/caddy-backup/dump/dumptest"
)

func TestPostgresGrammar(t *testing.T) {
	testGrammar(t, func() *Postgres { return new(Postgres) }, []grammarCase{
		{text: "postgres {\n dsn {env.DATABASE_URL}\n}", json: `{"dsn":"{env.DATABASE_URL}"}`},
		{text: "postgres", err: "postgres is missing its dsn"},
		{text: "postgres {\n dsn\n}", err: "wrong argument count"},
		{text: "postgres {\n dsn a=b c=d\n}", err: "wrong argument count"},
		{text: "postgres {\n dsn a=b\n dsn c=d\n}", err: "dsn already specified"},
		{text: "postgres x", err: "wrong argument count"},
		{text: "postgres {\n schema public\n}", err: "unrecognized subdirective 'schema'"},
		{text: "postgres {\n dsn service=prod\n all_databases\n exclude_databases test* tmp\n globals off\n format plain\n lock_timeout 30s\n programs /opt/pg/bin\n}",
			json: `{"dsn":"service=prod","all_databases":true,"exclude_databases":["test*","tmp"],"globals":false,"format":"plain","lock_timeout":30000000000,"programs":"/opt/pg/bin"}`},
		{text: "postgres {\n dsn a=b\n globals\n schemas a b\n schemas c\n tables d\n exclude_schemas e\n exclude_tables f g\n exclude_table_data h\n}",
			json: `{"dsn":"a=b","globals":true,"schemas":["a","b","c"],"tables":["d"],"exclude_schemas":["e"],"exclude_tables":["f","g"],"exclude_table_data":["h"]}`},
		{text: "postgres {\n dsn a=b\n all_databases on\n}", err: "wrong argument count"},
		{text: "postgres {\n dsn a=b\n globals on off\n}", err: "wrong argument count"},
		{text: "postgres {\n dsn a=b\n globals maybe\n}", err: "bad globals value 'maybe'"},
		{text: "postgres {\n dsn a=b\n globals\n globals\n}", err: "globals already specified"},
		{text: "postgres {\n dsn a=b\n tables\n}", err: "wrong argument count"},
		{text: "postgres {\n dsn a=b\n lock_timeout 0\n}", err: "bad lock_timeout value '0'"},
		{text: "postgres {\n dsn a=b\n lock_timeout 1m\n lock_timeout 1m\n}", err: "lock_timeout already specified"},
	})
}

func TestPostgresValidate(t *testing.T) {
	for want, p := range map[string]*Postgres{
		"missing its dsn":           {},
		"bad format value 'tar'":    {DSN: "host=a", Format: "tar"},
		"leave out all_databases":   {DSN: "host=a", AllDatabases: true, Tables: []string{"a"}},
		"needs all_databases":       {DSN: "host=a", ExcludeDatabases: []string{"a"}},
		"bad lock_timeout":          {DSN: "host=a", LockTimeout: -1},
		"is not an absolute path":   {DSN: "host=a", Programs: "bin"},
		"bad exclude_databases":     {DSN: "host=a", AllDatabases: true, ExcludeDatabases: []string{"[a"}},
		"do not know the parameter": {DSN: "hots=a"},
	} {
		if err := provision(p); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
	if err := provision(&Postgres{DSN: "service=a", AllDatabases: true, ExcludeDatabases: []string{"a*"}, Format: formatPlain}); err != nil {
		t.Error(err)
	}
}

func TestParseDSN(t *testing.T) {
	type words = map[string]string
	for text, want := range map[string]words{
		"postgres://u:p%40%3A@h:5/db?sslmode=disable&ssl=true": {"user": "u", "password": "p@:", "host": "h", "port": "5", "dbname": "db", "sslmode": "require"},
		"postgresql:///db?host=/run/postgresql":                {"dbname": "db", "host": "/run/postgresql"},
		"postgres://[::1]:5432/db":                             {"host": "::1", "port": "5432", "dbname": "db"},
		"":                                                     {},
		`host=a,b port = 1 password='it''s' dbname=x`:          nil,
		`host=a,b port = 1 password='it\'s \\' dbname=a\ b`:    {"host": "a,b", "port": "1", "password": `it's \`, "dbname": "a b"},
		"password=''":                                          {"password": ""},
		"password='canary":                                     nil,
		"canary":                                               nil,
		"host a=canary":                                        nil,
		"mysql://u:canary@h/db":                                nil,
		"postgres://u:can#ary@h/db":                            nil,
		"postgres://u:can%ary@h/db":                            nil,
		"postgres://u:canary@h:port/db":                        nil,
		"postgres://u:canary@h/db?%zz":                         nil,
		"postgres://u:canary@h/db?pool_max_conns=3":            nil,
		"sslpassword=canary":                                   nil,
		"postgres://u:p@ss:w@h/db":                             {"user": "u", "password": "p@ss:w", "host": "h", "dbname": "db"},
		"postgres://u:p%25%2F@h:1,[::1]:2,c/d%40b?options=-c%20a%3Db&application_name=x@y": {"user": "u", "password": "p%/", "host": "h,::1,c", "port": "1,2,",
			"dbname": "d@b", "options": "-c a=b", "application_name": "x@y"},
		"postgresql://h,/db?":                   {"host": "h", "dbname": "db"},
		"postgresql://%2Frun%2Fpostgresql/db":   {"host": "/run/postgresql", "dbname": "db"},
		"postgres://u:12/canary@h/db":           nil,
		"postgres://u:12?canary@h/db":           nil,
		"postgres://u:12?canary=3@h/db":         nil,
		"postgres://u:p@12/canary@h/db":         nil,
		"postgres://u:p@12?canary/x=3":          nil,
		"postgres://u:can#ary@h":                nil,
		"postgres://u:canary%@h/db":             nil,
		"postgres://u@[::1]canary/db":           nil,
		"can://ary:x@h":                         nil,
		"host=a password=x canary=y":            nil,
		"host=a password=x 'canary'":            nil,
		"host=a password=x can\\ary dbname=y=z": nil,
		"password='x' host=a dbname=b":          {"password": "x", "host": "a", "dbname": "b"},
	} {
		got, err := parseDSN(text)
		if (err == nil) != (want != nil) || err == nil && !maps.Equal(got, want) {
			t.Errorf("%s: %v, %v; want %v", text, got, err, want)
		}
		if err != nil && (strings.Contains(err.Error(), "canary") || strings.Contains(err.Error(), "can#")) {
			t.Errorf("%s: the error quotes: %v", text, err)
		}
	}
}

// Programs do not wait for ever for a server that is silent, unless the DSN has its own idea.
func TestPatience(t *testing.T) {
	db, err := newPgDatabase("host=h user=u dbname=d keepalives_idle=7")
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"connect_timeout='30'", "keepalives_idle='7'", "keepalives_interval='15'", "keepalives_count='6'", "dbname='x=y'"} {
		if got := db.conninfo("x=y"); !strings.Contains(got, want) {
			t.Errorf("no %s in %s", want, got)
		}
	}
}

func FuzzParseDSN(f *testing.F) {
	for _, seed := range []string{"postgres://u:p@h:5/db?sslmode=require", `host=a password='it\'s' x = y`, "postgresql://", "a=b\\", "='"} {
		f.Add(seed)
	}
	f.Add("postgres://u:p@ss@a:1,[::1]:2/d%40b?x=y")
	f.Fuzz(func(t *testing.T, text string) {
		words, err := parseKeywords(text)
		if err != nil {
			return
		}
		again, err := parseKeywords(joinKeywords(words))
		if err != nil || !maps.Equal(words, again) {
			t.Errorf("%q: %q, then %q, %v", text, words, again, err)
		}
		parseDSN(text)
	})
}

func TestPgVersion(t *testing.T) {
	for text, want := range map[string]pgVersion{
		"15.18 (Debian 15.18-0+deb12u1)": {15, 18, "15.18"}, "pg_dump (PostgreSQL) 9.6.24": {9, 6, "9.6.24"}, "17beta1": {17, 0, "17beta1"},
	} {
		if got, err := parsePgVersion(text); err != nil || got != want {
			t.Errorf("%s: %v, %v", text, got, err)
		}
	}
	if _, err := parsePgVersion("none"); err == nil {
		t.Error("no error")
	}
}

// Of several versions the one nearest to the server's is taken, but never an older one.
func TestPgTools(t *testing.T) {
	dir := t.TempDir()
	for folder, version := range map[string]string{"postgresql/13": "13.9", "postgresql/15": "15.3", "pgsql-15": "15.10", "pgsql-17": "17.2"} {
		bin := filepath.Join(dir, folder, "bin")
		if err := os.MkdirAll(bin, 0o755); err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{"pg_dump", "pg_restore"} {
			script := "#!/bin/sh\necho '" + name + " (PostgreSQL) " + version + "'\n"
			if err := os.WriteFile(filepath.Join(bin, name), []byte(script), 0o755); err != nil {
				t.Fatal(err)
			}
		}
	}
	p := &Postgres{layouts: []string{filepath.Join(dir, "postgresql/*/bin"), filepath.Join(dir, "pgsql-*/bin")}}
	t.Setenv("PATH", "/nowhere")
	for server, want := range map[int]string{9: "13.9", 13: "13.9", 14: "15.10", 15: "15.10", 16: "17.2", 17: "17.2"} {
		tools, err := p.tools(t.Context(), pgVersion{major: server, text: strconv.Itoa(server)})
		if err != nil || tools.version.text != want || filepath.Dir(tools.restore) != filepath.Dir(tools.dump) {
			t.Errorf("for server %d: %v, %v; want %s", server, tools, err, want)
		}
	}
	if _, err := p.tools(t.Context(), pgVersion{major: 18, text: "18.0"}); err == nil || !strings.Contains(err.Error(), "install the package postgresql-client-18") {
		t.Errorf("error = %v", err)
	}
	for head, want := range map[string]string{"PGDMP\x01\x0e\x00": "15.10", "PGDMP\x01\x0f\x00": "17.2", "PGDMP\x01\x10\x00": "17.2", "PGDMP": "15.10"} {
		if tools, err := p.restorer(t.Context(), pgVersion{major: 15}, []byte(head)); err != nil || tools.version.text != want {
			t.Errorf("for archive %q: %v, %v; want %s", head, tools, err, want)
		}
	}
	p.layouts = []string{filepath.Join(dir, "postgresql/15/bin")}
	if _, err := p.restorer(t.Context(), pgVersion{major: 15}, []byte("PGDMP\x01\x10\x00")); err == nil || !strings.Contains(err.Error(), "postgresql-client-17") {
		t.Errorf("error = %v", err)
	}
	p.layouts = []string{"/nowhere"}
	if _, err := p.tools(t.Context(), pgVersion{major: 15}); err == nil || !strings.Contains(err.Error(), "postgresql-client") {
		t.Errorf("error = %v", err)
	}
}

// Who is stopped while he looks for programs is told that, and not that there are none.
func TestToolsStopped(t *testing.T) {
	ctx, stop := context.WithCancel(t.Context())
	stop()
	p := new(Postgres)
	_, tools := p.tools(ctx, pgVersion{major: 15})
	_, restorer := p.restorer(ctx, pgVersion{major: 15}, []byte("PGDMP\x01\x10\x00"))
	_, psql := p.psql(ctx)
	_, verify := p.verifyArchive(ctx, strings.NewReader(""), dumptest.Task(t))
	_, dumper := new(MySQL).dumper(ctx, myVersion{mariadb: true})
	for i, err := range []error{tools, restorer, psql, verify, dumper} {
		if !errors.Is(err, context.Canceled) {
			t.Errorf("%d: %v", i, err)
		}
	}
}

// lateContext is one whose time is up, and which has not noticed.
type lateContext struct{ context.Context }

func (lateContext) Deadline() (time.Time, bool) { return time.Now().Add(-time.Millisecond), true }

// A run whose time is up while it connects is told that, and not that the server does not answer.
func TestConnectOverdue(t *testing.T) {
	db, err := newPgDatabase("host=127.0.0.1 port=1 user=u dbname=d")
	if err != nil {
		t.Fatal(err)
	}
	my, err := newMyServer("mysql://u@127.0.0.1:1/d")
	if err != nil {
		t.Fatal(err)
	}
	for name, connect := range map[string]func(context.Context) error{
		"PostgreSQL": func(ctx context.Context) error { _, err := db.connect(ctx, "d"); return err },
		"MySQL":      func(ctx context.Context) error { _, err := my.connect(ctx, "d"); return err },
	} {
		ctx, stop := context.WithCancelCause(t.Context())
		time.AfterFunc(50*time.Millisecond, func() { stop(context.DeadlineExceeded) })
		if err := connect(lateContext{ctx}); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestDatabaseProperties(t *testing.T) {
	for sql, want := range map[string]string{
		"CREATE DATABASE shop WITH TEMPLATE = template0 ENCODING = 'UTF8' LOCALE_PROVIDER = libc LOCALE = 'C.UTF-8';\n": " ENCODING = 'UTF8' LOCALE_PROVIDER = libc LOCALE = 'C.UTF-8'",
		`CREATE DATABASE "a ""b" WITH TEMPLATE = template0 ENCODING = 'LATIN1' LC_COLLATE = 'C' LC_CTYPE = 'de_DE';`:    " ENCODING = 'LATIN1' LC_COLLATE = 'C' LC_CTYPE = 'de_DE'",
		`CREATE DATABASE a WITH TEMPLATE = template0 ENCODING = 'UTF8' TABLESPACE = x;`:                                 " ENCODING = 'UTF8'",
		`CREATE DATABASE a WITH TEMPLATE = template0 ENCODING = 'UTF8'; DROP DATABASE b;`:                               " ENCODING = 'UTF8'",
		"nothing": "",
	} {
		if got := databaseProperties(archiveContents{entries: []tocEntry{{kind: "DATABASE", sql: sql}}}); got != want {
			t.Errorf("%q: %q, want %q", sql, got, want)
		}
	}
}

// What is said about one database is said about another, and nothing else is.
func TestRenamedProperties(t *testing.T) {
	for from, want := range map[string]string{
		`ALTER DATABASE shop CONNECTION LIMIT = 33`:                             `ALTER DATABASE "n""ew" CONNECTION LIMIT = 33`,
		`ALTER DATABASE "the ""shop" SET search_path TO '$user', 'Odd "schema'`: `ALTER DATABASE "n""ew" SET search_path TO '$user', 'Odd "schema'`,
		`ALTER DATABASE shop SET "app.motto" TO E'it''s \\\' x'`:                `ALTER DATABASE "n""ew" SET "app.motto" TO E'it''s \\\' x'`,
		`ALTER ROLE "o n" IN DATABASE shop SET work_mem TO '5MB'`:               `ALTER ROLE "o n" IN DATABASE "n""ew" SET work_mem TO '5MB'`,
		"COMMENT ON DATABASE shop IS 'x;\n''y'":                                 "COMMENT ON DATABASE \"n\"\"ew\" IS 'x;\n''y'",
		`REVOKE CONNECT,TEMPORARY ON DATABASE shop FROM PUBLIC`:                 `REVOKE CONNECT,TEMPORARY ON DATABASE "n""ew" FROM PUBLIC`,
		`GRANT CONNECT ON DATABASE shop TO "a b" WITH GRANT OPTION`:             `GRANT CONNECT ON DATABASE "n""ew" TO "a b" WITH GRANT OPTION`,
		`ALTER DATABASE shop OWNER TO mallory`:                                  "",
		`ALTER DATABASE shop SET TABLESPACE x`:                                  "",
		`ALTER DATABASE shop SET a TO 'b'; DROP DATABASE x`:                     "",
		`ALTER DATABASE shop SET a TO b()`:                                      "",
		`ALTER ROLE postgres SET a TO 'b'`:                                      "",
		`GRANT postgres TO mallory`:                                             "",
		`DROP DATABASE shop`:                                                    "",
		`COMMENT ON DATABASE shop IS 'x' DROP`:                                  "",
	} {
		if got := renamed(from, `n"ew`); got != want {
			t.Errorf("%s: %s, want %s", from, got, want)
		}
	}
}

func FuzzArchiveContents(f *testing.F) {
	f.Add([]byte("PGDMP\x01\x0e\x00\x04\x08\x01\x00\x00\x00\x00\x00"))
	f.Add([]byte("PGDMP\x01\x10\x00\x04\x08\x01\x00"))
	f.Fuzz(func(t *testing.T, head []byte) {
		c := readContents(head)
		databaseProperties(c)
		for _, kind := range propertyKinds {
			statements, _ := splitStatements(c.sql(kind))
			for _, s := range statements {
				renamed(s, "x")
			}
		}
	})
}
