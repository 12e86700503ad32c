package realtest

import (
	"crypto/rand"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// Redis is a private Redis server: data and socket in a folder of its own, loopback only.
type Redis struct {
	server
	Dir      string
	Port     int
	Password string
}

// RedisDump is the file that a server loads when it starts, if it is in the folder that StartRedis is given.
const RedisDump = "dump.rdb"

// StartRedis starts a server on the data in a folder, with more options, and has it stopped when the test ends. It saves nothing
// by itself.
func StartRedis(t testing.TB, dir string, options ...string) *Redis {
	t.Helper()
	cli := Need(t, "redis-cli")
	// Debian's package of the server would start one; redis-check-rdb is the same program under another name.
	program := "/usr/bin/redis-check-rdb"
	if path, err := exec.LookPath("redis-server"); err == nil {
		program = path
	}
	r := &Redis{Dir: dir, Port: FreePort(t), Password: "not-a-secret-" + rand.Text()}
	cmd := exec.Command(program, append([]string{"--bind", "127.0.0.1", "--port", strconv.Itoa(r.Port), "--dir", dir, "--save", "",
		"--dbfilename", RedisDump, "--requirepass", r.Password,
		"--repl-diskless-sync-delay", "0", "--rdbcompression", "no", "--daemonize", "no"}, options...)...)
	cmd.Args[0] = "redis-server"
	r.start(t, cmd, dir, nil, syscall.SIGKILL, func() bool {
		cmd := exec.Command(cli, "-p", strconv.Itoa(r.Port), "ping")
		cmd.Env = []string{"REDISCLI_AUTH=" + r.Password}
		out, _ := cmd.Output()
		return strings.TrimSpace(string(out)) == "PONG"
	})
	return r
}

// Do runs a command and returns what it prints.
func (r *Redis) Do(t testing.TB, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "redis-cli", append([]string{"-p", strconv.Itoa(r.Port)}, args...)...)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "REDISCLI_AUTH=" + r.Password}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("redis-cli %v: %v\n%s", args, err, out)
	}
	return strings.TrimSpace(string(out))
}

// Load starts another server on a dump.
func (r *Redis) Load(t testing.TB, dump []byte, options ...string) *Redis {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, RedisDump), dump, 0o600); err != nil {
		t.Fatal(err)
	}
	return StartRedis(t, dir, options...)
}

// Fill stores so many keys, of so many bytes each.
func (r *Redis) Fill(t testing.TB, keys, size int) {
	t.Helper()
	script := fmt.Sprintf("for i=1,%d do redis.call('set','key:'..i, string.rep(tostring(math.random())..'#', %d):sub(1, %d)) end",
		keys, size/3+1, size)
	r.Do(t, "eval", script, "0")
}
