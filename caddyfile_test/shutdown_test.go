package integration

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"syscall"
	"testing"
	"time"

	"github.com/caddy-backup/caddy-backup/backup"
)

// endsWithin is how long the server waits for its runs; what has not ended by then is left to the next start.
const endsWithin = 3 * time.Second

// TestTerminate: SIGTERM in the middle of a dump, with a page that follows it, ends everything in the time that systemd
// gives, and the next start knows what happened.
func TestTerminate(t *testing.T) {
	c := newChild(t, "127.0.0.1:1")
	c.start()
	inTime(t, func() (took time.Duration) {
		run, pids := c.hang()
		resp, err := http.Get("http://" + c.site + "/api/runs/" + run.ID + "/events")
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		if _, err := io.ReadAtLeast(resp.Body, make([]byte, 1), 1); err != nil || resp.StatusCode != http.StatusOK {
			t.Fatalf("no event stream: %s, %v", resp.Status, err)
		}

		took = c.end(syscall.SIGTERM)
		wantGone(t, pids...)
		if n := c.locks(); n != 0 && took >= endsWithin { // this machine was too slow for it
			took = max(took, enough+1)
		} else if n != 0 {
			t.Errorf("%d locks are left", n)
		}
		c.start()
		c.wantState(run.ID, backup.StateInterrupted)
		c.wantGreen()
		return took
	})
	c.end(syscall.SIGTERM)
	c.restic()
}

// TestTerminateBusy: a server that waits for its connections, by default for ever, has ended its runs long before.
func TestTerminateBusy(t *testing.T) {
	upstream, err := net.Listen("tcp", "127.0.0.1:0") // it never answers
	if err != nil {
		t.Fatal(err)
	}
	defer upstream.Close()
	_ = upstream.(*net.TCPListener).SetDeadline(time.Now().Add(5 * patience))
	c := newChild(t, upstream.Addr().String())
	c.start()
	inTime(t, func() (took time.Duration) {
		run, pids := c.hang()
		waiting, err := net.Dial("tcp", c.site)
		if err != nil {
			t.Fatal(err)
		}
		defer waiting.Close()
		fmt.Fprintf(waiting, "GET /upstream/ HTTP/1.1\r\nHost: %s\r\n\r\n", c.site)
		if _, err := upstream.Accept(); err != nil {
			t.Fatal(err)
		}

		began := time.Now()
		if err := c.cmd.Process.Signal(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		wantGone(t, pids...)
		for c.locks() > 0 && time.Since(began) < 2*enough { // a run that did not end in time leaves its lock to the next start
			time.Sleep(20 * time.Millisecond)
		}
		took = time.Since(began)
		if !alive(c.cmd.Process.Pid) {
			t.Error("the server has ended: this test shows nothing")
		}
		c.end(syscall.SIGKILL)
		c.start()
		c.wantState(run.ID, backup.StateInterrupted)
		c.wantGreen()
		return took
	})
	c.end(syscall.SIGTERM)
}

// TestKill: SIGKILL leaves a lock and processes behind; the next start removes exactly those, and nobody has to help.
func TestKill(t *testing.T) {
	c := newChild(t, "127.0.0.1:1")
	c.start()
	run, pids := c.hang()
	c.end(syscall.SIGKILL)
	if n := c.locks(); n == 0 {
		t.Fatal("the run had no lock")
	}

	c.start()
	c.wantState(run.ID, backup.StateInterrupted)
	wantGone(t, pids...)
	c.wantGreen()
	if n := c.locks(); n != 0 {
		t.Errorf("%d locks are left", n)
	}
	c.end(syscall.SIGTERM)
	c.restic()
}
