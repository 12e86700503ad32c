package dump

import (
	"bytes"
	"context"
	"errors"
	"io"
	"maps"
	"net"
	"net/url"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/caddy-backup/caddy-backup/backup"
	"github.com/caddy-backup/caddy-backup/dump/dumptest"
	"github.com/caddy-backup/caddy-backup/internal/realtest"
)

// pgbench moves money between accounts, tellers and branches as fast as it can; in every dump the sums agree.
func testPostgresBench(t *testing.T, pg *realtest.Postgres) {
	pg.CreateDatabase(t, "bench")
	bench := func(args ...string) *exec.Cmd {
		args = append(args, "-h", pg.Dir, "-p", strconv.Itoa(pg.Port), "-U", "postgres", "bench")
		return exec.CommandContext(t.Context(), pg.Program("pgbench"), args...)
	}
	if out, err := bench("-i", "-q", "--foreign-keys").CombinedOutput(); err != nil {
		t.Fatal(err, string(out))
	}
	rounds := 2
	if realtest.Soak() {
		rounds = 20
	}
	load := bench("-c", "4", "-T", "3600") // as long as we dump
	var said bytes.Buffer
	load.Stdout, load.Stderr = &said, &said
	if err := load.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- load.Wait() }()
	eventually(t, pg, "bench", "SELECT count(*) > 0 FROM pgbench_history", "t")
	history := int64(-1)
	for _, format := range []string{formatCustom, formatPlain} {
		for range (rounds + 1) / 2 {
			p := pgSource(t, pg.DSN("bench"))
			part := backup.Part{}
			if p.Format = format; format == formatPlain { // as one of all
				p.AllDatabases, part.Name = true, "db.bench.sql"
			}
			dump, facts := pgDump(t, p, part)
			if format == formatCustom || realtest.Soak() {
				bothDrilled(t, p, part, dump, facts)
			}
			if err := p.Restore(t.Context(), part, bytes.NewReader(dump), "bench again", dumptest.Task(t)); err != nil {
				t.Fatal(err)
			}
			sums := pg.SQL(t, "bench again", `SELECT (SELECT sum(abalance) FROM pgbench_accounts), (SELECT sum(tbalance) FROM pgbench_tellers),
				(SELECT sum(bbalance) FROM pgbench_branches), (SELECT coalesce(sum(delta), 0) FROM pgbench_history), (SELECT count(*) FROM pgbench_history)`)
			f := strings.Fields(sums)
			if len(f) != 5 || f[0] != f[1] || f[1] != f[2] || f[2] != f[3] || f[4] != strconv.FormatInt(facts.Rows["public.pgbench_history"], 10) {
				t.Errorf("%s: the dump is of no one moment: %s, rows %v", format, sums, facts.Rows)
			}
			history = max(history, facts.Rows["public.pgbench_history"])
			pg.SQL(t, "postgres", `DROP DATABASE "bench again"`)
		}
	}
	load.Process.Signal(syscall.SIGTERM)
	err := <-ended
	if exit, ok := errors.AsType[*exec.ExitError](err); !ok || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGTERM || history < 1 {
		t.Errorf("%v, %d transactions beside the dumps: %s", err, history, said.String())
	}
	eventually(t, pg, "postgres", "SELECT count(*) FROM pg_stat_activity WHERE datname = 'bench'", "0")
}

// bothDrilled tries a dump out twice at once.
func bothDrilled(t *testing.T, p *Postgres, part backup.Part, dump []byte, facts backup.Facts) {
	t.Helper()
	var wait sync.WaitGroup
	for _, end := range []string{"1", "2"} {
		wait.Go(func() {
			drilled, err := p.Drill(context.Background(), backup.Stored{Part: part, Facts: facts, Size: int64(len(dump))}, bytes.NewReader(dump),
				backup.Scratch{Name: scratch + end}, dumptest.Task(t))
			if err != nil || !maps.Equal(drilled.Rows, facts.Rows) {
				t.Errorf("drill: rows %v, want %v: %v: %s", drilled.Rows, facts.Rows, err, backup.OutputOf(err))
			}
		})
	}
	wait.Wait()
}

// cutter is a way to the server that breaks once so many bytes have come from it: reset, or silent for ever.
type cutter struct {
	net.Listener
	to     string
	after  int64
	silent bool
	wait   sync.WaitGroup
}

func newCutter(t *testing.T, port int, after int64, silent bool) *cutter {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c := &cutter{Listener: l, to: net.JoinHostPort("127.0.0.1", strconv.Itoa(port)), after: after, silent: silent}
	c.wait.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			c.wait.Go(func() { c.serve(conn.(*net.TCPConn)) })
		}
	})
	t.Cleanup(func() { l.Close(); c.wait.Wait() })
	return c
}

func (c *cutter) serve(client *net.TCPConn) {
	defer client.Close()
	server, err := net.Dial("tcp", c.to)
	if err != nil {
		return
	}
	defer server.Close()
	done := make(chan struct{})
	go func() { defer close(done); io.Copy(server, client); server.Close() }()
	n, _ := io.Copy(client, io.LimitReader(server, c.after))
	if n == c.after && c.silent {
		<-done // until the client gives up
		return
	}
	client.SetLinger(0) // a reset, not an end
	client.Close()
	<-done
}

// A connection that breaks, or on which nothing moves any more, in the middle of a dump is no backup.
func testPostgresCut(t *testing.T, pg *realtest.Postgres) {
	for _, format := range []string{formatCustom, formatPlain} {
		for _, silent := range []bool{false, true} {
			if silent && format == formatPlain && !realtest.Soak() {
				continue
			}
			t.Run(format+" silent "+strconv.FormatBool(silent), func(t *testing.T) {
				dsn, err := url.Parse(pg.DSN("big"))
				if err != nil {
					t.Fatal(err)
				}
				dsn.Host = newCutter(t, pg.Port, 2<<20, silent).Addr().String()
				p := pgSource(t, dsn.String()+"?sslmode=disable")
				p.Format = format
				dumptest.NothingLeft(t)
				ctx, cancel := context.WithTimeout(t.Context(), map[bool]time.Duration{true: time.Second, false: time.Minute}[silent])
				defer cancel()
				_, err = p.Dump(ctx, backup.Part{}, io.Discard, dumptest.Task(t))
				if err == nil || silent != errors.Is(err, context.DeadlineExceeded) || strings.Contains(err.Error()+backup.OutputOf(err), pg.Password) {
					t.Errorf("error = %v", err)
				}
			})
		}
	}
	pgDump(t, pgSource(t, pg.DSN("big")), backup.Part{}) // the next one is whole
}
