package dump

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/certmagic"

	"github.com/caddy-backup/caddy-backup/backup"
	"github.com/caddy-backup/caddy-backup/dump/dumptest"
	"github.com/caddy-backup/caddy-backup/internal/realtest"
)

// examined is what a source says, and the worst of it.
func examined(t *testing.T, x backup.Examiner) (text string, worst backup.Level) {
	t.Helper()
	dumptest.NothingLeft(t)
	worst = backup.LevelOK
	rank := map[backup.Level]int{backup.LevelOK: 0, backup.LevelNote: 1, backup.LevelWarning: 2, backup.LevelError: 3}
	for _, d := range x.Examine(t.Context(), dumptest.Task(t)) {
		if rank[d.Level] > rank[worst] {
			worst = d.Level
		}
		text += string(d.Level) + ": " + d.Text + "\n"
	}
	return text, worst
}

func TestExamine(t *testing.T) {
	dir := t.TempDir()
	database, empty, text := filepath.Join(dir, "shop.db"), filepath.Join(dir, "empty"), filepath.Join(dir, "text")
	makeDatabase(t, database, "")
	if err := os.Mkdir(empty, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(text, []byte(strings.Repeat("no database at all\n", 100)), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name  string
		x     backup.Examiner
		level backup.Level
		want  string
	}{
		{"Caddy", &Caddy{storage: &certmagic.FileStorage{Path: dir}}, backup.LevelOK, dir},
		{"an empty Caddy", &Caddy{storage: &certmagic.FileStorage{Path: empty}}, backup.LevelWarning, "mounted"},
		{"no Caddy", &Caddy{storage: &certmagic.FileStorage{Path: text}}, backup.LevelWarning, text},
		{"a program", configured(t, new(Command), "command cat /etc/hosts"), backup.LevelOK, "cat is there"},
		{"no program", configured(t, new(Command), "command no-such-program"), backup.LevelError, "no-such-program is not installed"},
		{"not executable", configured(t, new(Command), "command "+text), backup.LevelError, text},
		{"no working folder", configured(t, new(Command), "command cat {\n dir "+text+"\n}"), backup.LevelError, "working folder"},
		{"a folder", configured(t, new(Files), "files "+dir), backup.LevelOK, dir},
		{"an empty folder", configured(t, new(Files), "files "+empty), backup.LevelWarning, "mounted"},
		{"no folder", configured(t, new(Files), "files "+dir+"/nosuch"), backup.LevelError, dir + "/nosuch"},
		{"a file for a folder", configured(t, new(Files), "files "+text), backup.LevelError, "is not a folder"},
		{"a database", sqliteSource(t, database), backup.LevelOK, database},
		{"no database there", sqliteSource(t, dir+"/nosuch.db"), backup.LevelError, "is not there"},
		{"no database in it", sqliteSource(t, text), backup.LevelError, "no SQLite database"},
		{"a folder for a database", sqliteSource(t, empty), backup.LevelError, "not a regular file"},
	} {
		t.Run(c.name, func(t *testing.T) {
			text, level := examined(t, c.x)
			if level != c.level && !(c.level == backup.LevelOK && level == backup.LevelNote) || !strings.Contains(text, c.want) {
				t.Errorf("%s, want %s and %q:\n%s", level, c.level, c.want, text)
			}
		})
	}
}

// TestServerClock: a clock that goes differently is told, and one that cannot be read, too.
func TestServerClock(t *testing.T) {
	at := func(ahead time.Duration) string {
		return fmt.Sprintf("%.6f", float64(time.Now().Add(ahead).UnixMicro())/1e6)
	}
	for _, c := range []struct {
		seconds string
		err     error
		want    string
	}{
		{at(0), nil, ""}, {at(time.Minute), nil, ""}, {at(-time.Minute), nil, ""},
		{at(2 * time.Hour), nil, "ahead of ours"}, {at(-time.Hour), nil, "behind ours"},
		{"", errors.New("gone"), "cannot be read: gone"}, {"nonsense", nil, "cannot be read"},
	} {
		text := ""
		for _, d := range serverClock("the server", c.seconds, c.err) {
			text += d.Text
		}
		if c.want == "" && text != "" || !strings.Contains(text, c.want) {
			t.Errorf("%s: %q, want %q", c.seconds, text, c.want)
		}
	}
}

// testPostgresExamined: all that makes a night's dump fail is seen beforehand, and no password is told.
func testPostgresExamined(t *testing.T, pg *realtest.Postgres) {
	port := strconv.Itoa(pg.Port)
	pg.CreateDatabase(t, "examined")
	pg.SQL(t, "examined", `
		CREATE ROLE reader LOGIN; CREATE ROLE reader_of_rows LOGIN;
		CREATE SCHEMA closed; CREATE TABLE closed."Odd name" (n int); CREATE TABLE open (n serial); CREATE TABLE rows_of_others (n int);
		GRANT SELECT ON ALL TABLES IN SCHEMA public TO reader_of_rows; GRANT SELECT ON ALL SEQUENCES IN SCHEMA public TO reader_of_rows;
		GRANT USAGE ON SCHEMA closed TO reader_of_rows; GRANT SELECT ON ALL TABLES IN SCHEMA closed TO reader_of_rows;`)
	socket := func(user, database string) string {
		return "host=" + pg.Dir + " port=" + port + " user=" + user + " dbname=" + database
	}
	for _, c := range []struct {
		name, dsn string
		level     backup.Level
		want      []string
	}{
		{"all well", pg.DSN("examined"), backup.LevelOK, []string{"PostgreSQL ", "pg_dump ", "may read all tables"}},
		{"rights that suffice", socket("reader_of_rows", "examined"), backup.LevelNote, []string{"may read all tables", "may not create databases"}},
		{"no rights", socket("reader", "examined"), backup.LevelError, []string{`closed."Odd name"`, "public.open", "pg_read_all_data"}},
		{"wrong password", "postgres://postgres:canary@127.0.0.1:" + port + "/examined", backup.LevelError, []string{"refuses the password"}},
		{"server gone", "postgres://postgres:canary@127.0.0.1:1/examined", backup.LevelError, []string{"nobody listens there"}},
		{"no database", pg.DSN("nosuch"), backup.LevelError, []string{"does not exist"}},
	} {
		t.Run(c.name, func(t *testing.T) { pgExamined(t, pg, pgSource(t, c.dsn), c.level, c.want...) })
	}
	t.Run("rows that are hidden", func(t *testing.T) {
		pg.SQL(t, "examined", "ALTER TABLE rows_of_others ENABLE ROW LEVEL SECURITY")
		pgExamined(t, pg, pgSource(t, socket("reader_of_rows", "examined")), backup.LevelError, "public.rows_of_others", "BYPASSRLS")
		if _, err := pgSource(t, socket("reader_of_rows", "examined")).Dump(t.Context(), backup.Part{}, &countingWriter{}, dumptest.Task(t)); err == nil {
			t.Error("pg_dump does not mind")
		}
	})
	t.Run("large objects", func(t *testing.T) { // which pg_read_all_data does not reach
		object := strings.TrimSpace(pg.SQL(t, "examined", "CREATE ROLE reader_of_all LOGIN; GRANT pg_read_all_data TO reader_of_all; ALTER TABLE rows_of_others DISABLE ROW LEVEL SECURITY; SELECT lo_from_bytea(0, 'x')"))
		p := pgSource(t, socket("reader_of_all", "examined"))
		pgExamined(t, pg, p, backup.LevelError, "large object "+object, "GRANT SELECT ON LARGE OBJECT")
		if _, err := p.Dump(t.Context(), backup.Part{}, &countingWriter{}, dumptest.Task(t)); err == nil || !strings.Contains(err.Error(), "does not reach them") {
			t.Errorf("error = %v", err)
		}
		pg.SQL(t, "examined", "GRANT SELECT ON LARGE OBJECT "+object+" TO reader_of_all")
		pgExamined(t, pg, p, backup.LevelNote, "may read all tables")
	})
	t.Run("no programs", func(t *testing.T) {
		t.Setenv("PATH", onlyPrograms(t))
		p := pgSource(t, pg.DSN("examined"))
		p.layouts = []string{}
		pgExamined(t, pg, p, backup.LevelError, "pg_dump is not installed", "postgresql-client")
	})
	t.Run("old programs", func(t *testing.T) {
		layout := fakePrograms(t, pg, "9.6.24", "exit 1", "exit 1")
		t.Setenv("PATH", onlyPrograms(t, "sh"))
		p := pgSource(t, pg.DSN("examined"))
		p.layouts = []string{layout}
		pgExamined(t, pg, p, backup.LevelError, "older than the server")
	})
}

func pgExamined(t *testing.T, pg *realtest.Postgres, p *Postgres, level backup.Level, want ...string) {
	t.Helper()
	text, got := examined(t, p)
	if got != level {
		t.Errorf("%s, want %s:\n%s", got, level, text)
	}
	for _, w := range want {
		if !strings.Contains(text, w) {
			t.Errorf("it does not say %q:\n%s", w, text)
		}
	}
	if strings.Contains(text, pg.Password) || strings.Contains(text, "canary") {
		t.Errorf("the password is told:\n%s", text)
	}
}
