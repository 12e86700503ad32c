package realtest

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// MariaDB is a private MariaDB server: data and socket in a folder of its own, loopback only, without fsync. Its
// user root has Password over TCP and over the socket.
type MariaDB struct {
	server
	Dir      string // holds the socket
	Port     int
	Password string
	daemon   string
	options  []string
	cred     *syscall.Credential
}

// StartMariaDB starts a server and has it stopped when the test ends. As root, the server runs as user nobody. It takes
// about two seconds: share one among subtests. It gets more options after its own.
func StartMariaDB(t testing.TB, options ...string) *MariaDB {
	t.Helper()
	install, daemon := Need(t, "mariadb-install-db"), Need(t, "mariadbd")
	m := &MariaDB{Password: "not-a-secret-" + rand.Text()} // no other server's, so that it can be searched for
	dir, err := os.MkdirTemp("", "my")                     // not t.TempDir: another user could not enter it, and a socket's path must be short
	if err != nil {
		t.Fatal(err)
	}
	m.Dir = dir
	t.Cleanup(func() { os.RemoveAll(dir) })
	cred := credential(t, "nobody", dir)
	data := filepath.Join(dir, "data")
	// It leaves user root without a password.
	cmd := exec.Command(install, "--no-defaults", "--auth-root-authentication-method=normal", "--skip-test-db",
		"--skip-log-bin", "--innodb-flush-log-at-trx-commit=0", "--innodb-flush-method=nosync", "--innodb-log-file-size=16M", "--datadir="+data)
	cmd.Dir, cmd.SysProcAttr = dir, &syscall.SysProcAttr{Credential: cred}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("mariadb-install-db: %v\n%s", err, out)
	}
	m.Port = FreePort(t)
	m.daemon, m.cred = daemon, cred
	m.options = append([]string{"--no-defaults", "--datadir=" + data, "--socket=" + m.Socket(), "--port=" + strconv.Itoa(m.Port),
		"--bind-address=127.0.0.1", "--pid-file=" + filepath.Join(dir, "pid"), "--innodb-flush-log-at-trx-commit=0",
		"--innodb-buffer-pool-size=32M", "--innodb-log-file-size=16M", "--innodb-flush-method=nosync", "--skip-log-bin", "--sync-frm=0"}, options...)
	m.run(t, "")
	if _, err := m.try(t.Context(), "", "ALTER USER root@localhost IDENTIFIED BY '"+m.Password+"'", ""); err != nil {
		t.Fatal(err)
	}
	return m
}

// run starts the server in its folder, and waits until it lets root in.
func (m *MariaDB) run(t testing.TB, password string) {
	t.Helper()
	m.start(t, exec.Command(m.daemon, m.options...), m.Dir, m.cred, syscall.SIGTERM, func() bool {
		_, err := m.try(context.Background(), "", "SELECT 1", password)
		return err == nil
	})
}

// Start starts the server again after Crash or Stop; it is stopped when this test ends.
func (m *MariaDB) Start(t testing.TB) {
	t.Helper()
	m.run(t, m.Password)
}

// Socket is the path of the server's socket.
func (m *MariaDB) Socket() string { return filepath.Join(m.Dir, "sock") }

// DSN is the URL of a database over TCP, with root's password in it.
func (m *MariaDB) DSN(database string) string { return m.UserDSN("root", m.Password, database) }

// UserDSN is DSN for another user.
func (m *MariaDB) UserDSN(user, password, database string) string {
	u := url.URL{Scheme: "mysql", User: url.UserPassword(user, password), Host: "127.0.0.1:" + strconv.Itoa(m.Port), Path: "/" + database}
	return u.String()
}

// SQL runs a script as root, in a database or in none, which fails the test at its first error, and returns the rows that it
// printed, columns separated by tabs.
func (m *MariaDB) SQL(t testing.TB, database, script string) string {
	t.Helper()
	out, err := m.TrySQL(t.Context(), database, script)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// TrySQL is SQL that returns the error.
func (m *MariaDB) TrySQL(ctx context.Context, database, script string) (string, error) {
	return m.try(ctx, database, script, m.Password)
}

func (m *MariaDB) try(ctx context.Context, database, script, password string) (string, error) {
	cmd := exec.CommandContext(ctx, "mariadb", "--no-defaults", "--batch", "--raw", "--skip-column-names", "--user=root",
		"--socket="+m.Socket(), "--default-character-set=utf8mb4", "--database="+database)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "MYSQL_PWD=" + password}
	cmd.Stdin = strings.NewReader(script)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("mariadb %s: %w: %s", database, err, strings.TrimSpace(stderr.String()))
	}
	return stdout.String(), nil
}

// LoadFile runs an SQL file.
func (m *MariaDB) LoadFile(t testing.TB, database, path string) {
	t.Helper()
	script, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	m.SQL(t, database, string(script))
}

// Digests gives for every table of a database the row count and the MD5 of its rows in order: two databases with equal
// digests hold the same data.
func (m *MariaDB) Digests(t testing.TB, database string) map[string]string {
	t.Helper()
	columns := map[string][]string{}
	for line := range strings.Lines(m.SQL(t, "information_schema", "SELECT table_name, concat('ifnull(hex(`', replace(column_name, '`', '``'), '`),\"NULL\")') FROM columns "+
		"WHERE table_schema = "+myString(database)+" ORDER BY ordinal_position")) {
		name, column, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "\t")
		columns[name] = append(columns[name], column)
	}
	var names []string
	var script strings.Builder
	script.WriteString("SET group_concat_max_len = 1 << 30;\n")
	for line := range strings.Lines(m.SQL(t, "information_schema", "SELECT table_name FROM tables WHERE table_type IN ('BASE TABLE', 'SYSTEM VERSIONED') AND table_schema = "+myString(database))) {
		name := strings.TrimSuffix(line, "\n")
		names = append(names, name)
		fmt.Fprintf(&script, "SELECT count(*), md5(ifnull(group_concat(r ORDER BY r), '')) FROM (SELECT md5(concat_ws(',', %s)) AS r FROM `%s`) AS x;\n",
			strings.Join(columns[name], ", "), strings.ReplaceAll(name, "`", "``"))
	}
	digests := map[string]string{}
	for line := range strings.Lines(m.SQL(t, database, script.String())) {
		digests[names[len(digests)]] = strings.TrimSpace(line)
	}
	return digests
}

func myString(s string) string {
	return "'" + strings.NewReplacer(`\`, `\\`, `'`, `''`).Replace(s) + "'"
}
