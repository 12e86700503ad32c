package dump

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/caddy-backup/caddy-backup/backup"
	"github.com/caddy-backup/caddy-backup/dump/dumptest"
	"github.com/caddy-backup/caddy-backup/internal/realtest"
)

// The password is nowhere to be read while the programs run, neither in arguments nor in environments, and is not in
// the JSON of the configuration.
func testPostgresSecrets(t *testing.T, pg *realtest.Postgres) {
	t.Setenv("PGPASSWORD", "canary-of-the-environment")
	for _, format := range []string{formatCustom, formatPlain} {
		testPostgresSecret(t, pg, format)
	}
}

func testPostgresSecret(t *testing.T, pg *realtest.Postgres, format string) {
	p := pgSource(t, pg.DSN("big"))
	p.Format = format
	looked := 0
	look := writerFunc(func(b []byte) (int, error) {
		if looked++; looked <= 3 {
			for _, secret := range []string{pg.Password, "canary-of-the-environment"} {
				if found := realtest.Leftovers(secret); len(found) > 0 {
					t.Errorf("%s can be read in %v", secret, found)
				}
			}
			if found := realtest.Leftovers("--no-password"); len(found) == 0 {
				t.Error("no program was seen; the test looks in the wrong place")
			}
		}
		return len(b), nil
	})
	var dump bytes.Buffer
	if _, err := p.Dump(t.Context(), backup.Part{}, io.MultiWriter(&dump, look), dumptest.Task(t)); err != nil {
		t.Fatal(err)
	}
	looked = 0
	seen := readerFunc(func([]byte) (int, error) { look(nil); return 0, io.EOF }) // in the middle
	half := dump.Len() / 2
	in := io.MultiReader(bytes.NewReader(dump.Bytes()[:half]), seen, bytes.NewReader(dump.Bytes()[half:]))
	if err := p.Restore(t.Context(), backup.Part{}, in, "secret", dumptest.Task(t)); err != nil {
		t.Fatal(err)
	}
	pg.SQL(t, "postgres", "DROP DATABASE secret")
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

// fakePrograms puts scripts in the place of pg_dump and pg_restore. In them, $REAL is the folder of the real ones, and $HERE their own.
func fakePrograms(t *testing.T, pg *realtest.Postgres, version, dump, restore string) (layout string) {
	t.Helper()
	dir := t.TempDir()
	for name, body := range map[string]string{"pg_dump": dump, "pg_restore": restore, "pg_dumpall": `exec "$REAL/pg_dumpall" "$@"`} {
		script := fmt.Sprintf("#!/bin/sh\nif [ \"$1\" = --version ]; then echo '%s (PostgreSQL) %s'; exit; fi\nREAL=%s\nHERE=%s\n%s\n",
			name, version, pg.Bin, dir, body)
		if err := os.WriteFile(filepath.Join(dir, name), []byte(script), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// onlyPrograms makes a folder for PATH in which nothing but these is found: no pg_dump of the system's.
func onlyPrograms(t *testing.T, names ...string) (dir string) {
	t.Helper()
	dir = t.TempDir()
	for _, name := range names {
		path, err := exec.LookPath(name)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(path, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func testPostgresFaultyPrograms(t *testing.T, pg *realtest.Postgres) {
	const real = `exec "$REAL/pg_restore" "$@"`
	for _, c := range []struct{ name, version, dump, restore, want string }{
		{"fails after output", "99.1", `"$REAL/pg_dump" "$@"; echo 'lost the server' >&2; exit 1`, real, "pg_dump ended with status 1\nlost the server"},
		{"prints nothing", "99.1", `exit 0`, real, "the archive is not whole: it is cut off in its beginning"},
		{"is cut off", "99.1", `"$REAL/pg_dump" "$@" | head -c 100000; kill -9 $$`, real, "pg_dump was killed by signal 9"},
		{"prints half", "99.1", `"$REAL/pg_dump" "$@" | head -c 100000`, real, "the archive is not whole: it is cut off in TABLE DATA "},
		{"loses a byte", "99.1", `"$REAL/pg_dump" "$@" | head -c -1`, real, "the archive is not whole: it is cut off in BLOBS"},
		{"hangs", "99.1", `trap '' TERM; : >"$HERE/begun"; while :; do sleep 60; done`, real, "was stopped: context deadline exceeded"},
		{"check fails at once", "99.1", `exec "$REAL/pg_dump" "$@"`, `echo 'no memory' >&2; exit 2`, "the archive is not whole: pg_restore ended with status 2\nno memory"},
		{"check does not read", "99.1", `exec "$REAL/pg_dump" "$@"`, `exit 0`, "the archive is not whole: the script is cut off"},
		{"check hangs", "99.1", `exec "$REAL/pg_dump" "$@"`, `: >"$HERE/begun"; sleep 60`, "was stopped: context deadline exceeded"},
		{"too old", "9.6.24", `exit 1`, `exit 1`, "is of version 9.6.24, older than the server (1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := pgSource(t, pg.DSN("the shop"))
			dir := fakePrograms(t, pg, c.version, c.dump, c.restore)
			dumptest.NothingLeft(t)
			t.Setenv("PATH", dir+":"+onlyPrograms(t, "sh", "head", "sleep"))
			p.layouts = []string{dir}
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			if strings.HasSuffix(c.name, "hangs") {
				ctx = stopWhen(t, filepath.Join(dir, "begun"))
			}
			began := time.Now()
			_, err := p.Dump(ctx, backup.Part{}, io.Discard, dumptest.Task(t))
			if err == nil || !strings.Contains(said(err), c.want) {
				t.Errorf("error = %s, want %q", said(err), c.want)
			}
			if d := time.Since(began); d > 40*time.Second {
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
		// The program makes a subscription in the new database, and then lets nobody in who could take it away.
		dir := fakePrograms(t, pg, "99.1", "exit 1", fmt.Sprintf(`for db; do :; done
%s -X -q "$db" -c "CREATE SUBSCRIPTION held CONNECTION 'host=/nowhere' PUBLICATION p WITH (connect = false)" \
	-c "UPDATE pg_database SET datallowconn = false WHERE datname = current_database()"
exit 1`, pg.Program("psql")))
		p := pgSource(t, pg.DSN("the shop"))
		p.layouts = []string{dir}
		t.Setenv("PATH", dir+":/nowhere")
		err := p.Restore(t.Context(), backup.Part{}, bytes.NewReader(b.Bytes()), "held", dumptest.Task(t))
		if err == nil || !strings.Contains(err.Error(), "database "+buildPrefix) || !strings.Contains(err.Error(), "is left behind on 127.0.0.1") || pgExists(t, pg, "held") {
			t.Errorf("error = %v", err)
		}
		pg.SQL(t, "postgres", "UPDATE pg_database SET datallowconn = true WHERE datname LIKE '"+buildPrefix+"%'")
		untilLetGo(t, pg)
		p = pgSource(t, pg.DSN("the shop"))
		if err := p.Restore(t.Context(), backup.Part{}, bytes.NewReader(b.Bytes()), "held", dumptest.Task(t)); err != nil {
			t.Error(err)
		}
		noBuildings(t, pg)
	})
}

// noBuildings fails the test when a database that is not done, or is there for a drill, is left behind.
func noBuildings(t *testing.T, pg *realtest.Postgres) {
	t.Helper()
	if left := pg.SQL(t, "postgres", "SELECT datname FROM pg_database WHERE datname ~ '^caddy_backup'"); left != "" {
		t.Errorf("left behind: %s", left)
	}
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
