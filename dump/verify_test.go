package dump

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/caddy-backup/caddy-backup/backup"
	"github.com/caddy-backup/caddy-backup/dump/dumptest"
	"github.com/caddy-backup/caddy-backup/internal/realtest"
)

// verdict has a source judge a dump, and wants nothing to be left of that.
func verdict(t *testing.T, v backup.Verifier, r io.Reader) (facts backup.Facts, err error) {
	t.Helper()
	t.Run("verify", func(t *testing.T) {
		dumptest.NothingLeft(t)
		facts, err = v.Verify(t.Context(), backup.Part{Name: "db"}, r, dumptest.Task(t))
	})
	return facts, err
}

func wantVerdict(t *testing.T, v backup.Verifier, dump []byte, checked, fault string) {
	t.Helper()
	facts, err := verdict(t, v, bytes.NewReader(dump))
	if fault == "" && (err != nil || !strings.HasPrefix(facts.Checked, checked)) {
		t.Errorf("%+v, %v; want %s", facts, err, checked)
	}
	if fault != "" && (err == nil || !strings.Contains(err.Error(), fault)) {
		t.Errorf("%+v, %v; want an error with %q", facts, err, fault)
	}
}

func TestSQLiteVerify(t *testing.T) {
	path := filepath.Join(t.TempDir(), "db")
	makeDatabase(t, path, "PRAGMA journal_mode=WAL")
	s := sqliteSource(t, path)
	var b bytes.Buffer
	if _, err := s.Dump(t.Context(), backup.Part{}, &b, dumptest.Task(t)); err != nil {
		t.Fatal(err)
	}
	whole := b.Bytes()
	flipped := bytes.Clone(whole)
	for i := range 200 {
		flipped[8192+i] ^= 0x55
	}
	wantVerdict(t, s, whole, "integrity_check: ok", "")
	wantVerdict(t, s, whole[:len(whole)-1], "", "instead of")
	wantVerdict(t, s, whole[:len(whole)/2], "", " ")
	wantVerdict(t, s, flipped, "", " ")
	wantVerdict(t, s, nil, "", "it is no SQLite database")
	wantVerdict(t, s, []byte("PRAGMA foreign_keys=OFF;\nBEGIN TRANSACTION;\n"), "", "but a script: make a database of it first")
	if _, err := verdict(t, s, io.MultiReader(bytes.NewReader(whole[:5000]), iotest.ErrReader(os.ErrDeadlineExceeded))); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("a reader that fails: %v", err)
	}
}

// testPostgresVerify judges what pg_dump has written in its three forms that are one file, and pg_dumpall.
func testPostgresVerify(t *testing.T, pg *realtest.Postgres) {
	p := pgSource(t, pg.DSN("the shop"))
	run := func(name string, args ...string) []byte {
		t.Helper()
		var out bytes.Buffer
		if _, err := (program{path: pg.Program(name), args: args, env: environ()}).run(t.Context(), dumptest.Task(t), nil, &out); err != nil {
			t.Fatal(err)
		}
		return out.Bytes()
	}
	at := "--dbname=" + pg.SocketDSN("the shop")
	archive, tarred, script := run("pg_dump", "-Fc", at), run("pg_dump", "-Ft", at), run("pg_dump", at)
	const lastLine = "the script is cut off: it does not end with the line"
	wantVerdict(t, p, archive, "archive read to its end by pg_restore ", "")
	wantVerdict(t, p, archive[:len(archive)-1], "", "pg_restore")
	wantVerdict(t, p, archive[:len(archive)/2], "", "pg_restore")
	wantVerdict(t, p, tarred, "tar read to its end", "")
	wantVerdict(t, p, tarred[:len(tarred)/2], "", "the tar is not whole")
	wantVerdict(t, p, tarred[:len(tarred)-1], "", "the tar is")
	wantVerdict(t, p, tarred[:len(tarred)-1024], "", "the tar is cut off behind \"restore.sql\"")
	wantVerdict(t, p, script, "script of pg_dump with its last line", "")
	wantVerdict(t, p, bytes.ReplaceAll(script, []byte("\n"), []byte("\r\n")), "script of pg_dump with its last line", "")
	wantVerdict(t, p, script[:len(script)/2], "", lastLine)
	wantVerdict(t, p, script[:bytes.LastIndex(script, []byte("complete"))], "", lastLine)
	wantVerdict(t, p, run("pg_dumpall", "--dbname="+pg.SocketDSN("postgres")), "script of pg_dump with its last line", "")
	wantVerdict(t, p, []byte("insert into customer values (1);\n"), "", "neither an archive nor a script of pg_dump")
	wantVerdict(t, p, nil, "", "neither an archive nor a script of pg_dump")
}
