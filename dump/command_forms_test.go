package dump

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/caddy-backup/caddy-backup/backup"
	"github.com/caddy-backup/caddy-backup/dump/dumptest"
	"github.com/caddy-backup/caddy-backup/internal/realtest"
)

// redisCommand is the source as it is documented.
func redisCommand(t *testing.T, r *realtest.Redis, password string) *Command {
	t.Setenv("DUMP_TEST_REDIS", password)
	return configured(t, new(Command), fmt.Sprintf("command redis-cli -h 127.0.0.1 -p %d --rdb - {\n env REDISCLI_AUTH {env.DUMP_TEST_REDIS}\n file redis.rdb\n}", r.Port))
}

// TestCommandRedis dumps a Redis as the documentation says, and starts another on the dump.
func TestCommandRedis(t *testing.T) {
	r := realtest.StartRedis(t, t.TempDir())
	r.Fill(t, 20_000, 200)
	r.Do(t, "zadd", "scores", "1.5", "añe", "2", "bob")
	r.Do(t, "set", "session", "x", "EX", "5000")
	var out bytes.Buffer
	facts, err := redisCommand(t, r, r.Password).Dump(t.Context(), backup.Part{}, &out, dumptest.Task(t))
	if err != nil || facts.Checked != "exit status 0" {
		t.Fatalf("%+v, %v", facts, err)
	}
	again := r.Load(t, out.Bytes())
	for _, args := range [][]string{{"dbsize"}, {"get", "key:19999"}, {"zrange", "scores", "0", "-1", "withscores"}} {
		if got, want := again.Do(t, args...), r.Do(t, args...); got != want || got == "" {
			t.Errorf("%v: %q, want %q", args, got, want)
		}
	}
	if ttl, err := strconv.Atoi(again.Do(t, "ttl", "session")); err != nil || ttl < 4000 {
		t.Errorf("the session ends in %d s, %v", ttl, err)
	}
	check := exec.Command("redis-check-rdb", filepath.Join(again.Dir, realtest.RedisDump))
	if text, err := check.CombinedOutput(); err != nil || !strings.Contains(string(text), "RDB looks OK") {
		t.Errorf("%v\n%s", err, text)
	}
}

// TestCommandRedisFaults: a dump that is cut off, however the server sends it, is a failed one.
func TestCommandRedisFaults(t *testing.T) {
	for _, diskless := range []string{"yes", "no"} {
		if diskless == "no" && !realtest.Soak() {
			continue
		}
		t.Run("killed, diskless "+diskless, func(t *testing.T) {
			r := realtest.StartRedis(t, t.TempDir(), "--repl-diskless-sync", diskless)
			r.Fill(t, 40, 1<<20) // more than sockets and pipes hold
			killed := false
			cut := writerFunc(func(p []byte) (int, error) {
				if !killed {
					killed = true
					r.Stop(t)
				}
				return len(p), nil
			})
			_, err := redisCommand(t, r, r.Password).Dump(t.Context(), backup.Part{}, cut, dumptest.Task(t))
			if err == nil || !killed || !strings.Contains(said(err), "redis-cli ended with status 1") {
				t.Errorf("a cut dump: %s", said(err))
			}
		})
	}
	r := realtest.StartRedis(t, t.TempDir())
	if _, err := redisCommand(t, r, "canary").Dump(t.Context(), backup.Part{}, io.Discard, dumptest.Task(t)); err == nil || strings.Contains(said(err), "canary") {
		t.Errorf("a wrong password: %s", said(err))
	}
	c := redisCommand(t, r, r.Password)
	r.Stop(t)
	if _, err := c.Dump(t.Context(), backup.Part{}, io.Discard, dumptest.Task(t)); err == nil || !strings.Contains(said(err), "Could not connect") {
		t.Errorf("a dead server: %s", said(err))
	}
}

// containerExec stands in for `docker exec`: what it runs belongs to somebody else's session, out of reach of signals to the
// client, which passes its output on, ends with its status, and itself does not care for SIGTERM. It notes the inner process.
const containerExec = `trap '' TERM
mkfifo "$DIR/out"
setsid sh -c 'echo $$ >"$DIR/inner"; exec "$@"' inner "$@" >"$DIR/out" &
cat "$DIR/out"
wait $!
`

// TestCommandInContainer dumps through a client of a container's runtime.
func TestCommandInContainer(t *testing.T) {
	for _, c := range []struct {
		name, run string
		err       string
	}{
		{"ends well", "seq 100000", ""},
		{"fails inside", "seq 10; exit 3", "ended with status 3"},
		{"is killed inside", "seq 10; kill -9 $$", "ended with status 137"},
		{"takes too long", "touch $DIR/begun; yes row", "script was stopped: context deadline exceeded"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			m := configured(t, new(Command), "command "+shellScript(t, containerExec)+" sh -c `"+c.run+"` {\n env DIR "+dir+"\n}")
			lines := 0 // which may be many until it is stopped
			out := writerFunc(func(p []byte) (int, error) { lines += bytes.Count(p, []byte("\n")); return len(p), nil })
			_, err := m.Dump(stopWhen(t, filepath.Join(dir, "begun")), backup.Part{}, out, dumptest.Task(t))
			switch {
			case c.err == "" && (err != nil || lines != 100000):
				t.Errorf("%d lines, %s", lines, said(err))
			case c.err != "" && (err == nil || !strings.Contains(said(err), c.err)):
				t.Errorf("error = %s, want %q", said(err), c.err)
			}
			waitGone(t, filepath.Join(dir, "inner"))
		})
	}
}

// waitGone waits for the end of the process whose number is in a file: nobody takes its output any more.
func waitGone(t *testing.T, file string) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		t.Fatal(err)
	}
	for range 1200 {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil || strings.Contains(string(stat), ") Z ") {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	syscall.Kill(pid, syscall.SIGKILL)
	t.Error("the inner process lives on although nobody takes its output")
}
