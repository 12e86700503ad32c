package dump

import (
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/caddy-backup/caddy-backup/backup"
	"github.com/caddy-backup/caddy-backup/dump/dumptest"
	"github.com/caddy-backup/caddy-backup/internal/realtest"
)

// Whatever a password or the path of a socket is made of, and by whatever kind of address the server is reached, our connections
// and the dump program understand it the same way.
func testMySQLForms(t *testing.T, my *realtest.MariaDB) {
	var every strings.Builder
	for c := byte(' '); c < 0x7f; c++ {
		every.WriteByte(c)
	}
	every.WriteString("äü🦊 \t\\")
	port := strconv.Itoa(my.Port)
	short, err := os.MkdirTemp("", "f") // a socket's path is bounded
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(short) })
	folder := filepath.Join(short, `a "socket's" #folder; =ü%20\n[`)
	socket := filepath.Join(folder, "s ock")
	if err := os.Mkdir(folder, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(my.Socket(), socket); err != nil {
		t.Fatal(err)
	}
	my.SQL(t, "", "CREATE DATABASE `odd \"name's-#; ü%20`; CREATE TABLE `odd \"name's-#; ü%20`.a AS SELECT 1 AS i")
	database := `odd "name's-#; ü%20`
	for name, c := range map[string]struct{ user, password string }{
		"every character": {"every", every.String()}, "only quotes": {"quotes", `"'"`}, "ends in backslash": {"backslash", `x\`}, "looks like a comment": {"comment", "# x"},
		"looks encoded": {"encoded", "%41%zz+"}, "spaces": {"spaces", "  "}, "odd user": {`o'd"d @us\er#`, "x"},
	} {
		if !realtest.Soak() && name != "every character" {
			continue
		}
		quote := strings.NewReplacer(`\`, `\\`, `'`, `''`).Replace
		who := fmt.Sprintf("'%s'@'%%'", quote(c.user))
		my.SQL(t, "", fmt.Sprintf("CREATE USER %s IDENTIFIED BY '%s'; GRANT ALL ON *.* TO %[1]s", who, quote(c.password)))
		login := url.UserPassword(c.user, c.password).String()
		path := url.PathEscape(database)
		dsns := []string{
			"mysql://" + login + "@127.0.0.1:" + port + "/" + path,
			"mysql://" + login + "@localhost/" + path + "?socket=" + url.QueryEscape(socket),
			"mariadb://" + login + "@/" + path + "?unix_socket=" + url.QueryEscape(socket),
		}
		if os.Getenv("DUMP_TEST_IPV6") != "" {
			dsns = append(dsns, "mysql://"+login+"@[::1]:"+port+"/"+path, "mysql://"+login+"@[::1]:"+port+"/"+path+"?ssl_mode=required")
		}
		if !strings.ContainsAny(c.user, ":/@") {
			dsns = append(dsns, c.user+":"+c.password+"@tcp(127.0.0.1:"+port+")/"+path, c.user+":"+c.password+"@unix("+socket+")/"+path)
		}
		for _, dsn := range dsns {
			t.Setenv("DUMP_TEST_DSN", dsn)
			m := &MySQL{DSN: "{env.DUMP_TEST_DSN}"}
			if err := provision(m); err != nil {
				t.Errorf("%s: %s: %v", name, dsn, err)
				continue
			}
			facts, err := m.Dump(t.Context(), backup.Part{}, io.Discard, dumptest.Task(t))
			if err != nil || facts.Rows["a"] != 1 {
				t.Errorf("%s: %s: %+v, %s", name, dsn, facts.Rows, said(err))
			}
		}
		my.SQL(t, "", "DROP USER "+who)
	}
	my.SQL(t, "", "DROP DATABASE `odd \"name's-#; ü%20`")
}
