package backup_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddy-backup/caddy-backup/backup"
	"github.com/caddy-backup/caddy-backup/backup/backuptest"
	"github.com/caddy-backup/caddy-backup/storage"
)

// hookKillRoot is set for the process that is killed, hookKillCommand too when that is a command beside the server.
const (
	hookKillRoot    = "BACKUP_TEST_HOOK_KILL_ROOT"
	hookKillCommand = "BACKUP_TEST_HOOK_KILL_COMMAND"
)

func init() {
	if root := os.Getenv(hookKillRoot); root != "" {
		source := backuptest.NewSource("")
		source.Do(func(context.Context, io.Writer, *backup.Task) error {
			fmt.Println("dumping")
			select {}
		})
		s, config := backup.New(), hookKillConfig(root, source, new(notes))
		config.Automatic = os.Getenv(hookKillCommand) == ""
		_, err := s.Attach(config)
		if err == nil {
			_, err = s.Backup(context.Background(), "tester", "shop")
		}
		if err == nil {
			select {}
		}
		fmt.Println(err)
		os.Exit(1)
	}
}

func hookKillConfig(root string, source backup.Source, n *notes, after ...backup.Hook) backup.Config {
	c := killConfig(root, source)
	c.Automatic = true
	c.Jobs[0].Before, c.Jobs[0].After = []backup.Hook{hook{name: "pause", notes: n}}, append([]backup.Hook{hook{name: "resume", notes: n}}, after...)
	return c
}

// unhurried is a Service whose clock stands still. By another it would make the killed backup again, on a machine on which the
// test takes half a minute.
func unhurried() *backup.Service {
	s, began := backup.New(), time.Now()
	s.UseClock(func() time.Time { return began }, time.NewTimer)
	return s
}

// hookKill has another process begin a dump, and kills it there.
func hookKill(t *testing.T, root string, environ ...string) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(append(os.Environ(), hookKillRoot+"="+root), environ...)
	out := must(cmd.StdoutPipe())(t)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if lines := bufio.NewScanner(out); !lines.Scan() || lines.Text() != "dumping" {
		t.Errorf("the process says %q", lines.Text())
	}
	cmd.Process.Kill()
	cmd.Wait()
}

// TestHookKillBeside kills a command beside a server that goes on: what the command owed is paid behind the server's next run.
func TestHookKillBeside(t *testing.T) {
	root := t.TempDir()
	backuptest.InitCheaply(t, storage.NewLocal(filepath.Join(root, "repository")))
	var n notes
	server := backup.New()
	must(server.Attach(hookKillConfig(root, backuptest.NewSource("data"), &n)))(t)
	defer backuptest.Close(t, server)
	hookKill(t, root, hookKillCommand+"=yes")
	if got := n.take(); len(got) != 0 {
		t.Errorf("%v", got)
	}
	backuptest.Wait(t, server, must(server.Check(t.Context(), "tester", backup.CheckRequest{}))(t).ID)
	var owed []backup.Run
	for deadline := time.Now().Add(time.Minute); len(owed) == 0; {
		if time.Now().After(deadline) {
			t.Fatal("what the command owed is not paid")
		}
		owed = must(server.Runs(t.Context(), backup.RunFilter{Kind: backup.KindAfter}))(t)
		time.Sleep(time.Millisecond)
	}
	if run := backuptest.Wait(t, server, owed[0].ID); len(owed) != 1 || run.State != backup.StateOK {
		t.Errorf("%+v", owed)
	}
	if got := n.take(); !slices.Equal(got, []string{"resume interrupted"}) {
		t.Errorf("%v", got)
	}
}

// TestHookKill kills a process in the middle of a dump. What comes after the dump is run at the next start, once: not by a Service
// that does nothing by itself, or knows the job only later, and before the next backup of the job. When it fails, people are told.
func TestHookKill(t *testing.T) {
	root := t.TempDir()
	backuptest.InitCheaply(t, storage.NewLocal(filepath.Join(root, "repository")))
	hookKill(t, root)

	var n notes
	byHand := hookKillConfig(root, backuptest.NewSource("data"), &n)
	byHand.Automatic = false
	aside := backup.New()
	must(aside.Attach(byHand))(t)
	backuptest.Close(t, aside)
	if got := n.take(); len(got) != 0 {
		t.Errorf("a Service that does nothing by itself did %v", got)
	}

	unknown, broken := hookKillConfig(root, backuptest.NewSource("data"), &n), hookKillConfig(root, backuptest.NewSource("data"), &n)
	unknown.Trouble, unknown.Jobs[0].Name = "jobs that were added at run time are not known", "other"
	broken.Jobs[0].Broken, broken.Jobs[0].Before, broken.Jobs[0].After = "a variable is not set", nil, nil
	for _, config := range []backup.Config{unknown, broken} {
		early := backup.New()
		must(early.Attach(config))(t)
		backuptest.Close(t, early)
	}

	var box inbox
	failing := hook{name: "report", notes: &n, do: func(context.Context, backup.Moment) error {
		return backup.WithOutput(fmt.Errorf("report ended with status 1"), "canary")
	}}
	next := unhurried()
	config := hookKillConfig(root, backuptest.NewSource("data"), &n, failing)
	told(&box)(&config)
	must(next.Attach(config))(t)
	owed := must(next.Runs(t.Context(), backup.RunFilter{Kind: backup.KindAfter}))(t)
	if len(owed) != 1 {
		t.Fatalf("%+v", owed)
	}
	run := backuptest.Wait(t, next, owed[0].ID)
	if want := "was interrupted, and now the after program report failed: report ended with status 1; should anything still be paused"; run.State != backup.StateFailed ||
		!strings.Contains(run.Error, want) || run.Output != "canary" || run.By != "start of the server" {
		t.Errorf("%+v", run)
	}
	if h := next.Health(t.Context()); h.OK || !slices.ContainsFunc(h.Reasons, func(s string) bool { return strings.Contains(s, "job shop: its after program failed") }) {
		t.Errorf("%+v", h)
	}
	if got := n.take(); !slices.Equal(got, []string{"resume interrupted", "report interrupted"}) {
		t.Errorf("%v", got)
	}
	backuptest.Close(t, next)
	if !slices.ContainsFunc(box.list, func(n backup.Notification) bool {
		return n.Title == "after program of shop on shop-server FAILED" && !strings.Contains(n.Text, "canary") && strings.Contains(n.Text, "Look whether what was paused")
	}) {
		t.Errorf("told was %+v", box.list)
	}

	last := unhurried()
	must(last.Attach(hookKillConfig(root, backuptest.NewSource("data"), &n)))(t)
	defer backuptest.Close(t, last)
	if run = backuptest.Wait(t, last, must(last.Backup(t.Context(), "tester", "shop"))(t).ID); run.State != backup.StateOK {
		t.Errorf("%+v", run)
	}
	if got := n.take(); !slices.Equal(got, []string{"pause", "resume dumped"}) {
		t.Errorf("%v", got)
	}
	if h := last.Health(t.Context()); !h.OK {
		t.Errorf("%+v", h)
	}
}
