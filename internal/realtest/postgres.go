package realtest

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// Postgres is a private PostgreSQL server: data and socket in a folder of its own, loopback only, without fsync. Its
// superuser is postgres. Over TCP it asks for Password, over the socket for nothing.
type Postgres struct {
	server
	Bin      string // folder of the programs of the server's own version
	Dir      string // holds the socket
	Port     int
	Password string
}

// StartPostgres starts a server and has it stopped when the test ends. As root, the server runs as user postgres. It
// takes about two seconds: share one among subtests. Settings are those of postgresql.conf: "wal_level=logical".
func StartPostgres(t testing.TB, settings ...string) *Postgres {
	t.Helper()
	p := &Postgres{Bin: postgresBin(t), Password: "not-a-secret-" + rand.Text()} // no other server's, so that it can be searched for
	// Not t.TempDir: user postgres could not enter it, and a socket's path must be short.
	dir, err := os.MkdirTemp("", "pg")
	if err != nil {
		t.Fatal(err)
	}
	p.Dir = dir
	t.Cleanup(func() { os.RemoveAll(dir) })
	cred := credential(t, "postgres", dir)
	p.initdb(t, cred)
	p.Port = FreePort(t)
	args := []string{"-D", filepath.Join(dir, "data"), "-k", dir, "-p", strconv.Itoa(p.Port)}
	for _, s := range append([]string{"listen_addresses=127.0.0.1", "fsync=off", "full_page_writes=off", "max_connections=40"}, settings...) {
		args = append(args, "-c", s)
	}
	// SIGINT is its fast shutdown.
	p.start(t, exec.Command(filepath.Join(p.Bin, "postgres"), args...), dir, cred, syscall.SIGINT, func() bool {
		out, err := exec.Command(p.Program("pg_isready"), "-q", "-h", dir, "-p", strconv.Itoa(p.Port)).CombinedOutput()
		return err == nil && len(out) == 0
	})
	return p
}

// postgresBin finds the newest server that is installed.
func postgresBin(t testing.TB) string {
	t.Helper()
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/initdb")
	version := func(path string) int {
		n, _ := strconv.Atoi(filepath.Base(filepath.Dir(filepath.Dir(path))))
		return n
	}
	slices.SortFunc(found, func(a, b string) int { return version(b) - version(a) })
	if len(found) > 0 {
		return filepath.Dir(found[0])
	}
	return filepath.Dir(Need(t, "initdb"))
}

func (p *Postgres) initdb(t testing.TB, cred *syscall.Credential) {
	t.Helper()
	pwfile := filepath.Join(p.Dir, "pw")
	err := os.WriteFile(pwfile, []byte(p.Password), 0o644)
	if err == nil {
		err = os.Chmod(pwfile, 0o644) // whatever our umask is: the server's user reads it
	}
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(filepath.Join(p.Bin, "initdb"), "--pgdata="+filepath.Join(p.Dir, "data"), "--username=postgres",
		"--pwfile="+pwfile, "--auth-local=trust", "--auth-host=scram-sha-256", "--encoding=UTF8", "--locale=C.UTF-8",
		"--no-sync")
	cmd.Dir = p.Dir
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: cred}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("initdb: %v\n%s", err, out)
	}
}

// Program is the path of a client program of the server's version: "psql", "pg_dump".
func (p *Postgres) Program(name string) string { return filepath.Join(p.Bin, name) }

// DSN is the URL of a database over TCP, with the superuser's password in it.
func (p *Postgres) DSN(database string) string {
	u := url.URL{
		Scheme: "postgres", User: url.UserPassword("postgres", p.Password),
		Host: net.JoinHostPort("127.0.0.1", strconv.Itoa(p.Port)), Path: "/" + database,
	}
	return u.String()
}

// SocketDSN is the same over the socket, without a password.
func (p *Postgres) SocketDSN(database string) string {
	escape := strings.NewReplacer(`\`, `\\`, `'`, `\'`)
	return fmt.Sprintf("host=%s port=%d user=postgres dbname='%s'", p.Dir, p.Port, escape.Replace(database))
}

// SQL runs a script in a database, stopping at the first error, which fails the test, and returns the rows that it
// printed, columns separated by tabs.
func (p *Postgres) SQL(t testing.TB, database, script string) string {
	t.Helper()
	out, err := p.TrySQL(t.Context(), database, script)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// TrySQL is SQL that returns the error.
func (p *Postgres) TrySQL(ctx context.Context, database, script string) (string, error) {
	cmd := exec.CommandContext(ctx, p.Program("psql"), "-X", "-q", "-A", "-t", "-F", "\t", "-v", "ON_ERROR_STOP=1",
		"-d", p.SocketDSN(database), "-f", "-")
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "PGOPTIONS=--client-min-messages=warning"}
	cmd.Stdin = strings.NewReader(script)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("psql %s: %w: %s", database, err, strings.TrimSpace(stderr.String()))
	}
	return stdout.String(), nil
}

// CreateDatabase makes an empty database.
func (p *Postgres) CreateDatabase(t testing.TB, name string) {
	t.Helper()
	p.SQL(t, "postgres", "CREATE DATABASE "+quoteName(name)+" TEMPLATE template0")
}

// LoadFile runs an SQL file in a database.
func (p *Postgres) LoadFile(t testing.TB, database, path string) {
	t.Helper()
	script, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	p.SQL(t, database, string(script))
}

// Digests gives for every table of a database, partitions and system tables left out, the row count and the MD5 of its
// rows in order: two databases with equal digests hold the same data.
func (p *Postgres) Digests(t testing.TB, database string) map[string]string {
	t.Helper()
	names := p.SQL(t, database, `SELECT quote_ident(schemaname) || '.' || quote_ident(tablename) FROM pg_tables
		WHERE schemaname NOT IN ('pg_catalog', 'information_schema') ORDER BY 1`)
	digests := map[string]string{}
	if names == "" {
		return digests
	}
	for _, name := range strings.Split(strings.TrimSuffix(names, "\n"), "\n") {
		digests[name] = strings.TrimSpace(p.SQL(t, database,
			`SELECT count(*), md5(coalesce(string_agg(r, E'\n' ORDER BY r COLLATE "C"), '')) FROM (SELECT x::text AS r FROM `+
				name+` AS x) AS rows`))
	}
	return digests
}

func quoteName(name string) string { return `"` + strings.ReplaceAll(name, `"`, `""`) + `"` }
