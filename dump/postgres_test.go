package dump

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/caddy-backup/caddy-backup/backup"
	"github.com/caddy-backup/caddy-backup/dump/dumptest"
	"github.com/caddy-backup/caddy-backup/internal/realtest"
)

// shopSchema has one of everything that a dump may lose.
const shopSchema = `
	CREATE TYPE size AS ENUM ('S', 'M', 'L');
	CREATE DOMAIN price AS numeric(10,2) CHECK (VALUE >= 0);
	CREATE TABLE account (id int PRIMARY KEY, balance int NOT NULL CHECK (balance > -1000000));
	CREATE TABLE log (id bigserial PRIMARY KEY, text text, at timestamptz DEFAULT now());
	CREATE TABLE product (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name text UNIQUE, size size, price price,
		gross numeric GENERATED ALWAYS AS (price * 1.19) STORED, data jsonb, picture bytea);
	CREATE TABLE sale (id serial, product int REFERENCES product ON DELETE RESTRICT, day date NOT NULL) PARTITION BY RANGE (day);
	CREATE TABLE sale_2025 PARTITION OF sale FOR VALUES FROM ('2025-01-01') TO ('2026-01-01');
	CREATE TABLE sale_rest PARTITION OF sale DEFAULT;
	CREATE SCHEMA "Odd ""schema";
	CREATE TABLE "Odd ""schema"."tä\ble" ("a b" text);
	CREATE VIEW cheap AS SELECT name FROM product WHERE price < 10;
	CREATE MATERIALIZED VIEW sums AS SELECT count(*) FROM product;
	CREATE FUNCTION tell() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN INSERT INTO log (text) VALUES ('sold'); RETURN NEW; END$$;
	CREATE TRIGGER told AFTER INSERT ON sale FOR EACH ROW EXECUTE FUNCTION tell();
	CREATE INDEX ON product USING gin (data);
	INSERT INTO account SELECT i, 100 FROM generate_series(0, 999) i;
	INSERT INTO product (name, size, price, data, picture)
		SELECT 'product ' || i, 'M', i, jsonb_build_object('i', i), decode(md5(i::text), 'hex') FROM generate_series(1, 5000) i;
	INSERT INTO sale (product, day) SELECT i, date '2025-06-01' + i FROM generate_series(1, 500) i;
	INSERT INTO "Odd ""schema"."tä\ble" VALUES (E'tab\tnewline\n\\.'), (NULL), ('');
	SELECT lo_from_bytea(0, 'a large object');
	COMMENT ON TABLE product IS 'what we sell';
	REFRESH MATERIALIZED VIEW sums;`

// restrictLine is a random key that pg_dump prints in plain dumps.
var restrictLine = regexp.MustCompile(`(?m)^\\(un)?restrict .*$`)

// pgState is everything about a database that a restore must bring back.
func pgState(t testing.TB, pg *realtest.Postgres, database string) map[string]string {
	t.Helper()
	state := pg.Digests(t, database)
	state["sequences"] = pg.SQL(t, database, "SELECT schemaname, sequencename, last_value FROM pg_sequences ORDER BY 1, 2")
	state["properties"] = pg.SQL(t, database, `SELECT pg_encoding_to_char(encoding), datcollate, datctype, pg_get_userbyid(datdba)
		FROM pg_database WHERE datname = current_database()`)
	state["large objects"] = pg.SQL(t, database, "SELECT oid, md5(lo_get(oid)) FROM pg_largeobject_metadata ORDER BY 1")
	var schema bytes.Buffer
	p := program{path: pg.Program("pg_dump"), args: []string{"--schema-only", "--dbname=" + pg.SocketDSN(database)}, env: environ()}
	if _, err := p.run(t.Context(), dumptest.Task(t), nil, &schema); err != nil {
		t.Fatal(err)
	}
	state["schema"] = restrictLine.ReplaceAllString(schema.String(), "")
	return state
}

func samePgState(t testing.TB, got, want map[string]string) {
	t.Helper()
	for key := range want {
		if got[key] != want[key] {
			t.Errorf("%s differs:\n%.2000s\nwant:\n%.2000s", key, got[key], want[key])
		}
	}
	if len(got) != len(want) {
		t.Errorf("%d things, want %d", len(got), len(want))
	}
}

func pgExists(t testing.TB, pg *realtest.Postgres, database string) bool {
	t.Helper()
	return pg.SQL(t, "postgres", "SELECT 1 FROM pg_database WHERE datname = "+quoteString(database)) != ""
}

func pgSource(t testing.TB, dsn string) *Postgres {
	t.Helper()
	p := &Postgres{DSN: "{env.DUMP_TEST_DSN}"}
	t.Setenv("DUMP_TEST_DSN", dsn)
	if err := provision(p); err != nil {
		t.Fatal(err)
	}
	return p
}

func TestPostgres(t *testing.T) {
	pg := realtest.StartPostgres(t)
	pg.SQL(t, "postgres", `CREATE ROLE shopkeeper LOGIN PASSWORD 'canary-:\''';
		CREATE DATABASE "the shop" OWNER shopkeeper TEMPLATE template0 ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C'`)
	pg.SQL(t, "the shop", shopSchema)
	pg.CreateDatabase(t, "big") // larger than all pipes: pg_dump is still at work when its first bytes are seen
	pg.SQL(t, "big", "CREATE TABLE a AS SELECT i, repeat(md5(i::text), 10) AS text FROM generate_series(1, 30000) i")
	t.Run("contract", func(t *testing.T) { testPostgresContract(t, pg) })
	t.Run("as the owner", func(t *testing.T) { testPostgresOwner(t, pg) })
	t.Run("fixtures", func(t *testing.T) { testPostgresFixtures(t, pg) })
	t.Run("while written to", func(t *testing.T) { testPostgresWhileWrittenTo(t, pg) })
	t.Run("secrets", func(t *testing.T) { testPostgresSecrets(t, pg) })
	t.Run("messages", func(t *testing.T) { testPostgresMessages(t, pg) })
	t.Run("faulty programs", func(t *testing.T) { testPostgresFaultyPrograms(t, pg) })
	t.Run("failed restores", func(t *testing.T) { testPostgresFailedRestores(t, pg) })
	t.Run("server stops", func(t *testing.T) { testPostgresServerStops(t, pg) }) // the last one: it stays stopped
}

func testPostgresContract(t *testing.T, pg *realtest.Postgres) {
	n := 0
	want := pgState(t, pg, "the shop")
	dumptest.Run(t, dumptest.Kit{
		Source: pgSource(t, pg.DSN("the shop")), Name: "db", Secrets: []string{pg.Password},
		NewPlace: func(testing.TB) string { n++; return `re"stored ` + strconv.Itoa(n) },
		Exists:   func(t testing.TB, place string) bool { return pgExists(t, pg, place) },
		Equal:    func(t testing.TB, place string) { samePgState(t, pgState(t, pg, place), want) },
	})
}

// The usual case: the application's own user dumps and restores, without being a superuser.
func testPostgresOwner(t *testing.T, pg *realtest.Postgres) {
	pg.SQL(t, "postgres", `ALTER ROLE shopkeeper CREATEDB; CREATE DATABASE small OWNER shopkeeper`)
	pg.SQL(t, "small", "SET ROLE shopkeeper; CREATE TABLE a (b serial PRIMARY KEY); INSERT INTO a SELECT FROM generate_series(1, 10)")
	dsn := url.URL{Scheme: "postgres", User: url.UserPassword("shopkeeper", `canary-:\'`),
		Host: "127.0.0.1:" + strconv.Itoa(pg.Port), Path: "small"}
	p := pgSource(t, dsn.String())
	var b bytes.Buffer
	facts, err := p.Dump(t.Context(), backup.Part{}, &b, dumptest.Task(t))
	if err != nil {
		t.Fatal(err)
	}
	if want := "database small on 127.0.0.1:" + strconv.Itoa(pg.Port); facts.Source != want || !strings.HasPrefix(facts.Engine, "PostgreSQL 1") {
		t.Errorf("facts = %+v", facts)
	}
	want := pgState(t, pg, "small")
	if err := p.Restore(t.Context(), backup.Part{}, bytes.NewReader(b.Bytes()), "small again", dumptest.Task(t)); err != nil {
		t.Fatal(err)
	}
	samePgState(t, pgState(t, pg, "small again"), want)

	pg.SQL(t, "postgres", "DROP DATABASE small") // the day on which backups are for
	if err := p.Restore(t.Context(), backup.Part{}, bytes.NewReader(b.Bytes()), "small", dumptest.Task(t)); err != nil {
		t.Fatal(err)
	}
	samePgState(t, pgState(t, pg, "small"), want)

	pg.SQL(t, "postgres", "ALTER ROLE shopkeeper NOCREATEDB")
	err = p.Restore(t.Context(), backup.Part{}, &b, "no right", dumptest.Task(t))
	if err == nil || !strings.Contains(err.Error(), "CREATEDB") {
		t.Errorf("error = %v", err)
	}
}

func testPostgresFixtures(t *testing.T, pg *realtest.Postgres) {
	sets := map[string][]string{
		"chinook": {"Chinook_PostgreSql.sql"}, "sakila": {"sakila-postgres-schema.sql", "sakila-postgres-data.sql"},
		"airports": {"ourairports.day0.pg.sql", "ourairports.changes.sql"},
	}
	for name, files := range sets {
		t.Run(name, func(t *testing.T) {
			if _, ok := realtest.Shared(t, "fixtures/data/"+files[0]); !ok {
				t.Skip("the shared fixtures are not here; the shop stands in")
			}
			if name != "chinook" { // its script makes the database itself
				pg.CreateDatabase(t, name)
			}
			for _, file := range files {
				path, _ := realtest.Shared(t, "fixtures/data/"+file)
				pg.LoadFile(t, map[bool]string{true: "postgres", false: name}[name == "chinook"], path)
			}
			want := pgState(t, pg, name)
			p := pgSource(t, pg.SocketDSN(name))
			var b bytes.Buffer
			if _, err := p.Dump(t.Context(), backup.Part{}, &b, dumptest.Task(t)); err != nil {
				t.Fatal(err)
			}
			pg.SQL(t, "postgres", "DROP DATABASE "+name)
			if err := p.Restore(t.Context(), backup.Part{}, &b, name, dumptest.Task(t)); err != nil {
				t.Fatal(err)
			}
			samePgState(t, pgState(t, pg, name), want)
		})
	}
}

// Somebody moves money all the time; a dump is of one moment.
func testPostgresWhileWrittenTo(t *testing.T, pg *realtest.Postgres) {
	p := pgSource(t, pg.DSN("the shop"))
	db, err := newPgDatabase(p.dsn)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := db.connect(t.Context(), "the shop")
	if err != nil {
		t.Fatal(err)
	}
	defer closePg(conn)
	stop, done := make(chan bool), make(chan int)
	go func() {
		n := 0
		defer func() { done <- n }()
		for {
			select {
			case <-stop:
				return
			default:
			}
			_, err := conn.Exec(context.Background(), fmt.Sprintf(`BEGIN; UPDATE account SET balance = balance - 7 WHERE id = %d;
				INSERT INTO log (text) VALUES ('transfer'); UPDATE account SET balance = balance + 7 WHERE id = %d; COMMIT`,
				n%1000, (n*7+1)%1000)).ReadAll()
			if err != nil {
				t.Error(err)
				return
			}
			n++
		}
	}()
	var b bytes.Buffer
	slowly := writerFunc(func(p []byte) (int, error) { time.Sleep(20 * time.Millisecond); return len(p), nil })
	_, err = p.Dump(t.Context(), backup.Part{}, io.MultiWriter(&b, slowly), dumptest.Task(t))
	close(stop)
	if n := <-done; n < 20 {
		t.Errorf("only %d transactions beside the dump", n)
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Restore(t.Context(), backup.Part{}, &b, "moment", dumptest.Task(t)); err != nil {
		t.Fatal(err)
	}
	if sum := pg.SQL(t, "moment", "SELECT sum(balance) FROM account"); sum != "100000\n" {
		t.Errorf("the sum of all balances is %s: the dump is of no one moment", sum)
	}
}

// The password is nowhere to be read while the programs run, neither in arguments nor in environments, and is not in
// the JSON of the configuration.
func testPostgresSecrets(t *testing.T, pg *realtest.Postgres) {
	t.Setenv("PGPASSWORD", "canary-of-the-environment")
	p := pgSource(t, pg.DSN("big"))
	looked := 0
	look := writerFunc(func(b []byte) (int, error) {
		if looked++; looked <= 3 {
			for _, secret := range []string{pg.Password, "canary-of-the-environment"} {
				if found := realtest.Leftovers(secret); len(found) > 0 {
					t.Errorf("%s can be read in %v", secret, found)
				}
			}
			if found := realtest.Leftovers("--format=custom"); len(found) == 0 {
				t.Error("no pg_dump was seen; the test looks in the wrong place")
			}
		}
		return len(b), nil
	})
	if _, err := p.Dump(t.Context(), backup.Part{}, struct{ io.Writer }{look}, dumptest.Task(t)); err != nil {
		t.Fatal(err)
	}
}

// A message names the thing, the place and the way out, and never the password.
func testPostgresMessages(t *testing.T, pg *realtest.Postgres) {
	port := strconv.Itoa(pg.Port)
	for _, c := range []struct{ name, dsn, want string }{
		{"wrong password", "postgres://postgres:canary@127.0.0.1:" + port + "/shop", "PostgreSQL at 127.0.0.1:" + port + " refuses the password of user postgres"},
		{"no password", "postgres://postgres@127.0.0.1:" + port + "/shop", "PostgreSQL at 127.0.0.1:" + port},
		{"no such user", "host=" + pg.Dir + " port=" + port + " user=nobody dbname=shop", `role "nobody" does not exist`},
		{"no such database", "postgres://postgres:" + pg.Password + "@127.0.0.1:" + port + "/canary", "database canary does not exist on PostgreSQL at 127.0.0.1:" + port},
		{"nobody listens", "postgres://postgres:canary@127.0.0.1:1/shop", "cannot reach PostgreSQL at 127.0.0.1:1: nobody listens there"},
		{"no socket", "host=/no/such/folder dbname=shop password=canary", "cannot reach PostgreSQL at /no/such/folder: there is no socket"},
		{"unknown host", "postgres://postgres:canary@no-such-host.invalid/shop", "cannot reach PostgreSQL at no-such-host.invalid:5432"},
		{"no TLS", "postgres://postgres:" + pg.Password + "@127.0.0.1:" + port + "/shop?sslmode=require", "server refused TLS"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dumptest.NothingLeft(t)
			_, err := pgSource(t, c.dsn).Dump(t.Context(), backup.Part{}, io.Discard, dumptest.Task(t))
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("error = %v, want %q", err, c.want)
			}
			t.Log(err)
			if strings.Contains(err.Error(), pg.Password) || strings.Contains(err.Error(), "canary") && c.name != "no such database" {
				t.Errorf("the password is in the message: %v", err)
			}
		})
	}
	t.Run("no right to read", func(t *testing.T) {
		pg.SQL(t, "postgres", "CREATE ROLE stranger LOGIN")
		_, err := pgSource(t, "host="+pg.Dir+" port="+port+" user=stranger dbname='the shop'").
			Dump(t.Context(), backup.Part{}, io.Discard, dumptest.Task(t))
		if err == nil || !strings.Contains(err.Error(), "GRANT pg_read_all_data") {
			t.Errorf("error = %v", err)
		}
	})
}

// fakePrograms puts scripts in the place of pg_dump and pg_restore. In them, $REAL is the folder of the real ones.
func fakePrograms(t *testing.T, pg *realtest.Postgres, version, dump, restore string) (layout string) {
	t.Helper()
	dir := t.TempDir()
	for name, body := range map[string]string{"pg_dump": dump, "pg_restore": restore} {
		script := fmt.Sprintf("#!/bin/sh\nif [ \"$1\" = --version ]; then echo '%s (PostgreSQL) %s'; exit; fi\nREAL=%s\n%s\n",
			name, version, pg.Bin, body)
		if err := os.WriteFile(filepath.Join(dir, name), []byte(script), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func testPostgresFaultyPrograms(t *testing.T, pg *realtest.Postgres) {
	const real = `exec "$REAL/pg_restore" "$@"`
	for _, c := range []struct{ name, version, dump, restore, want string }{
		{"fails after output", "99.1", `"$REAL/pg_dump" "$@"; echo 'lost the server' >&2; exit 1`, real, "pg_dump ended with status 1: lost the server"},
		{"prints nothing", "99.1", `exit 0`, real, "the archive is not whole: pg_restore ended with status 1"},
		{"is cut off", "99.1", `"$REAL/pg_dump" "$@" | head -c 100000; kill -9 $$`, real, "pg_dump was killed by signal 9"},
		{"prints half", "99.1", `"$REAL/pg_dump" "$@" | head -c 100000`, real, "the archive is not whole: pg_restore ended with status 1"},
		{"loses a byte", "99.1", `"$REAL/pg_dump" "$@" | head -c -1`, real, "the archive is not whole: pg_restore ended with status 1"},
		{"hangs", "99.1", `trap '' TERM; while :; do sleep 60; done`, real, "was stopped: context deadline exceeded"},
		{"check fails at once", "99.1", `exec "$REAL/pg_dump" "$@"`, `echo 'no memory' >&2; exit 2`, "the archive is not whole: pg_restore ended with status 2: no memory"},
		{"check does not read", "99.1", `exec "$REAL/pg_dump" "$@"`, `exit 0`, "before it had read the whole archive"},
		{"check hangs", "99.1", `exec "$REAL/pg_dump" "$@"`, `sleep 60`, "was stopped: context deadline exceeded"},
		{"too old", "9.6.24", `exit 1`, `exit 1`, "is of version 9.6.24, older than the server (1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := pgSource(t, pg.DSN("the shop"))
			dir := fakePrograms(t, pg, c.version, c.dump, c.restore)
			dumptest.NothingLeft(t)
			t.Setenv("PATH", dir+":/bin")
			if _, err := os.Stat("/bin/pg_dump"); err == nil {
				// Where /bin is /usr/bin, the real one would be found in it.
				bin := t.TempDir()
				for _, name := range []string{"sh", "head", "sleep"} {
					if err := os.Symlink(filepath.Join("/bin", name), filepath.Join(bin, name)); err != nil {
						t.Fatal(err)
					}
				}
				t.Setenv("PATH", dir+":"+bin)
			}
			p.layouts = []string{dir}
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			if strings.HasSuffix(c.name, "hangs") {
				ctx, cancel = context.WithTimeout(t.Context(), 500*time.Millisecond)
				defer cancel()
			}
			began := time.Now()
			_, err := p.Dump(ctx, backup.Part{}, io.Discard, dumptest.Task(t))
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error = %v, want %q", err, c.want)
			}
			if d := time.Since(began); d > 5*time.Second {
				t.Errorf("took %v", d)
			}
		})
	}
}

func testPostgresFailedRestores(t *testing.T, pg *realtest.Postgres) {
	p := pgSource(t, pg.DSN("the shop"))
	var b bytes.Buffer
	if _, err := p.Dump(t.Context(), backup.Part{}, &b, dumptest.Task(t)); err != nil {
		t.Fatal(err)
	}
	for _, place := range []string{"", strings.Repeat("x", 64), "nul\x00"} {
		if err := p.Restore(t.Context(), backup.Part{}, bytes.NewReader(b.Bytes()), place, dumptest.Task(t)); !errors.Is(err, backup.ErrInvalid) {
			t.Errorf("place %q: %v", place, err)
		}
	}
	t.Run("missing role", func(t *testing.T) {
		pg.SQL(t, "postgres", "CREATE ROLE gone; CREATE DATABASE roles")
		pg.SQL(t, "roles", "CREATE TABLE a (b int); ALTER TABLE a OWNER TO gone")
		p := pgSource(t, pg.DSN("roles"))
		var b bytes.Buffer
		if _, err := p.Dump(t.Context(), backup.Part{}, &b, dumptest.Task(t)); err != nil {
			t.Fatal(err)
		}
		pg.SQL(t, "postgres", "DROP DATABASE roles; DROP ROLE gone")
		err := p.Restore(t.Context(), backup.Part{}, &b, "roles", dumptest.Task(t))
		if err == nil || !strings.Contains(err.Error(), "create the roles first") || pgExists(t, pg, "roles") {
			t.Errorf("error = %v, left behind: %v", err, pgExists(t, pg, "roles"))
		}
	})
	t.Run("cannot be cleaned up", func(t *testing.T) {
		// The program drops the database under its own feet, and leaves a name that only it can free.
		dir := fakePrograms(t, pg, "99.1", "exit 1", fmt.Sprintf(`%s -X -q -d "host=%s port=%d user=postgres dbname=postgres" -c "ALTER DATABASE held IS_TEMPLATE true"; exit 1`,
			pg.Program("psql"), pg.Dir, pg.Port))
		p := pgSource(t, pg.DSN("the shop"))
		p.layouts = []string{dir}
		t.Setenv("PATH", dir+":/nowhere")
		err := p.Restore(t.Context(), backup.Part{}, bytes.NewReader(b.Bytes()), "held", dumptest.Task(t))
		if err == nil || !strings.Contains(err.Error(), "the new database held is left behind on 127.0.0.1") {
			t.Errorf("error = %v", err)
		}
	})
}

func testPostgresServerStops(t *testing.T, pg *realtest.Postgres) {
	dumptest.NothingLeft(t)
	p := pgSource(t, pg.DSN("big"))
	n := 0
	stop := writerFunc(func(b []byte) (int, error) {
		if n += len(b); n > 1<<20 {
			pg.Stop(t)
		}
		return len(b), nil
	})
	_, err := p.Dump(t.Context(), backup.Part{}, struct{ io.Writer }{stop}, dumptest.Task(t))
	if err == nil || !strings.Contains(err.Error(), "pg_dump ended with status 1") || strings.Contains(err.Error(), pg.Password) {
		t.Errorf("error = %v", err)
	}
	t.Log(err)
}

func TestPostgresGrammar(t *testing.T) {
	testGrammar(t, func() *Postgres { return new(Postgres) }, []grammarCase{
		{text: "postgres {\n dsn {env.DATABASE_URL}\n}", json: `{"dsn":"{env.DATABASE_URL}"}`},
		{text: "postgres", err: "postgres is missing its dsn"},
		{text: "postgres {\n dsn\n}", err: "wrong argument count"},
		{text: "postgres {\n dsn a=b c=d\n}", err: "wrong argument count"},
		{text: "postgres {\n dsn a=b\n dsn c=d\n}", err: "dsn already specified"},
		{text: "postgres x", err: "wrong argument count"},
		{text: "postgres {\n schema public\n}", err: "unrecognized subdirective 'schema'"},
	})
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
	} {
		got, err := parseDSN(text)
		if (err == nil) != (want != nil) || err == nil && !maps.Equal(got, want) {
			t.Errorf("%s: %v, %v; want %v", text, got, err, want)
		}
		if err != nil && (strings.Contains(err.Error(), "can") && strings.Contains(err.Error(), "ary")) {
			t.Errorf("%s: the error quotes: %v", text, err)
		}
	}
}

func FuzzParseDSN(f *testing.F) {
	for _, seed := range []string{"postgres://u:p@h:5/db?sslmode=require", `host=a password='it\'s' x = y`, "postgresql://", "a=b\\", "='"} {
		f.Add(seed)
	}
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
	for _, version := range []string{"13.9", "15.3", "15.10", "17.2"} {
		bin := filepath.Join(dir, version, "bin")
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
	p := &Postgres{layouts: []string{filepath.Join(dir, "*/bin")}}
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
	p.layouts = []string{"/nowhere"}
	if _, err := p.tools(t.Context(), pgVersion{major: 15}); err == nil || !strings.Contains(err.Error(), "postgresql-client") {
		t.Errorf("error = %v", err)
	}
}

func TestDatabaseProperties(t *testing.T) {
	for head, want := range map[string]string{
		"\x00CREATE DATABASE shop WITH TEMPLATE = template0 ENCODING = 'UTF8' LOCALE_PROVIDER = libc LOCALE = 'C.UTF-8';\n": " ENCODING = 'UTF8' LOCALE_PROVIDER = libc LOCALE = 'C.UTF-8'",
		`CREATE DATABASE "a ""b" WITH TEMPLATE = template0 ENCODING = 'LATIN1' LC_COLLATE = 'C' LC_CTYPE = 'de_DE';`:        " ENCODING = 'LATIN1' LC_COLLATE = 'C' LC_CTYPE = 'de_DE'",
		`CREATE DATABASE a WITH TEMPLATE = template0 ENCODING = 'UTF8' TABLESPACE = x;`:                                     "",
		`CREATE DATABASE a WITH TEMPLATE = template0 ENCODING = 'UTF8'; DROP DATABASE b;`:                                   " ENCODING = 'UTF8'",
		"nothing": "",
	} {
		if got := databaseProperties([]byte(head)); got != want {
			t.Errorf("%q: %q, want %q", head, got, want)
		}
	}
}
