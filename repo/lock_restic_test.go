package repo

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/caddy-backup/caddy-backup/internal/realtest"
)

// TestLocksWithRestic holds our locks while restic works, and restic's while we do.
func TestLocksWithRestic(t *testing.T) {
	if testing.Short() {
		t.Skip("one thing after the other: no races to be found")
	}
	realtest.Need(t, "restic")
	// restic sends us SIGHUP. Locks that other tests never gave back would have it on channels of bubbles that are gone.
	signal.Reset(syscall.SIGHUP)
	r, st := newTestRepo(t, Options{})
	source := t.TempDir()
	if err := os.WriteFile(filepath.Join(source, "file"), []byte("content"), 0o600); err != nil {
		t.Fatal(err)
	}
	restic := func(args ...string) error {
		_, err := realtest.TryRestic(t, st.root, "test", args...)
		return err
	}
	refused := func(err error) bool { return err != nil && strings.Contains(err.Error(), "already locked") }

	shared := mustLock(t, r, false)
	if err := restic("backup", source); err != nil {
		t.Errorf("backup while we hold a shared lock: %v", err)
	}
	if err := restic("prune"); !refused(err) {
		t.Errorf("prune while we hold a shared lock: %v", err)
	}
	if err := restic("unlock"); err != nil { // we are alive, so it stays
		t.Error(err)
	}
	if n := len(lockFiles(t, st)); n != 1 {
		t.Errorf("%d locks after restic unlock", n)
	}
	mustUnlock(t, shared)

	exclusive := mustLock(t, r, true)
	for _, args := range [][]string{{"backup", source}, {"prune"}, {"snapshots"}} {
		if err := restic(args...); !refused(err) {
			t.Errorf("%s while we hold an exclusive lock: %v", args[0], err)
		}
	}
	out, err := realtest.TryRestic(t, st.root, "test", "list", "locks", "--no-lock")
	if err != nil || strings.TrimSpace(out) != lockFiles(t, st)[0].String() {
		t.Errorf("restic list locks: %q, %v", out, err)
	}
	mustUnlock(t, exclusive)
	for _, args := range [][]string{{"backup", source}, {"prune"}, {"check"}} {
		if err := restic(args...); err != nil {
			t.Errorf("%s after unlocking: %v", args[0], err)
		}
	}
}

// TestResticLock meets the lock of a restic that is at work: a backup of standard input that does not end.
func TestResticLock(t *testing.T) {
	program := realtest.Need(t, "restic")
	r, st := newTestRepo(t, Options{})
	ctx, cancel := context.WithCancel(t.Context())
	cmd := exec.CommandContext(ctx, program, "--no-cache", "backup", "--stdin")
	cmd.Env = []string{"HOME=" + os.TempDir(), "TMPDIR=" + os.TempDir(), "RESTIC_REPOSITORY=" + st.root, "RESTIC_PASSWORD=test"}
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Wait()
	defer cancel()
	for len(lockFiles(t, st)) == 0 { // it has no other way of saying so
		if err := ctx.Err(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Millisecond)
	}
	if _, err := r.Lock(t.Context(), true); !errors.Is(err, ErrLocked) || !strings.Contains(err.Error(), fmt.Sprint("process ", cmd.Process.Pid)) {
		t.Errorf("exclusive lock beside a backup: %v", err)
	}
	l := mustLock(t, r, false)
	defer mustUnlock(t, l)
	io.WriteString(in, "content")
	in.Close()
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
}

// holdLockEnv makes the test program hold a lock in the repository that it names, until its standard input ends.
const holdLockEnv = "REPO_TEST_HOLD_LOCK"

func holdLock() {
	r, err := Open(context.Background(), dirStorage{os.Getenv(holdLockEnv)}, []byte("test"), Options{})
	if err == nil {
		var l *Lock
		if l, err = r.Lock(context.Background(), true); err == nil {
			fmt.Println("locked")
			io.Copy(io.Discard, os.Stdin)
			err = l.Unlock()
		}
	}
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
}

// TestSurviveSIGHUP has restic test whether we are alive, which it does with a SIGHUP, in a process that would die of it
// without a lock.
func TestSurviveSIGHUP(t *testing.T) {
	realtest.Need(t, "restic")
	_, st := newTestRepo(t, Options{})
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), holdLockEnv+"="+st.root)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Wait()
	defer in.Close()
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil || line != "locked\n" {
		t.Fatalf("the child says %q, %v", line, err)
	}
	for range 2 {
		realtest.Restic(t, st.root, "test", "unlock")
	}
	if n := len(lockFiles(t, st)); n != 1 {
		t.Errorf("restic has removed the lock of a living process")
	}
	in.Close()
	if err := cmd.Wait(); err != nil {
		t.Errorf("the child has died: %v", err)
	}
	if n := len(lockFiles(t, st)); n != 0 {
		t.Errorf("%d locks are left", n)
	}
}
