package dump

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-backup/caddy-backup/backup"
	"github.com/caddy-backup/caddy-backup/backup/backuptest"
	"github.com/caddy-backup/caddy-backup/dump/dumptest"
	"github.com/caddy-backup/caddy-backup/internal/realtest"
	"github.com/caddy-backup/caddy-backup/storage"
)

// pgFault is a way for a dump to fail: it is arranged, and taken back.
type pgFault struct {
	name    string
	arrange func(t *testing.T, p *Postgres) (undo func())
	want    string // in the error of the run, or in what the program said
}

// pgFaults are all that can be had of a real server, a network, a disk and programs.
func pgFaults(pg *realtest.Postgres, repository string) []pgFault {
	program := func(name, version, body, want string) pgFault {
		return pgFault{name, func(t *testing.T, p *Postgres) func() {
			p.Programs = fakePrograms(t, pg, version, body, `exec "$REAL/pg_restore" "$@"`)
			return func() { p.Programs = "" }
		}, want}
	}
	through := func(name string, silent bool, want string) pgFault {
		return pgFault{name, func(t *testing.T, p *Postgres) func() {
			dsn, err := url.Parse(pg.DSN("big"))
			if err != nil {
				t.Fatal(err)
			}
			old := p.dsn
			dsn.Host = newCutter(t, pg.Port, 2<<20, silent).Addr().String()
			p.dsn = dsn.String() + "?sslmode=disable"
			return func() { p.dsn = old }
		}, want}
	}
	return []pgFault{
		{"server crashes", func(t *testing.T, p *Postgres) func() {
			p.Programs = fakePrograms(t, pg, "99.1", `"$REAL/pg_dump" "$@" | { while [ ! -e "$HERE/crashed" ]; do sleep 0.05; done; cat; }; exit 1`, `exec "$REAL/pg_restore" "$@"`)
			crashed, done := filepath.Join(p.Programs, "crashed"), make(chan struct{})
			go func() {
				defer close(done)
				defer os.Mkdir(crashed, 0o700) // no file, which a program that starts now could hold open
				for range 1000 {
					pid, _ := pg.TrySQL(context.Background(), "postgres", "SELECT pid FROM pg_stat_activity WHERE query LIKE 'COPY public.a %'")
					if n, err := strconv.Atoi(strings.TrimSpace(pid)); err == nil {
						syscall.Kill(n, syscall.SIGKILL) // of which the whole server restarts
						return
					}
				}
				t.Error("pg_dump was not seen")
			}()
			return func() {
				<-done
				p.Programs = ""
				for range 2400 {
					if _, err := pg.TrySQL(t.Context(), "postgres", "SELECT 1"); err == nil {
						return
					}
					time.Sleep(50 * time.Millisecond)
				}
			}
		}, "pg_dump ended with status 1"},
		through("connection reset", false, "pg_dump ended with status 1"),
		through("connection silent", true, "timed out after"),
		{"wrong password", func(t *testing.T, p *Postgres) func() {
			old := p.dsn
			p.dsn = strings.Replace(old, pg.Password, "canary-of-a-password", 1)
			return func() { p.dsn = old }
		}, "refuses the password of user postgres"},
		{"locked", func(t *testing.T, p *Postgres) func() {
			conn := pgConnect(t, pg, "big")
			if err := conn.Exec(t.Context(), "BEGIN; LOCK TABLE a IN ACCESS EXCLUSIVE MODE").Close(); err != nil {
				t.Fatal(err)
			}
			p.LockTimeout = caddy.Duration(200 * time.Millisecond)
			return func() { closePg(conn) }
		}, "longer lock_timeout"},
		{"disk full", func(t *testing.T, p *Postgres) func() {
			filler := fill(t, repository, 0)
			return func() { os.Remove(filler) }
		}, "no space left"},
		{"client missing", func(t *testing.T, p *Postgres) func() {
			p.Programs = t.TempDir()
			return func() { p.Programs = "" }
		}, "no pg_dump in"},
		program("client older", "9.6.24", "exit 1", "older than the server"),
		program("prints and fails", "99.1", `"$REAL/pg_dump" "$@"; exit 1`, "pg_dump ended with status 1"),
		program("hangs", "99.1", `"$REAL/pg_dump" "$@" | head -c 100000; trap '' TERM; while :; do sleep 60; done`, "timed out after"),
		program("prints nothing", "99.1", "exit 0", "the archive is not whole"),
	}
}

// fill fills a disk with a file, all but some bytes.
func fill(t *testing.T, disk string, free int64) (filler string) {
	t.Helper()
	filler = filepath.Join(disk, "filler")
	f, err := os.Create(filler)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	n, err := io.Copy(f, readerFunc(func(p []byte) (int, error) { return len(p), nil }))
	if !errors.Is(err, syscall.ENOSPC) {
		t.Fatal(err)
	}
	if err := f.Truncate(max(0, n-free)); err != nil {
		t.Fatal(err)
	}
	return filler
}

// However a dump fails: no snapshot, one notification, nothing left behind, the password told nobody; and the next run is
// green without anybody's help.
func testPostgresRuns(t *testing.T, pg *realtest.Postgres) {
	p := pgSource(t, pg.DSN("big"))
	told := new(post)
	disk := realtest.SmallDisk(t, 48)
	local := storage.NewLocal(filepath.Join(disk, "repository"))
	backuptest.InitCheaply(t, local)
	e := backuptest.New(t, func(c *backup.Config) {
		c.Repositories[0].Storage = local
		c.Notifiers = []backup.NamedNotifier{{Name: "ops", Kind: "post", Notifier: told}}
		c.Jobs[0].Notify = []backup.Subscription{{Notifiers: []string{"ops"}, On: []backup.Event{backup.EventFailure, backup.EventSuspect}, Output: true}}
		c.Jobs[0].Sources = []backup.NamedSource{{Name: "db", Kind: "postgres", Source: p}}
		if realtest.Soak() {
			c.Jobs[0].Timeout = time.Minute // for what hangs
		}
	})
	e.Backed(t, "shop")
	good := 1
	for _, f := range pgFaults(pg, disk) {
		if !slices.Contains([]string{"server crashes", "disk full", "client older", "prints nothing"}, f.name) && !realtest.Soak() {
			continue // the dump alone meets them all; some wait for time to pass
		}
		t.Run(f.name, func(t *testing.T) {
			dumptest.NothingLeft(t)
			pg.SQL(t, "big", "UPDATE a SET text = md5(random()::text || i) || text WHERE i % 3 = 0") // something new to store
			undo := f.arrange(t, p)
			run := e.RunBackup(t, "shop")
			undo()
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
			text, _ := json.Marshal(mail)
			for _, secret := range []string{pg.Password, "canary-of-a-password"} {
				if strings.Contains(fmt.Sprintf("%+v %s", run, text), secret) {
					t.Errorf("%s is told: %+v", secret, run)
				}
			}
			if locks, _ := filepath.Glob(filepath.Join(disk, "repository", "locks", "*")); len(locks) > 0 {
				t.Errorf("locks: %v", locks)
			}
			p.LockTimeout = 0
			e.Backed(t, "shop")
			good++
		})
	}
}
