package dump

import (
	"bytes"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/caddy-backup/caddy-backup/backup"
	"github.com/caddy-backup/caddy-backup/dump/dumptest"
	"github.com/caddy-backup/caddy-backup/internal/realtest"
)

// myCertificate gives the options with which a server shows a certificate for localhost, and the file of who vouches for it.
func myCertificate(t *testing.T) (options []string, root string) {
	t.Helper()
	dir, err := os.MkdirTemp("", "my-certificate") // the server's user must come through
	if err == nil {
		err = os.Chmod(dir, 0o755)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	certificate, secret := localhostCertificate(t)
	for name, block := range map[string]*pem.Block{"server.crt": certificate, "server.key": secret} {
		path := filepath.Join(dir, name)
		if err := errors.Join(os.WriteFile(path, pem.EncodeToMemory(block), 0o644), os.Chmod(path, 0o644)); err != nil { // whatever our umask is
			t.Fatal(err)
		}
	}
	root = filepath.Join(dir, "server.crt")
	return []string{"--ssl-cert=" + root, "--ssl-key=" + filepath.Join(dir, "server.key")}, root
}

// A server is believed only if who vouches for it is known, and where that is asked for, by the program that dumps too.
func testMySQLReach(t *testing.T, my *realtest.MariaDB) {
	root, port := os.Getenv("DUMP_TEST_ROOT"), strconv.Itoa(my.Port)
	certificate, _ := localhostCertificate(t)
	stranger := filepath.Join(t.TempDir(), "stranger.crt")
	if err := os.WriteFile(stranger, pem.EncodeToMemory(certificate), 0o644); err != nil {
		t.Fatal(err)
	}
	my.SQL(t, "", "CREATE USER secure@'127.0.0.1' IDENTIFIED BY 'x' REQUIRE SSL; GRANT ALL ON *.* TO secure@'127.0.0.1'")
	defer my.SQL(t, "", "DROP USER secure@'127.0.0.1'")
	for _, c := range []struct {
		address string
		refused bool
	}{
		{"localhost:" + port + "/big?ssl_ca=" + root, false},
		{"localhost:" + port + "/big?ssl_mode=verify_identity&ssl_ca=" + root, false},
		{"127.0.0.1:" + port + "/big?ssl_mode=required", false},
		{"127.0.0.1:" + port + "/big?ssl_ca=" + root, true}, // for which the certificate is not
		{"localhost:" + port + "/big?ssl_ca=" + stranger, true},
		{"localhost:" + port + "/big?ssl_mode=verify_identity", true},
		{"127.0.0.1:" + port + "/big?ssl_mode=disabled", true}, // the server wants it
	} {
		facts, err := mySource(t, "mysql://secure:x@"+c.address).Dump(t.Context(), backup.Part{}, io.Discard, dumptest.Task(t))
		if (err != nil) != c.refused || err == nil && facts.Rows["a"] != 30000 {
			t.Errorf("%s: %+v, %v", c.address, facts, err)
		}
	}
}

// untilAlone waits until the server has noticed that all connections of root's are gone, with what they held.
func untilAlone(t *testing.T, my *realtest.MariaDB) {
	t.Helper()
	eventually(t, my, "", "SELECT count(*) FROM information_schema.processlist WHERE user = 'root'", "1")
}

// A connection that breaks in the middle of a restore leaves nothing behind.
func testMySQLCut(t *testing.T, my *realtest.MariaDB) {
	m := mySource(t, my.DSN("big"))
	stored, dump := dumped(t, m)
	through := func(after int64) *MySQL {
		at := newCutter(t, my.Port, after, false).Addr().String()
		return mySource(t, fmt.Sprintf("mysql://root:%s@%s/big?ssl_mode=disabled", my.Password, at))
	}
	for name, restore := range map[string]func() error{
		"new": func() error {
			return through(700).Restore(t.Context(), stored.Part, bytes.NewReader(dump), "severed", dumptest.Task(t))
		},
		"over": func() error {
			return through(1600).Overwrite(t.Context(), stored, bytes.NewReader(dump), backup.Over{}, dumptest.Task(t))
		},
	} {
		start := time.Now()
		if err := restore(); err == nil || time.Since(start) > time.Minute {
			t.Errorf("%s: after %s: %v", name, time.Since(start), err)
		}
		untilAlone(t, my)
		if err := m.Restore(t.Context(), stored.Part, bytes.NewReader(dump), "severed", dumptest.Task(t)); err != nil {
			t.Errorf("again after %s: %v", name, err)
		}
		my.SQL(t, "", "DROP DATABASE severed")
		if err := m.SweepDrills(t.Context(), func(string) bool { return false }, dumptest.Task(t)); err != nil {
			t.Error(err)
		}
		if left := my.SQL(t, "", "SHOW DATABASES LIKE 'caddy%'"); left != "" {
			t.Error(left)
		}
	}
	if got := my.SQL(t, "big", "SELECT count(*) FROM a"); strings.TrimSpace(got) != "30000" {
		t.Error(got)
	}
}
