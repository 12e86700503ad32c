package integration

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/caddy-backup/caddy-backup/backup"
	"github.com/caddy-backup/caddy-backup/handler"
	"github.com/caddy-backup/caddy-backup/internal/realtest"
	"github.com/caddy-backup/caddy-backup/repo"
)

// child is a server as a process of its own, as systemd runs it.
type child struct {
	*testing.T
	dir   string
	site  string // address of a site with the page, open to everybody as a viewer
	admin *handler.Client
	log   lockedBuffer
	cmd   *exec.Cmd
}

// newChild makes the folder of a server with a job "hang", whose program has a child of its own, does not care for
// SIGTERM, and notes both processes in the file "pids", and a job "quick". Below /upstream/ the site is another server's.
func newChild(t *testing.T, upstream string) *child {
	c := &child{T: t, dir: t.TempDir(), site: freeAddress(t)}
	c.admin = adminAt(filepath.Join(c.dir, "admin.sock"))
	c.write("secret", canary+"\n")
	c.write("hang.sh", "trap '' TERM; sleep 600 & echo data; echo $$ $! >"+c.dir+"/pids.new; mv "+c.dir+"/pids.new "+c.dir+"/pids; wait\n")
	c.write("Caddyfile", fmt.Sprintf(`{
	admin unix/%[1]s/admin.sock
	auto_https off
	skip_install_trust
	backup {
		repository {
			storage %[1]s/repository
			password {file.%[1]s/secret}
		}
		job hang {
			source out command sh %[1]s/hang.sh
		}
		job quick {
			source out command echo data
		}
	}
}
http://%[2]s {
	bind 127.0.0.1
	handle /upstream/* {
		reverse_proxy %[3]s
	}
	handle {
		backup {
			insecure_no_auth
		}
	}
}
`, c.dir, c.site, upstream))
	t.Cleanup(func() {
		if c.cmd != nil {
			_ = c.cmd.Process.Kill()
			_ = c.cmd.Wait()
		}
		if t.Failed() {
			t.Logf("the server said:\n%s", c.log.String())
		}
		if strings.Contains(c.log.String(), canary) {
			t.Error("the server's log shows the password")
		}
	})
	return c
}

// adminAt is the API on the admin endpoint of a Caddy that listens at a socket.
func adminAt(socket string) *handler.Client {
	return &handler.Client{Base: "http://127.0.0.1/backup/", HTTP: &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", socket)
		},
		DisableKeepAlives: true,
	}}}
}

func (c *child) write(name, content string) {
	c.Helper()
	if err := os.WriteFile(filepath.Join(c.dir, name), []byte(content), 0o600); err != nil {
		c.Fatal(err)
	}
}

// start starts the server and waits until it answers.
func (c *child) start() {
	c.Helper()
	c.cmd = exec.Command("caddy", "run", "--config", filepath.Join(c.dir, "Caddyfile"))
	c.cmd.Env = append(os.Environ(), "HOME="+c.dir, "XDG_DATA_HOME="+c.dir, "XDG_CONFIG_HOME="+c.dir)
	c.cmd.Stdout, c.cmd.Stderr = &c.log, &c.log
	if err := c.cmd.Start(); err != nil {
		c.Fatal(err)
	}
	c.until("the server answers", func() bool {
		_, err := c.admin.Jobs(c.Context())
		return err == nil
	})
}

// end sends a signal and waits for the end of the server.
func (c *child) end(sig syscall.Signal) (took time.Duration) {
	c.Helper()
	began := time.Now()
	if err := c.cmd.Process.Signal(sig); err != nil {
		c.Fatal(err)
	}
	err := c.cmd.Wait()
	if exit, ok := errors.AsType[*exec.ExitError](err); err != nil && (!ok || sig != syscall.SIGKILL) {
		c.Errorf("the server ended with %v (%v)", err, exit)
	}
	c.cmd = nil
	return time.Since(began)
}

// hang starts the job that hangs and gives the processes that it made.
func (c *child) hang() (run backup.Run, pids []int) {
	c.Helper()
	if _, err := c.admin.InitRepository(c.Context(), ""); err != nil && !errors.Is(err, repo.ErrExists) {
		c.Fatal(err)
	}
	_ = os.Remove(filepath.Join(c.dir, "pids")) // of the last time
	run, err := c.admin.Backup(c.Context(), "hang")
	if err != nil {
		c.Fatal(err)
	}
	var text []byte
	c.until("the dump runs", func() bool {
		text, err = os.ReadFile(filepath.Join(c.dir, "pids"))
		return err == nil
	})
	for _, f := range strings.Fields(string(text)) {
		pid, err := strconv.Atoi(f)
		if err != nil {
			c.Fatal(err)
		}
		pids = append(pids, pid)
		c.Cleanup(func() {
			if alive(pid) {
				_ = syscall.Kill(pid, syscall.SIGKILL)
			}
		})
	}
	return run, pids
}

// enough is how long a server may take to end; systemd kills it after 5 s.
const enough = 4500 * time.Millisecond

// inTime has something tried until it took no longer than enough: a machine that has much else to do is slow at times, a server that
// is too slow is so each time. try tells how long it took.
func inTime(t *testing.T, try func() (took time.Duration)) {
	t.Helper()
	var all []time.Duration
	for len(all) < 5 {
		took := try()
		if all = append(all, took); took <= enough {
			return
		}
	}
	t.Errorf("it took %s; systemd kills the server after 5s", all)
}

// patience is how long a test waits for what must come, also on a machine that has much else to do.
const patience = 2 * time.Minute

func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !ok(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain until %s", what)
		}
	}
}

func (c *child) until(what string, ok func() bool) {
	c.Helper()
	until(c.T, what, ok)
}

// wantGone wants processes to have ended that were killed: they take a moment to vanish.
func wantGone(t *testing.T, pids ...int) {
	t.Helper()
	until(t, "the processes of the dump are gone", func() bool { return !alive(pids...) })
}

func (c *child) wantState(id string, want backup.State) {
	c.Helper()
	run, err := c.admin.Run(c.Context(), id)
	if err != nil || run.State != want {
		c.Errorf("the run is %s (%s), %v; want %s", run.State, run.Error, err, want)
	}
}

// wantGreen runs the quick job; nobody had to do anything before.
func (c *child) wantGreen() {
	c.Helper()
	run, err := c.admin.Backup(c.Context(), "quick")
	if err != nil {
		c.Fatal(err)
	}
	if run = finish(c.T, c.admin, run.ID); run.State != backup.StateOK {
		c.Errorf("the next run is %s: %s", run.State, run.Error)
	}
}

func (c *child) locks() int {
	c.Helper()
	entries, err := os.ReadDir(filepath.Join(c.dir, "repository", "locks"))
	if err != nil {
		c.Fatal(err)
	}
	return len(entries)
}

// restic has the real one read all that was written.
func (c *child) restic() {
	c.Helper()
	cmd := exec.Command("restic", "--no-cache", "-q", "-r", filepath.Join(c.dir, "repository"),
		"--password-file", filepath.Join(c.dir, "secret"), "check", "--read-data")
	if out, err := cmd.CombinedOutput(); err != nil {
		c.Errorf("restic check: %v\n%s", err, out)
	}
}

// alive reports whether one of the processes is there and no zombie.
func alive(pids ...int) bool {
	return slices.ContainsFunc(pids, func(pid int) bool {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		_, state, _ := bytes.Cut(stat, []byte(") "))
		return err == nil && !bytes.HasPrefix(state, []byte("Z"))
	})
}

// freeAddress is a loopback address that nobody listens at but who is told of it.
func freeAddress(t *testing.T) string {
	t.Helper()
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(realtest.FreePort(t)))
}

// lockedBuffer is a buffer that a process writes to while a test reads.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}
