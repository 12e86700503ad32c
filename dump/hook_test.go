package dump

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-backup/caddy-backup/backup"
	"github.com/caddy-backup/caddy-backup/dump/dumptest"
)

// hooked parses a line as a job does, and configures the program.
func hooked(t *testing.T, text string) *Hook {
	t.Helper()
	d := caddyfile.NewTestDispenser(text)
	d.Next()
	h := new(Hook)
	if err := h.UnmarshalCaddyfile(d); err != nil {
		t.Fatal(err)
	}
	if err := h.Configure(); err != nil {
		t.Fatal(err)
	}
	return h
}

// shellScript writes a program.
func shellScript(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "script")
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+text), 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestHookEnvironment: a program is told of which job and run it is, and what became of the dumps, and nothing of ours.
func TestHookEnvironment(t *testing.T) {
	t.Setenv("DUMP_TEST_SECRET", "canary")
	t.Setenv("CADDY_BACKUP_OUTCOME", "a lie")
	out := filepath.Join(t.TempDir(), "env")
	h := hooked(t, "after "+shellScript(t, "env | grep -e CADDY -e SECRET -e MODE | grep -v ^CADDY_BACKUP_PROCESS= | sort >"+out)+" {\n env MODE soft\n env TOKEN {env.DUMP_TEST_SECRET}\n}")
	for _, c := range []struct {
		moment backup.Moment
		want   string
	}{
		{backup.Moment{Job: "shop", Run: "20261122t1-1a2b"}, "CADDY_BACKUP_JOB=shop\nCADDY_BACKUP_RUN=20261122t1-1a2b\nMODE=soft\n"},
		{backup.Moment{Job: "shop", Run: "1", Outcome: backup.OutcomeDumped},
			"CADDY_BACKUP_JOB=shop\nCADDY_BACKUP_OUTCOME=dumped\nCADDY_BACKUP_RUN=1\nMODE=soft\n"},
	} {
		if err := h.Run(t.Context(), c.moment, dumptest.Task(t)); err != nil {
			t.Fatal(err)
		}
		if got, err := os.ReadFile(out); err != nil || string(got) != c.want {
			t.Errorf("%v\n%swant\n%s", err, got, c.want)
		}
	}
}

func TestHookFaults(t *testing.T) {
	for _, c := range []struct{ name, text, err, output string }{
		{"fails", "before " + shellScript(t, "echo pausing; echo 'no such worker' >&2; exit 3"), "script ended with status 3", "pausing\nno such worker"},
		{"takes too long", "before " + shellScript(t, "trap '' TERM; sleep 600 & wait; wait") + " {\n timeout 1s\n}",
			"it took longer than its timeout of 1s", ""},
		{"not there", "before /nowhere/pause", "program /nowhere/pause is not there", ""},
		{"leaves somebody behind", "before " + shellScript(t, "sleep 600 &"), "left a process behind that keeps its output open", ""},
		{"unknown user", "before true {\n user nobody-knows\n}", "user nobody-knows: ", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			dumptest.NothingLeft(t)
			began := time.Now()
			err := hooked(t, c.text).Run(t.Context(), backup.Moment{Job: "shop", Run: "1"}, dumptest.Task(t))
			if err == nil || !strings.Contains(err.Error(), c.err) || backup.OutputOf(err) != c.output {
				t.Errorf("error = %v, output = %q", err, backup.OutputOf(err))
			}
			if c.name == "takes too long" && !errors.Is(err, context.DeadlineExceeded) || time.Since(began) > 2*time.Minute {
				t.Errorf("after %v: %v", time.Since(began), err)
			}
		})
	}
}

// TestHookSays: what a program has said stands beside the error also when it is ended.
func TestHookSays(t *testing.T) {
	begun := filepath.Join(t.TempDir(), "begun")
	h := hooked(t, "before "+shellScript(t, "echo at it; : >"+begun+"; sleep 600 & wait; wait"))
	if err := h.Run(stopWhen(t, begun), backup.Moment{}, dumptest.Task(t)); !errors.Is(err, context.DeadlineExceeded) || backup.OutputOf(err) != "at it" {
		t.Errorf("error = %v, output = %q", err, backup.OutputOf(err))
	}
}

// TestHookAsAnother runs a program as another user, with that one's groups and home.
func TestHookAsAnother(t *testing.T) {
	if os.Getuid() != 0 {
		h := hooked(t, "before id {\n user root\n}")
		if err := h.Run(t.Context(), backup.Moment{}, dumptest.Task(t)); err == nil || !strings.Contains(err.Error(), "only root can become somebody else") {
			t.Error(err)
		}
		return
	}
	h := hooked(t, `before sh -c "test $(id -un) = nobody && test $USER = nobody" {
	user nobody
}`)
	if err := h.Run(t.Context(), backup.Moment{}, dumptest.Task(t)); err != nil {
		t.Error(err)
	}
}

func TestHookExamined(t *testing.T) {
	for text, want := range map[string]backup.Level{"before true": backup.LevelOK, "before no-such-program": backup.LevelError, "after true {\n dir /nowhere\n}": backup.LevelError} {
		list := hooked(t, text).Examine(t.Context(), dumptest.Task(t))
		if !slices.ContainsFunc(list, func(d backup.Diagnosis) bool { return d.Level == want }) {
			t.Errorf("%s: %+v", text, list)
		}
	}
}
