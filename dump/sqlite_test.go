package dump

import (
	"bytes"
	"crypto/md5"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/caddy-backup/caddy-backup/backup"
	"github.com/caddy-backup/caddy-backup/dump/dumptest"
	"github.com/caddy-backup/caddy-backup/internal/realtest"
)

// makeDatabase makes a database with the given script before its tables.
func makeDatabase(t testing.TB, path, before string) {
	t.Helper()
	execute(t, path, before+`;
		CREATE TABLE account (id INTEGER PRIMARY KEY, balance INTEGER NOT NULL CHECK (balance > -1000000));
		CREATE TABLE log (id INTEGER PRIMARY KEY, text TEXT);
		CREATE INDEX log_text ON log (text);
		CREATE TABLE "odd ""name" (a, b BLOB, PRIMARY KEY (a)) WITHOUT ROWID;
		CREATE VIRTUAL TABLE words USING fts5 (text);
		WITH RECURSIVE n (i) AS (SELECT 0 UNION ALL SELECT i+1 FROM n WHERE i < `+fmt.Sprint(accounts-1)+`)
			INSERT INTO account SELECT i, 100 FROM n;
		WITH RECURSIVE n (i) AS (SELECT 0 UNION ALL SELECT i+1 FROM n WHERE i < 3000)
			INSERT INTO log (text) SELECT hex(randomblob(200)) FROM n;
		INSERT INTO "odd ""name" SELECT id, zeroblob(id) FROM account LIMIT 100;
		INSERT INTO words VALUES ('hello world');
		DELETE FROM log WHERE id % 3 = 0`)
}

func execute(t testing.TB, path, script string) {
	t.Helper()
	db, err := sql.Open("sqlite", (&url.URL{Scheme: "file", Path: path}).String())
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	db.SetMaxOpenConns(1)
	if _, err := db.Exec(script); err != nil {
		t.Fatal(err)
	}
}

func sqliteSource(t testing.TB, path string) *SQLite {
	t.Helper()
	s := &SQLite{Path: path}
	if err := provision(s); err != nil {
		t.Fatal(err)
	}
	return s
}

// sqliteDigests gives for every table the MD5 of its rows in order.
func sqliteDigests(t testing.TB, path string) map[string]string {
	t.Helper()
	c, err := openSQLite(path, "rw")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	tables, err := c.tables(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	digests := map[string]string{}
	for _, table := range append(tables, "sqlite_schema") {
		var rows []string
		err := c.query(t.Context(), "SELECT * FROM "+quoteName(table), func(row []driver.Value) error {
			rows = append(rows, fmt.Sprintf("%q", row))
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		slices.Sort(rows)
		digests[table] = fmt.Sprintf("%d %x", len(rows), md5.Sum([]byte(strings.Join(rows, "\n"))))
	}
	return digests
}

func sqliteKit(t testing.TB, path string) dumptest.Kit {
	dir, n := t.TempDir(), 0
	return dumptest.Kit{
		Source: sqliteSource(t, path), Name: "db",
		NewPlace: func(t testing.TB) string { n++; return filepath.Join(dir, "restored"+strconv.Itoa(n)) },
		Exists: func(t testing.TB, place string) bool {
			entries, _ := os.ReadDir(filepath.Dir(place))
			return len(entries) > 0
		},
		Equal: func(t testing.TB, place string) {
			t.Helper()
			if got, want := sqliteDigests(t, place), sqliteDigests(t, path); !maps.Equal(got, want) {
				t.Errorf("restored %v\nwant %v", got, want)
			}
			entries, _ := os.ReadDir(filepath.Dir(place))
			if len(entries) != 1 {
				t.Errorf("files beside the restored one: %v", entries)
			}
		},
	}
}

func TestSQLiteContract(t *testing.T) {
	for name, before := range map[string]string{
		"wal":         "PRAGMA journal_mode=WAL",
		"rollback":    "PRAGMA journal_mode=DELETE",
		"small pages": "PRAGMA page_size=512; PRAGMA auto_vacuum=FULL; PRAGMA journal_mode=WAL",
		"large pages": "PRAGMA page_size=65536; PRAGMA journal_mode=PERSIST",
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "a b?#%.sqlite3") // what a URI would need escaped
			makeDatabase(t, path, before)
			dumptest.Run(t, sqliteKit(t, path))
		})
	}
}

func TestSQLiteContractOnChinook(t *testing.T) {
	shared, ok := realtest.Shared(t, "fixtures/data/Chinook_Sqlite.sqlite")
	if !ok {
		t.Skip("the shared fixtures are not here; the databases made above stand in")
	}
	data, err := os.ReadFile(shared)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "chinook")
	if err := os.WriteFile(path, data, 0o640); err != nil {
		t.Fatal(err)
	}
	dumptest.Run(t, sqliteKit(t, path))
	var b bytes.Buffer
	facts, err := sqliteSource(t, path).Dump(t.Context(), backup.Part{}, &b, dumptest.Task(t))
	if err != nil || !bytes.Equal(b.Bytes(), data) {
		t.Errorf("a database that nobody writes to must be dumped as its file is; err = %v", err)
	}
	if facts.Rows["Track"] != 3503 || len(facts.Rows) != 11 {
		t.Errorf("rows = %v", facts.Rows)
	}
}

// Somebody commits beside the dump all the time; what is dumped is one moment. In WAL mode nobody waits: there are many
// more transactions than dumps; in the other mode each dump lets in a few.
func TestSQLiteWhileWrittenTo(t *testing.T) {
	for _, mode := range []string{"WAL", "DELETE"} {
		t.Run(mode, func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, "shop")
			makeDatabase(t, path, "PRAGMA journal_mode="+mode)
			stop := copyOfUs(t, "transfer", path)
			s := sqliteSource(t, path)
			for i := range 3 {
				restored := filepath.Join(dir, "restored"+strconv.Itoa(i))
				slowly := writerFunc(func(p []byte) (int, error) { time.Sleep(50 * time.Millisecond); return len(p), nil })
				if mode == "WAL" {
					slowly = func(p []byte) (int, error) { return len(p), othersWrite(path + "-wal") }
				}
				var b bytes.Buffer
				facts, err := s.Dump(t.Context(), backup.Part{}, io.MultiWriter(&b, slowly), dumptest.Task(t))
				if err != nil {
					t.Fatal(err)
				}
				if warned := len(facts.Notes) > 0; warned != (mode == "DELETE") {
					t.Errorf("notes = %v", facts.Notes)
				}
				if mode == "DELETE" {
					if err := othersWrite(path); err != nil {
						t.Fatal(err)
					}
				}
				if err := s.Restore(t.Context(), backup.Part{}, &b, restored, dumptest.Task(t)); err != nil {
					t.Fatal(err)
				}
				if sum := sqliteValue(t, restored, "SELECT sum(balance) FROM account"); sum != int64(total) {
					t.Errorf("the sum of all balances is %v, want %d: the dump is of no one moment", sum, total)
				}
				if n := sqliteValue(t, restored, "SELECT count(*) FROM log WHERE text LIKE 'entry%'"); n == int64(0) {
					t.Error("nothing of the writer's is in the dump")
				}
			}
			var n int
			var longest time.Duration
			if _, err := fmt.Sscanf(stop(), "%d transactions, %d ns", &n, &longest); err != nil {
				t.Fatal(err)
			}
			t.Logf("%d transactions beside, the longest took %v", n, longest)
			if least := map[string]int{"WAL": 50, "DELETE": 3}[mode]; n < least {
				t.Errorf("only %d transactions were made beside the dumps", n)
			}
		})
	}
}

// othersWrite waits until a file has changed a few times. It is only looked at: to open and close it would take our locks away.
func othersWrite(path string) error {
	changes, last := 0, time.Time{}
	for deadline := time.Now().Add(time.Minute); changes < 10; time.Sleep(time.Millisecond) {
		if info, err := os.Stat(path); err == nil && !info.ModTime().Equal(last) {
			changes, last = changes+1, info.ModTime()
		}
		if time.Now().After(deadline) {
			return errors.New("nobody writes to " + path)
		}
	}
	return nil
}

func sqliteValue(t testing.TB, path, query string) any {
	t.Helper()
	c, err := openSQLite(path, "rw")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	value, err := c.one(t.Context(), query)
	if err != nil {
		t.Fatal(err)
	}
	return value
}

func TestSQLiteByCopy(t *testing.T) {
	path := filepath.Join(t.TempDir(), "db")
	makeDatabase(t, path, "PRAGMA journal_mode=WAL")
	k := sqliteKit(t, path)
	k.Source.(*SQLite).copy = true
	dumptest.Run(t, k)
	task := dumptest.Task(t)
	if _, err := k.Source.Dump(t.Context(), backup.Part{}, io.Discard, task); err != nil || !strings.Contains(dumptest.Log(task), "temporary file") {
		t.Errorf("err = %v, log: %s", err, dumptest.Log(task))
	}
}

func TestSQLiteGrammar(t *testing.T) {
	testGrammar(t, func() *SQLite { return new(SQLite) }, []grammarCase{
		{text: "sqlite /srv/blog/db.sqlite3", json: `{"path":"/srv/blog/db.sqlite3"}`},
		{text: "sqlite", err: "wrong argument count"},
		{text: "sqlite /a /b", err: "wrong argument count"},
		{text: "sqlite /a {\n vacuum\n}", err: "unrecognized subdirective 'vacuum'"},
	})
	for text, want := range map[string]string{"sqlite db": "path 'db' is not absolute", "sqlite {env.DUMP_TEST_UNSET}": "path: "} {
		s := new(SQLite)
		if _, err := parse(t, s, text); err != nil {
			t.Fatal(err)
		}
		if err := provision(s); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", text, err)
		}
	}
}

// The price of a dump: the check and the stream, together and alone.
func BenchmarkSQLite(b *testing.B) {
	path := filepath.Join(b.TempDir(), "db")
	makeDatabase(b, path, "PRAGMA journal_mode=WAL; PRAGMA synchronous=OFF")
	execute(b, path, `PRAGMA synchronous=OFF; WITH RECURSIVE n (i) AS (SELECT 0 UNION ALL SELECT i+1 FROM n WHERE i < 300000)
		INSERT INTO log (text) SELECT hex(randomblob(100)) FROM n; PRAGMA wal_checkpoint(TRUNCATE)`)
	info, err := os.Stat(path)
	if err != nil {
		b.Fatal(err)
	}
	s := sqliteSource(b, path)
	b.Run("dump", func(b *testing.B) {
		b.SetBytes(info.Size())
		for b.Loop() {
			if _, err := s.Dump(b.Context(), backup.Part{}, io.Discard, dumptest.Task(b)); err != nil {
				b.Fatal(err)
			}
		}
	})
	c, err := openSQLite(path, "rw")
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	snap, err := c.begin(b.Context(), 0)
	if err != nil {
		b.Fatal(err)
	}
	b.Run("check", func(b *testing.B) {
		b.SetBytes(info.Size())
		for b.Loop() {
			if _, err := c.check(b.Context(), func(string) {}); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("stream", func(b *testing.B) {
		b.SetBytes(info.Size())
		for b.Loop() {
			if err := c.stream(b.Context(), io.Discard, snap); err != nil {
				b.Fatal(err)
			}
		}
	})
}
