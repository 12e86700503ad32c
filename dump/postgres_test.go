package dump

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"sync/atomic"
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
	SELECT lo_from_bytea(0, 'a large object'), lo_from_bytea(3000000000, 'of a high number');
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
	pg := realtest.StartPostgres(t, "wal_level=logical", "wal_retrieve_retry_interval=200ms", "max_locks_per_transaction=10", "max_prepared_transactions=2")
	pg.SQL(t, "postgres", `CREATE ROLE shopkeeper LOGIN PASSWORD 'canary-:\''';
		CREATE DATABASE "the shop" OWNER shopkeeper TEMPLATE template0 ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C'`)
	pg.SQL(t, "the shop", shopSchema)
	pg.CreateDatabase(t, "big") // larger than all pipes: pg_dump is still at work when its first bytes are seen
	pg.SQL(t, "big", "CREATE TABLE a AS SELECT i, repeat(md5(i::text), 10) AS text FROM generate_series(1, 30000) i")
	t.Run("contract", func(t *testing.T) { testPostgresContract(t, pg) })
	t.Run("as the owner", func(t *testing.T) { testPostgresOwner(t, pg) })
	t.Run("fixtures", func(t *testing.T) { testPostgresFixtures(t, pg) })
	t.Run("verify", func(t *testing.T) { testPostgresVerify(t, pg) })
	t.Run("while written to", func(t *testing.T) { testPostgresWhileWrittenTo(t, pg) })
	t.Run("secrets", func(t *testing.T) { testPostgresSecrets(t, pg) })
	t.Run("messages", func(t *testing.T) { testPostgresMessages(t, pg) })
	t.Run("examined", func(t *testing.T) { testPostgresExamined(t, pg) })
	t.Run("rows", func(t *testing.T) { testPostgresRows(t, pg) })
	t.Run("archive", func(t *testing.T) { testPostgresArchive(t, pg) })
	t.Run("selected", func(t *testing.T) { testPostgresSelected(t, pg) })
	t.Run("all databases", func(t *testing.T) { testPostgresAll(t, pg) })
	t.Run("locked", func(t *testing.T) { testPostgresLocked(t, pg) })
	t.Run("environment", func(t *testing.T) { testPostgresEnvironment(t, pg) })
	t.Run("reach", func(t *testing.T) { testPostgresReach(t, pg) })
	t.Run("service", func(t *testing.T) { testPostgresService(t, pg) })
	t.Run("absent", func(t *testing.T) { testPostgresAbsent(t, pg) })
	t.Run("overwrite", func(t *testing.T) { testPostgresOverwrite(t, pg) })
	t.Run("script", func(t *testing.T) { testPostgresScript(t, pg) })
	t.Run("globals", func(t *testing.T) { testPostgresGlobals(t, pg) })
	t.Run("everything", func(t *testing.T) { testPostgresEverything(t, pg) })
	t.Run("hijacked", func(t *testing.T) { testPostgresHijacked(t, pg) })
	t.Run("alone", func(t *testing.T) { testPostgresAlone(t, pg) })
	t.Run("properties", func(t *testing.T) { testPostgresProperties(t, pg) })
	t.Run("odd names", func(t *testing.T) { testPostgresOddNames(t, pg) })
	t.Run("limits", func(t *testing.T) { testPostgresLimits(t, pg) })
	t.Run("prepared", func(t *testing.T) { testPostgresPrepared(t, pg) })
	t.Run("pooled", func(t *testing.T) { testPostgresPooled(t, pg) })
	t.Run("left out", func(t *testing.T) { testPostgresLeftOut(t, pg) })
	t.Run("swept", func(t *testing.T) { testPostgresSwept(t, pg) })
	if realtest.Soak() { // to copy a server takes its time
		t.Run("standby", func(t *testing.T) { testPostgresStandby(t, pg) })
	}
	t.Run("encodings", func(t *testing.T) { testPostgresEncodings(t, pg) })
	t.Run("subscriptions", func(t *testing.T) { testPostgresSubscriptions(t, pg) })
	t.Run("many objects", func(t *testing.T) { testPostgresManyObjects(t, pg) })
	t.Run("bench", func(t *testing.T) { testPostgresBench(t, pg) })
	t.Run("cut", func(t *testing.T) { testPostgresCut(t, pg) })
	t.Run("green", func(t *testing.T) { testPostgresGreen(t, pg) })
	t.Run("runs", func(t *testing.T) { testPostgresRuns(t, pg) })
	t.Run("no room", func(t *testing.T) { testPostgresNoRoom(t, pg) })
	t.Run("faulty scripts", func(t *testing.T) { testPostgresFaultyScripts(t, pg) })
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
	stop, done := make(chan bool), make(chan int, 1)
	var made atomic.Int64
	go func() {
		n := 0
		defer func() { done <- n; close(done) }()
		for {
			select {
			case <-stop:
				return
			default:
			}
			_, err := conn.Exec(context.Background(), fmt.Sprintf(`BEGIN; UPDATE public.account SET balance = balance - 7 WHERE id = %d;
				INSERT INTO public.log (text) VALUES ('transfer'); UPDATE public.account SET balance = balance + 7 WHERE id = %d; COMMIT`,
				n%1000, (n*7+1)%1000)).ReadAll()
			if err != nil {
				t.Error(err)
				return
			}
			n++
			made.Add(1)
		}
	}()
	var b bytes.Buffer
	slowly := writerFunc(func(p []byte) (int, error) { // a few transactions beside each piece
		for want := made.Load() + 20; made.Load() < want && len(done) == 0; {
			time.Sleep(time.Millisecond)
		}
		return len(p), nil
	})
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
