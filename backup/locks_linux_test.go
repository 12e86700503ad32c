package backup_test

import (
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/caddy-backup/caddy-backup/backup"
	"github.com/caddy-backup/caddy-backup/backup/backuptest"
	"github.com/caddy-backup/caddy-backup/internal/realtest"
	"github.com/caddy-backup/caddy-backup/repo"
	"github.com/caddy-backup/caddy-backup/storage"
	"github.com/caddy-backup/caddy-backup/storage/storagetest"
)

// killedRestic has restic lock the repository and kills it.
func killedRestic(t *testing.T, dir string) {
	t.Helper()
	cmd := exec.Command(realtest.Need(t, "restic"), "--no-cache", "-q", "backup", "--stdin")
	cmd.Env = append(os.Environ(), "RESTIC_REPOSITORY="+dir, "RESTIC_PASSWORD="+backuptest.Password)
	in := must(cmd.StdinPipe())(t)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(2 * time.Minute); ; time.Sleep(20 * time.Millisecond) {
		if names, _ := filepath.Glob(filepath.Join(dir, "locks", strings.Repeat("?", 64))); len(names) > 0 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("restic takes no lock")
		}
	}
	cmd.Process.Kill()
	cmd.Wait()
	io.WriteString(in, "")
}

// TestUnlock tells locks of the dead from those of the living, removes only the first, and with all also what may be
// alive, but never what a process of ours holds.
func TestUnlock(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "repository")
	st := storage.NewLocal(dir)
	backuptest.InitCheaply(t, st)
	killedRestic(t, dir)
	ago := time.Now().Add(-40 * time.Minute)
	lockBy(t, st, false, repo.Options{Hostname: "old", Now: func() time.Time { return ago }})
	lockBy(t, st, false, repo.Options{Hostname: "elsewhere"})
	storagetest.Write(t, st, "locks/"+repo.Hash([]byte("x")).String(), []byte{})

	local := func(c *backup.Config) {
		c.Repositories[0].Storage = st
		c.Logger = slog.New(slog.DiscardHandler)
	}
	e := backuptest.New(t, local)
	entered, release := e.DB.Hold("data")
	run := must(e.Backup(t.Context(), "tester", "shop"))(t)
	<-entered

	// Beside the server, a command line: it has a journal of its own, in the same folder.
	other := backup.New()
	defer backuptest.Close(t, other)
	must(other.Attach(e.Config))(t)
	for who, s := range map[string]*backup.Service{"the server": e.Service, "another process": other} {
		locks := must(s.Locks(t.Context(), ""))(t)
		if len(locks) != 5 {
			t.Fatalf("%s sees %d locks: %+v", who, len(locks), locks)
		}
		for _, l := range locks {
			mine := l.PID == os.Getpid() && l.Hostname != "old" && l.Hostname != "elsewhere"
			if l.Held != mine || l.Unreadable != l.Time.IsZero() || (l.Stale != "") != (!mine && !l.Unreadable && l.Hostname != "elsewhere") {
				t.Errorf("%s says %+v", who, l)
			}
		}
	}

	done := must(other.Unlock(t.Context(), "tester", "", false))(t)
	if len(done.Removed) != 2 || len(done.Kept) != 3 {
		t.Errorf("%+v", done)
	}
	done = must(other.Unlock(t.Context(), "tester", "", true))(t)
	if len(done.Removed) != 2 || len(done.Kept) != 1 || !done.Kept[0].Held {
		t.Errorf("all: %+v", done)
	}
	release()
	if run = e.Wait(t, run.ID); run.State != backup.StateOK {
		t.Errorf("the backup is %s: %s", run.State, run.Error)
	}
	if done := must(e.Unlock(t.Context(), "tester", "", true))(t); len(done.Removed)+len(done.Kept) != 0 {
		t.Errorf("at the end: %+v", done)
	}
	realtest.Restic(t, dir, backuptest.Password, "check")
}
