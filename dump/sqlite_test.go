package dump

import (
	"bytes"
	"context"
	"crypto/md5"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
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

// Somebody commits beside the dump all the time; what is dumped is one moment, and in WAL mode they do not wait.
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
				var b bytes.Buffer
				facts, err := s.Dump(t.Context(), backup.Part{}, io.MultiWriter(&b, slowly), dumptest.Task(t))
				if err != nil {
					t.Fatal(err)
				}
				if warned := len(facts.Notes) > 0; warned != (mode == "DELETE") {
					t.Errorf("notes = %v", facts.Notes)
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
			if least := map[string]int{"WAL": 100, "DELETE": 3}[mode]; n < least {
				t.Errorf("only %d transactions were made beside the dumps", n)
			}
			if mode == "WAL" && longest > time.Second {
				t.Errorf("a writer waited %v", longest)
			}
		})
	}
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

func TestSQLiteFaults(t *testing.T) {
	dir := t.TempDir()
	file := func(name string, data []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	sound := filepath.Join(dir, "sound")
	makeDatabase(t, sound, "PRAGMA journal_mode=DELETE")
	data, err := os.ReadFile(sound)
	if err != nil {
		t.Fatal(err)
	}
	locked := file("locked", data)
	defer copyOfUs(t, "lock", locked)()
	for _, c := range []struct{ name, path, err string }{
		{"missing", filepath.Join(dir, "missing"), "missing is not there"},
		{"folder", dir, "not a regular file"},
		{"zero bytes", file("zero", nil), "an empty database is no backup"},
		{"text", file("text", bytes.Repeat([]byte("This is a text.\n"), 1000)), "is no SQLite database, or it is encrypted"},
		{"locked", locked, "locked by another program"},
		{"cut", file("cut", data[:len(data)/2]), "is damaged"},
		{"flipped", file("flipped", damage(data)), "is damaged"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dumptest.NothingLeft(t)
			s := sqliteSource(t, c.path)
			s.busy = 200 * time.Millisecond
			n := &countingWriter{}
			_, err := s.Dump(t.Context(), backup.Part{}, n, dumptest.Task(t))
			if err == nil || !strings.Contains(err.Error(), c.err) || !strings.Contains(err.Error(), c.path) {
				t.Errorf("error = %v, want %q", err, c.err)
			}
			t.Log(err)
			if n.n > 0 {
				t.Errorf("%d bytes were written before the database was checked", n.n)
			}
		})
	}
	if _, err := os.Lstat(filepath.Join(dir, "missing")); err == nil {
		t.Error("the missing database was created")
	}
	t.Run("cancelled while locked", func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
		defer cancel()
		began := time.Now()
		_, err := sqliteSource(t, locked).Dump(ctx, backup.Part{}, io.Discard, dumptest.Task(t))
		if !errors.Is(err, context.DeadlineExceeded) || time.Since(began) > 2*time.Second {
			t.Errorf("err = %v after %v", err, time.Since(began))
		}
	})
}

// damage flips bits in the headers of all pages but the first.
func damage(data []byte) []byte {
	data = bytes.Clone(data)
	for i := 4096; i < len(data); i += 4096 {
		data[i+5] ^= 0x55 // where the cells begin
	}
	return data
}

type countingWriter struct{ n int }

func (w *countingWriter) Write(p []byte) (int, error) { w.n += len(p); return len(p), nil }

// Every flipped bit in the structure of a database is found; one in the text of a row cannot be: SQLite keeps no sums.
func TestSQLiteDamageIsFound(t *testing.T) {
	dir := t.TempDir()
	sound := filepath.Join(dir, "sound")
	makeDatabase(t, sound, "PRAGMA journal_mode=DELETE")
	execute(t, sound, "VACUUM") // what is in an unused page is nobody's
	data, err := os.ReadFile(sound)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "flipped")
	for page := 1; page < len(data)/4096; page += 7 {
		flipped := bytes.Clone(data)
		flipped[page*4096+3] ^= 0x10 // the number of cells, or a pointer
		if err := os.WriteFile(path, flipped, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := sqliteSource(t, path).Dump(t.Context(), backup.Part{}, io.Discard, dumptest.Task(t)); err == nil {
			t.Errorf("a flipped bit in page %d was not found", page+1)
		}
	}
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

// A schema may use what only its own program knows. That is told, and no reason not to back it up.
func TestSQLiteWithForeignFunctions(t *testing.T) {
	for name, c := range map[string]struct{ schema, known, checked, note string }{
		"check": {"CREATE TABLE a (b CHECK (abs(b) > 0))", "abs",
			"integrity_check: ok without CHECK constraints", "CHECK constraints were not"},
		"index": {"CREATE TABLE a (b); CREATE INDEX i ON a (abs(b))", "abs",
			"integrity_check: ok in part, see notes", "table a was not checked"},
		"collation": {"CREATE TABLE a (b TEXT COLLATE nocase PRIMARY KEY)", "nocase",
			"integrity_check: ok in part, see notes", "table a was not checked"},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "db")
			execute(t, path, c.schema+`; CREATE TABLE fine (a UNIQUE); INSERT INTO fine VALUES (1);
				PRAGMA writable_schema=1; UPDATE sqlite_schema SET sql = replace(sql, '`+c.known+`', 'theirs')`)
			s := sqliteSource(t, path)
			var b bytes.Buffer
			facts, err := s.Dump(t.Context(), backup.Part{}, &b, dumptest.Task(t))
			if err != nil {
				t.Fatal(err)
			}
			if facts.Checked != c.checked || !strings.Contains(strings.Join(facts.Notes, ";"), c.note) {
				t.Errorf("checked = %q, notes = %q", facts.Checked, facts.Notes)
			}
			if facts.Rows["fine"] != 1 {
				t.Errorf("rows = %v", facts.Rows)
			}
			if err := s.Restore(t.Context(), backup.Part{}, &b, path+"-restored", dumptest.Task(t)); err != nil {
				t.Error(err)
			}
			data, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			copy(data[len(data)-4096:], "damage") // the table that can be checked
			if err := os.WriteFile(path, data, 0o600); err != nil {
				t.Fatal(err)
			}
			if _, err := s.Dump(t.Context(), backup.Part{}, io.Discard, dumptest.Task(t)); err == nil {
				t.Error("damage was not found")
			}
		})
	}
}

func TestSQLiteRestoreRefuses(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "db")
	makeDatabase(t, path, "PRAGMA journal_mode=DELETE")
	if err := os.Chmod(path, 0o640); err != nil {
		t.Fatal(err)
	}
	if os.Getuid() == 0 {
		if err := os.Chown(path, 65534, 65534); err != nil {
			t.Fatal(err)
		}
	}
	s := sqliteSource(t, path)
	var b bytes.Buffer
	if _, err := s.Dump(t.Context(), backup.Part{}, &b, dumptest.Task(t)); err != nil {
		t.Fatal(err)
	}
	restore := func(place string) error {
		return s.Restore(t.Context(), backup.Part{}, bytes.NewReader(b.Bytes()), place, dumptest.Task(t))
	}
	if err := restore("relative"); !errors.Is(err, backup.ErrInvalid) {
		t.Error(err)
	}
	if err := restore(filepath.Join(dir, "no", "folder")); err == nil || !strings.Contains(err.Error(), "create the folder") {
		t.Error(err)
	}
	for _, suffix := range []string{"-wal", "-shm", "-journal"} {
		stale := filepath.Join(dir, "new"+suffix)
		if err := os.WriteFile(stale, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := restore(filepath.Join(dir, "new")); !errors.Is(err, backup.ErrConflict) || !strings.Contains(err.Error(), stale) {
			t.Errorf("with a stale %s: %v", suffix, err)
		}
		os.Remove(stale)
	}
	link := filepath.Join(dir, "link")
	if err := os.Symlink("nowhere", link); err != nil {
		t.Fatal(err)
	}
	if err := restore(link); !errors.Is(err, backup.ErrConflict) {
		t.Errorf("onto a dangling link: %v", err)
	}
	if err := restore(filepath.Join(dir, "new")); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(filepath.Join(dir, "new"))
	if err != nil || info.Mode() != 0o640 || os.Getuid() == 0 && info.Sys().(*syscall.Stat_t).Uid != 65534 {
		t.Errorf("mode and owner are not those of the source: %v, %v", info.Mode(), err)
	}
}

func TestSQLitePermissions(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root, to be somebody else")
	}
	run := func(path string) (string, error) {
		self, err := os.Executable()
		if err != nil {
			t.Fatal(err)
		}
		data, err := os.ReadFile(self)
		if err != nil {
			t.Fatal(err)
		}
		copied := filepath.Join(filepath.Dir(path), "..", "test-binary")
		if err := os.WriteFile(copied, data, 0o755); err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command(copied)
		cmd.Env = append(os.Environ(), "DUMP_TEST_ROLE=dump", "DUMP_TEST_PATH="+path)
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	top, err := os.MkdirTemp("", "dump") // t.TempDir would not let the other user in
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(top)
	dir := filepath.Join(top, "data")
	if err := errors.Join(os.Chmod(top, 0o755), os.Mkdir(dir, 0o755)); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "db")
	makeDatabase(t, path, "PRAGMA journal_mode=WAL")
	for _, c := range []struct {
		name      string
		file, dir os.FileMode
		want      string
		ok        bool
	}{
		{"unreadable", 0o600, 0o755, "cannot be opened by user nobody", false},
		{"folder not writable in WAL mode", 0o644, 0o755, "setfacl -m u:nobody:rwX", false},
		{"all allowed", 0o666, 0o777, "belong to user nobody during the dump", true},
	} {
		if err := errors.Join(os.Chmod(path, c.file), os.Chmod(dir, c.dir)); err != nil {
			t.Fatal(err)
		}
		out, err := run(path)
		t.Log(strings.TrimSpace(out))
		if (err == nil) != c.ok || !strings.Contains(out, c.want) || !strings.Contains(out, path) {
			t.Errorf("%s: err = %v, output = %s", c.name, err, out)
		}
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
