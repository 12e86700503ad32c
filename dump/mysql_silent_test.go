package dump

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddy-backup/caddy-backup/backup"
	"github.com/caddy-backup/caddy-backup/dump/dumptest"
	"github.com/caddy-backup/caddy-backup/internal/realtest"
)

// frost is a way to a server on which nothing is forwarded any more once it is frozen, and nothing closed either, as behind a
// firewall that has forgotten its connections.
type frost struct {
	net.Listener
	port   int
	frozen chan struct{}
	over   chan struct{}
	wait   sync.WaitGroup
}

func newFrost(t *testing.T, port int) *frost {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f := &frost{Listener: l, port: port, frozen: make(chan struct{}), over: make(chan struct{})}
	f.wait.Go(func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			f.wait.Go(func() { f.serve(client) })
		}
	})
	return f
}

func (f *frost) serve(client net.Conn) {
	defer client.Close()
	server, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", f.port))
	if err != nil {
		return
	}
	defer server.Close()
	f.wait.Go(func() {
		<-f.over
		client.Close()
		server.Close()
	})
	var both sync.WaitGroup
	forward := func(to, from net.Conn) {
		for p := make([]byte, 64<<10); ; {
			n, err := from.Read(p)
			select {
			case <-f.frozen:
				<-f.over
				return
			default:
			}
			_, failed := to.Write(p[:n])
			if err != nil || failed != nil {
				to.Close()
				from.Close()
				return
			}
		}
	}
	both.Go(func() { forward(client, server) })
	both.Go(func() { forward(server, client) })
	both.Wait()
}

// thaw closes all connections.
func (f *frost) thaw() {
	close(f.over)
	f.Close()
	f.wait.Wait()
}

// A network on which nothing moves any more, in the middle of whatever goes on, ends it with an error that says so. What is left
// behind then, since nobody can be told to take it away, goes with the next run that gets through.
func testMySQLSilent(t *testing.T, my *realtest.MariaDB) {
	direct := mySource(t, my.DSN("big"))
	stored, dump := dumped(t, direct)
	at := backup.Scratch{Name: backup.ScratchPrefix + "20261122t010203z_abcd_01234560"}
	half := func(f *frost) io.Reader { // of the dump, before everything freezes
		return io.MultiReader(bytes.NewReader(dump[:len(dump)/2]), readerFunc(func([]byte) (int, error) { close(f.frozen); return 0, io.EOF }), bytes.NewReader(dump[len(dump)/2:]))
	}
	for name, run := range map[string]func(*MySQL, *frost) error{
		"dump": func(m *MySQL, f *frost) error {
			var once sync.Once
			_, err := m.Dump(t.Context(), stored.Part, writerFunc(func(p []byte) (int, error) { once.Do(func() { close(f.frozen) }); return len(p), nil }), dumptest.Task(t))
			return err
		},
		"drill": func(m *MySQL, f *frost) error {
			_, err := m.Drill(t.Context(), stored, half(f), at, dumptest.Task(t))
			return err
		},
		"over": func(m *MySQL, f *frost) error {
			return m.Overwrite(t.Context(), stored, half(f), backup.Over{}, dumptest.Task(t))
		},
		"new": func(m *MySQL, f *frost) error {
			err := m.Restore(t.Context(), stored.Part, half(f), "silenced", dumptest.Task(t))
			if e := direct.Restore(t.Context(), stored.Part, bytes.NewReader(dump), "silenced", dumptest.Task(t)); !errors.Is(e, backup.ErrConflict) || !strings.Contains(e.Error(), "or KILL ") {
				t.Errorf("while the server believes that it goes on: %v", e)
			}
			return err
		},
	} {
		if name != "dump" && !realtest.Soak() {
			continue // they wait long for the server before they give up
		}
		t.Run(name, func(t *testing.T) {
			f := newFrost(t, my.Port)
			m := mySource(t, fmt.Sprintf("mysql://root:%s@%s/big?ssl_mode=disabled", my.Password, f.Addr()))
			m.silence = 300 * time.Millisecond
			start := time.Now()
			err := run(m, f)
			if err == nil || !strings.Contains(err.Error(), "has not answered for 300ms") || time.Since(start) > time.Minute {
				t.Errorf("after %s: %v", time.Since(start), err)
			}
			if name != "dump" && !strings.Contains(err.Error(), "left behind") {
				t.Errorf("it does not say what is left: %v", err)
			}
			f.thaw()
			untilAlone(t, my)
			if _, err := direct.Dump(t.Context(), stored.Part, io.Discard, dumptest.Task(t)); err != nil {
				t.Error("the next backup: ", err)
			}
			if err := direct.Restore(t.Context(), stored.Part, bytes.NewReader(dump), "silenced", dumptest.Task(t)); err != nil {
				t.Error("the next restore: ", err)
			}
			my.SQL(t, "", "DROP DATABASE silenced; DROP DATABASE IF EXISTS "+at.Name) // that of a drill is dropped by the next
			if left := my.SQL(t, "", "SHOW DATABASES LIKE 'caddy%'"); left != "" {
				t.Errorf("left behind: %s", left)
			}
		})
	}
}
