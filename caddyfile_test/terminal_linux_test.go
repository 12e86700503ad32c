package integration

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/caddy-backup/caddy-backup/internal/realtest"
	"github.com/caddy-backup/caddy-backup/repo"
	"github.com/caddy-backup/caddy-backup/storage"
)

// terminal is a pseudo terminal: what is typed on the one end is read at the other.
type terminal struct {
	user    *os.File // what a person sees and types on
	program *os.File
	seen    lockedBuffer
	over    chan struct{} // closed when nobody can write to the person any more, and all is seen
}

func newTerminal(t *testing.T) *terminal {
	t.Helper()
	user, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(int(user.Fd()), unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(int(user.Fd()), unix.TIOCSPTLCK, 0)
	}
	if err != nil {
		t.Fatal(err)
	}
	program, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	term := &terminal{user: user, program: program, over: make(chan struct{})}
	go func() {
		defer close(term.over)
		io.Copy(&term.seen, user) // until the other end is closed
	}()
	t.Cleanup(func() { program.Close(); user.Close() })
	return term
}

// answer waits for a question behind which nothing that is typed is shown, and types.
func (x *terminal) answer(t *testing.T, question, text string) {
	t.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(5 * time.Millisecond) {
		state, err := unix.IoctlGetTermios(int(x.program.Fd()), unix.TCGETS)
		if err == nil && state.Lflag&unix.ECHO == 0 && strings.HasSuffix(x.seen.String(), question) {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("no %q, but %q", question, x.seen.String())
		}
	}
	if _, err := io.WriteString(x.user, text+"\n"); err != nil {
		t.Fatal(err)
	}
}

// TestPasswordOnTheTerminal types a new password, twice: it is not shown, and nobody can read it in a process.
func TestPasswordOnTheTerminal(t *testing.T) {
	dir := t.TempDir()
	st := storage.NewLocal(filepath.Join(dir, "repository"))
	if _, err := repo.Init(t.Context(), st, []byte("old"), repo.Options{KDF: repo.KDF{N: 16, R: 1, P: 1}}); err != nil {
		t.Fatal(err)
	}
	config := filepath.Join(dir, "Caddyfile")
	text := fmt.Sprintf("{\n\tbackup {\n\t\trepository {\n\t\t\tstorage %s/repository\n\t\t\tpassword old\n\t\t}\n\t\tjob x {\n\t\t\tsource x command echo x\n\t\t}\n\t}\n}\n", dir)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	secret := "canary-" + rand.Text() // which nobody else on this machine has
	passwd := func(typed ...string) (shown string, err error) {
		x := newTerminal(t)
		cmd := exec.Command("caddy", "backup", "key", "passwd", "--standalone", "-c", config, "-a", "caddyfile")
		cmd.Env = append(os.Environ(), "XDG_DATA_HOME="+dir, "XDG_CONFIG_HOME="+dir, "HOME="+dir)
		cmd.Stdin, cmd.Stdout, cmd.Stderr = x.program, x.program, x.program
		cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		x.answer(t, "New password: ", typed[0])
		x.answer(t, "Once more: ", typed[1])
		ended := make(chan error, 1)
		go func() { ended <- cmd.Wait() }()
		for {
			if found := realtest.Leftovers(secret); len(found) > 0 {
				t.Errorf("the password can be read in %v", found)
			}
			select {
			case err := <-ended:
				x.program.Close()
				<-x.over
				return x.seen.String(), err
			case <-time.After(20 * time.Millisecond):
			}
		}
	}
	shown, err := passwd(secret, secret+"x")
	if err == nil || !strings.Contains(shown, "differ") {
		t.Errorf("two passwords: %v, %s", err, shown)
	}
	shown, err = passwd(secret, secret)
	if err != nil || !strings.Contains(shown, "the password was changed") {
		t.Errorf("%v, %s", err, shown)
	}
	if strings.Contains(shown, secret) {
		t.Error("the password is shown")
	}
	if _, err := repo.Open(t.Context(), st, []byte(secret), repo.Options{}); err != nil {
		t.Error(err)
	}
	err = filepath.WalkDir(dir, func(path string, e os.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return err
		}
		data, err := os.ReadFile(path)
		if bytes.Contains(data, []byte(secret)) {
			t.Errorf("%s has the password in it", path)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}
