package dump

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/caddy-backup/caddy-backup/backup"
	"github.com/caddy-backup/caddy-backup/dump/dumptest"
	"github.com/caddy-backup/caddy-backup/internal/realtest"
)

// What is set for a role against forgotten sessions and careless statements does not keep its dumps from coming back; nor does what is
// set for a database, which is carried over.
func testPostgresLimits(t *testing.T, pg *realtest.Postgres) {
	pg.SQL(t, "postgres", `CREATE ROLE limited LOGIN CREATEDB; CREATE DATABASE limited OWNER limited;
		ALTER ROLE limited SET idle_session_timeout = '1min'; ALTER ROLE limited SET statement_timeout = '1min'; ALTER ROLE limited SET lock_timeout = '1min';
		ALTER ROLE limited SET default_transaction_read_only = on; ALTER DATABASE limited SET default_transaction_read_only = on;
		ALTER ROLE limited IN DATABASE limited SET work_mem = '5MB';
		ALTER DATABASE limited SET search_path = "$user", public`)
	pg.SQL(t, "limited", "SET default_transaction_read_only = off; CREATE TABLE a AS SELECT 1 AS n; ALTER TABLE a OWNER TO limited")
	p := pgSource(t, strings.Replace(pg.SocketDSN("limited"), "user=postgres", "user=limited", 1))
	db, err := newPgDatabase(p.dsn)
	if err != nil {
		t.Fatal(err)
	}
	b, err := db.begin(t.Context(), newBuildName(), dumptest.Task(t))
	if err != nil {
		t.Fatal(err)
	}
	defer b.close()
	set, err := pgColumn(t.Context(), b.conn, `SELECT format('%s=%s', name, setting) FROM pg_settings
		WHERE name ~ 'statement_timeout|idle.*session_timeout|^lock_timeout|transaction_read_only|search_path' ORDER BY 1`)
	want := []string{"default_transaction_read_only=off", "idle_in_transaction_session_timeout=0", "idle_session_timeout=0", "lock_timeout=0",
		"search_path=", "statement_timeout=0", "transaction_read_only=off"}
	if err != nil || !slices.Equal(set, want) {
		t.Errorf("settings %v, %v", set, err)
	}
	if filling, err := b.filling(t.Context()); err != nil || filling.words["options"] != "-c default_transaction_read_only=off -c idle_session_timeout=0" {
		t.Errorf("options %v, %v", filling, err)
	}
	live, err := b.live(t.Context())
	if err != nil || b.server.major >= 15 && !strings.HasSuffix(live.properties, " LOCALE_PROVIDER libc") { // else that of template0
		t.Errorf("properties %q, %v", live.properties, err)
	}
	testPostgresCarried(t, pg, p)
	// The owner may not take that role, and under it nothing could be set.
	pg.SQL(t, "postgres", "CREATE ROLE other; GRANT pg_read_all_data TO other; ALTER DATABASE limited SET role = other")
	testPostgresCarried(t, pg, pgSource(t, pg.DSN("limited")))
}

// testPostgresCarried replaces the database by what it is.
func testPostgresCarried(t *testing.T, pg *realtest.Postgres, p *Postgres) {
	t.Helper()
	state := func() string { return ofDatabase(t, pg, "limited") + pg.SQL(t, "limited", "RESET role; TABLE a") }
	was := state()
	dump, facts := pgDump(t, p, firstPart(t, p))
	if err := p.Overwrite(t.Context(), backup.Stored{Part: firstPart(t, p), Facts: facts}, bytes.NewReader(dump), backup.Over{}, dumptest.Task(t)); err != nil {
		t.Fatal(err)
	}
	if got := state(); got != was {
		t.Errorf("%s, want %s", got, was)
	}
}

// A transaction that waits for its second phase would keep the database from being replaced: that is known before, and forcing
// does not end it.
func testPostgresPrepared(t *testing.T, pg *realtest.Postgres) {
	pg.CreateDatabase(t, "prepared")
	pg.SQL(t, "prepared", "BEGIN; CREATE TABLE a (n int); PREPARE TRANSACTION 'it''s one'")
	defer pg.SQL(t, "prepared", "ROLLBACK PREPARED 'it''s one'")
	p := pgSource(t, pg.DSN("prepared"))
	err := p.Ready(t.Context(), backup.Stored{Part: firstPart(t, p)}, backup.Over{Force: true}, dumptest.Task(t))
	if !errors.Is(err, backup.ErrConflict) || !strings.Contains(err.Error(), "'it''s one'") {
		t.Errorf("error = %v", err)
	}
}

// Whoever is in the new database, such as a pooler that keeps a session of ours, does not keep it from getting its name.
func testPostgresPooled(t *testing.T, pg *realtest.Postgres) {
	p := pgSource(t, pg.DSN("the shop"))
	dump, _ := pgDump(t, p, firstPart(t, p))
	var kept *pgconn.PgConn
	half := io.MultiReader(bytes.NewReader(dump[:len(dump)-100]), readerFunc(func([]byte) (int, error) {
		kept = pgConnect(t, pg, buildings(t, pg)[0])
		return 0, io.EOF
	}), bytes.NewReader(dump[len(dump)-100:]))
	if err := p.Restore(t.Context(), backup.Part{}, half, "pooled", dumptest.Task(t)); err != nil {
		t.Error(err)
	}
	closePg(kept)
	pg.SQL(t, "postgres", "DROP DATABASE pooled")
}

// Somebody's template is one of all databases; one that takes no connections is told of.
func testPostgresLeftOut(t *testing.T, pg *realtest.Postgres) {
	pg.SQL(t, "postgres", "CREATE DATABASE pattern IS_TEMPLATE true; CREATE DATABASE closed ALLOW_CONNECTIONS false; CREATE DATABASE closed_too ALLOW_CONNECTIONS false")
	p := pgSource(t, pg.DSN("postgres"))
	p.AllDatabases, p.ExcludeDatabases = true, []string{"closed_*"}
	parts, err := p.Parts(t.Context(), "db")
	has := func(name string) bool {
		return slices.ContainsFunc(parts, func(part backup.Part) bool { return part.Name == name })
	}
	if err != nil || !has("db.pattern.dump") || has("db.closed.dump") || has("db.template1.dump") {
		t.Errorf("%v, %v", parts, err)
	}
	if text, _ := examined(t, p); !strings.Contains(text, "take no connections: closed") || strings.Contains(text, "closed_too") {
		t.Errorf("%s", text)
	}
	pg.SQL(t, "postgres", "ALTER DATABASE pattern IS_TEMPLATE false; DROP DATABASE closed")
	pg.SQL(t, "postgres", "DROP DATABASE closed_too")
	pg.SQL(t, "postgres", "DROP DATABASE pattern")
}

// The next backup takes away what a killed restore left, but nothing that somebody holds.
func testPostgresSwept(t *testing.T, pg *realtest.Postgres) {
	left, held := newBuildName(), newBuildName()
	pg.SQL(t, "postgres", "CREATE DATABASE "+left)
	pg.SQL(t, "postgres", "CREATE DATABASE "+held)
	conn := pgConnect(t, pg, "postgres")
	if _, err := pgValue(t.Context(), conn, "SELECT pg_advisory_lock(hashtext($1))::text", held); err != nil {
		t.Fatal(err)
	}
	p := pgSource(t, pg.DSN("the shop"))
	pgDump(t, p, firstPart(t, p))
	if pgExists(t, pg, left) || !pgExists(t, pg, held) {
		t.Errorf("there are %v", buildings(t, pg))
	}
	closePg(conn)
	pg.SQL(t, "postgres", "DROP DATABASE "+held)
}

// standbyOf starts a standby server of another one.
func standbyOf(t *testing.T, pg *realtest.Postgres) *realtest.Postgres {
	t.Helper()
	dir, err := os.MkdirTemp("", "standby")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	standby := &realtest.Postgres{Bin: pg.Bin, Dir: dir, Port: pg.Port, Password: pg.Password} // only its socket is used
	info, err := os.Stat(filepath.Join(pg.Dir, "data"))
	if err != nil {
		t.Fatal(err)
	}
	owner := info.Sys().(*syscall.Stat_t)
	if err := os.Chown(dir, int(owner.Uid), int(owner.Gid)); err != nil {
		t.Fatal(err)
	}
	as := func(program string, args ...string) *exec.Cmd {
		cmd := exec.Command(pg.Program(program), args...)
		cmd.Dir, cmd.SysProcAttr = dir, &syscall.SysProcAttr{Pdeathsig: syscall.SIGQUIT}
		if os.Geteuid() == 0 {
			cmd.SysProcAttr.Credential = &syscall.Credential{Uid: owner.Uid, Gid: owner.Gid}
		}
		return cmd
	}
	data := filepath.Join(dir, "data")
	from := fmt.Sprintf("host=%s port=%d user=postgres", pg.Dir, pg.Port)
	if out, err := as("pg_basebackup", "-D", data, "-R", "-c", "fast", "-d", from).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	server := as("postgres", "-D", data, "-k", dir, "-p", strconv.Itoa(pg.Port), "-c", "listen_addresses=", "-c", "max_connections=40",
		"-c", "max_prepared_transactions=2", "-c", "wal_level=logical", "-c", "max_locks_per_transaction=10")
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Process.Signal(syscall.SIGINT); server.Wait() })
	for range 600 {
		if _, err := standby.TrySQL(t.Context(), "postgres", "SELECT 1"); err == nil {
			return standby
		}
		time.Sleep(100 * time.Millisecond)
	}
	t.Fatal("the standby does not answer")
	return nil
}

// Of a standby dumps can be made, and what they cannot have is said; restores and drills are refused before anything is touched.
func testPostgresStandby(t *testing.T, pg *realtest.Postgres) {
	pg.CreateDatabase(t, "copied")
	left := newBuildName()
	pg.SQL(t, "postgres", "CREATE DATABASE "+left)
	pg.SQL(t, "copied", "CREATE TABLE a AS SELECT 1 AS n; CREATE UNLOGGED TABLE swift (id serial, n int); INSERT INTO swift (n) VALUES (1)")
	standby := standbyOf(t, pg)
	p := pgSource(t, standby.SocketDSN("copied"))
	dump, facts := pgDump(t, p, firstPart(t, p))
	if len(facts.Notes) != 1 || !strings.Contains(facts.Notes[0], "public.swift") || facts.Rows["public.a"] != 1 {
		t.Errorf("%+v", facts)
	}
	s := backup.Stored{Part: firstPart(t, p), Facts: facts}
	_, drillErr := p.Drill(t.Context(), s, bytes.NewReader(dump), backup.Scratch{Name: scratch}, dumptest.Task(t))
	for _, err := range []error{drillErr, p.Ready(t.Context(), s, backup.Over{}, dumptest.Task(t)),
		p.Restore(t.Context(), s.Part, bytes.NewReader(dump), "new", dumptest.Task(t))} {
		if !errors.Is(err, backup.ErrInvalid) || !strings.Contains(err.Error(), "is a standby") {
			t.Errorf("error = %v", err)
		}
	}
	if text, level := examined(t, p); level != backup.LevelNote || !strings.Contains(text, "is a standby") {
		t.Errorf("%s: %s", level, text)
	}
	pg.SQL(t, "postgres", "DROP DATABASE "+left)
}
