package dump

import (
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-backup/caddy-backup/backup"
	"github.com/caddy-backup/caddy-backup/backup/backuptest"
	"github.com/caddy-backup/caddy-backup/dump/dumptest"
	"github.com/caddy-backup/caddy-backup/internal/realtest"
)

// However a dump fails: no snapshot, one notification, nothing left behind, the password told nobody; and the next run is green
// without anybody's help. What users have for their own clients changes nothing.
func testMySQLRuns(t *testing.T, my *realtest.MariaDB) {
	home := t.TempDir()
	if err := os.WriteFile(filepath.Join(home, ".my.cnf"), []byte("[client]\nhost=nowhere.invalid\n[mysqldump]\nno-data\n[mariadb-dump]\nno-data\nwhere=1=0\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, value := range map[string]string{"HOME": home, "MYSQL_HOST": "nowhere.invalid", "MYSQL_PWD": "wrong", "MYSQL_TCP_PORT": "1", "MYSQL_HOME": home, "MYSQL_GROUP_SUFFIX": "x"} {
		t.Setenv(name, value)
	}
	m := mySource(t, my.DSN("big"))
	told := new(post)
	e := backuptest.New(t, func(c *backup.Config) {
		c.Notifiers = []backup.NamedNotifier{{Name: "ops", Kind: "post", Notifier: told}}
		c.Jobs[0].Notify = []backup.Subscription{{Notifiers: []string{"ops"}, On: []backup.Event{backup.EventFailure, backup.EventSuspect}, Output: true}}
		c.Jobs[0].Sources = []backup.NamedSource{{Name: "db", Kind: "mysql", Source: m}}
		c.Jobs[0].Timeout = 2 * time.Minute
	})
	first := e.Backed(t, "shop")
	if n := first.Manifest.Parts[0].Rows["a"]; n != 30000 {
		t.Errorf("%d rows", n)
	}
	whole, good := m.dsn, 1
	through := func(t *testing.T, after int64) string {
		u, err := url.Parse(whole)
		if err != nil {
			t.Fatal(err)
		}
		u.Host = net.JoinHostPort("127.0.0.1", strconv.Itoa(newCutter(t, my.Port, after, false).Addr().(*net.TCPAddr).Port))
		return u.String() + "?ssl_mode=disabled"
	}
	program := func(t *testing.T, script string) {
		dir := t.TempDir()
		for _, name := range myDumpers {
			if err := os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\nif [ \"$1\" = --version ]; then echo 'mysqldump  Ver 10.19 Distrib 10.11.19-MariaDB, for x'; exit; fi\n"+script), 0o755); err != nil {
				t.Fatal(err)
			}
		}
		t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	}
	for _, f := range []struct {
		name, want string
		arrange    func(t *testing.T)
		rare       bool // tried in long runs only
	}{
		{"wrong password", "correct user or password", func(*testing.T) { m.dsn = my.UserDSN("root", "canary-of-a-password", "big") }, false},
		{"connection reset", "", func(t *testing.T) { m.dsn = through(t, 2<<20) }, false},
		{"program missing", "is not installed", func(t *testing.T) { t.Setenv("PATH", t.TempDir()) }, true},
		{"prints and fails", "ended with status 1", func(t *testing.T) { program(t, "echo 'CREATE TABLE a (b int);'; exit 1") }, true},
		{"prints nothing", "cut off", func(t *testing.T) { program(t, "exit 0") }, true},
		{"altered meanwhile", "altered during the dump", func(t *testing.T) {
			program(t, "echo 'mariadb-dump: Error 1412: Table definition has changed, please retry transaction' >&2; exit 3")
		}, false},
		{"broken view", "cannot be read", func(t *testing.T) {
			my.SQL(t, "big", "CREATE TABLE gone (a int); CREATE VIEW broken AS SELECT * FROM gone; DROP TABLE gone")
		}, false},
	} {
		if f.rare && !realtest.Soak() {
			continue
		}
		t.Run(f.name, func(t *testing.T) {
			dumptest.NothingLeft(t)
			t.Run("fails", func(t *testing.T) {
				f.arrange(t)
				run := e.RunBackup(t, "shop")
				if run.State != backup.StateFailed || run.Snapshot != "" || !strings.Contains(run.Error+run.Output, f.want) {
					t.Errorf("%s: %s\n%s", run.State, run.Error, run.Output)
				}
				if list, err := e.Service.Snapshots(t.Context(), backup.SnapshotQuery{}); err != nil || list.Total != good {
					t.Errorf("%+v, %v", list, err)
				}
				mail := told.wait()
				if len(mail) != 1 || mail[0].Event != backup.EventFailure || mail[0].Run != run.ID {
					t.Errorf("notifications: %+v", mail)
				}
				for _, secret := range []string{my.Password, "canary-of-a-password"} {
					if strings.Contains(fmt.Sprintf("%+v %+v", run, mail), secret) {
						t.Errorf("%s is told: %+v", secret, run)
					}
				}
			})
			m.dsn, m.LockTimeout = whole, caddy.Duration(time.Second)
			my.TrySQL(t.Context(), "big", "DROP VIEW IF EXISTS broken")
			e.Backed(t, "shop")
			good++
		})
	}
}
