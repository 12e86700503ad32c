package caddybackup

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"testing"
	"time"

	"github.com/caddy-backup/caddy-backup/backup"
	"github.com/caddy-backup/caddy-backup/handler"
	"github.com/caddy-backup/caddy-backup/repo"
)

func TestExitCodes(t *testing.T) {
	for _, c := range []struct {
		err  error
		want int
	}{
		{errors.New("anything"), 1},
		{fmt.Errorf("at /srv/backups: %w", repo.ErrNoRepository), 10},
		{&repo.LockedError{}, 11},
		{fmt.Errorf("at /srv/backups: %w", repo.ErrWrongPassword), 12},
		{&handler.Error{Code: "no_repository"}, 10},
		{&handler.Error{Code: "locked"}, 11},
		{&handler.Error{Code: "wrong_password"}, 12},
		{&handler.Error{Code: "internal"}, 1},
		{context.Canceled, 130},
		{fmt.Errorf("asking: %w", context.Canceled), 130},
		{outcome([]error{errors.New("a")}, 3), 3},
		{outcome([]error{errors.New("a"), errors.New("b")}, 2), 1},
		{outcome([]error{repo.ErrWrongPassword}, 1), 12},
		{worst([]error{repo.ErrWrongPassword}, 2), 12},
		{worst([]error{&repo.LockedError{}, repo.ErrNoRepository, &codeError{errors.New("a"), exitPartly}}, 3), 10},
		{worst([]error{&repo.LockedError{}, errors.New("a"), repo.ErrWrongPassword}, 3), 1},
		{worst([]error{errors.New("a"), context.Canceled}, 2), 130},
		{runError(backup.Run{State: backup.StateFailed, Error: "pg_dump ended with status 1"}), 1},
		{runError(backup.Run{State: backup.StateInterrupted}), 1},
		{runError(backup.Run{State: backup.StateSuspect, Error: "the folder is empty"}), 3},
		{outcome([]error{runError(backup.Run{State: backup.StateSuspect})}, 1), 3},
		{outcome([]error{runError(backup.Run{State: backup.StateSuspect}), errors.New("b")}, 2), 3},
		{runError(backup.Run{State: backup.StateCancelled, Error: "cancelled"}), 130},
	} {
		if got := exitCode(c.err); got != c.want {
			t.Errorf("%v: got %d, want %d", c.err, got, c.want)
		}
	}
	if err := worst(nil, 2); err != nil {
		t.Errorf("no failure is an error: %v", err)
	}
	if err := outcome(nil, 3); err != nil {
		t.Errorf("no failure is an error: %v", err)
	}
	if err := runError(backup.Run{State: backup.StateOK}); err != nil {
		t.Errorf("a green run is an error: %v", err)
	}
}

func TestTable(t *testing.T) {
	table := table{right: []int{1}}
	table.row("NAME", "SIZE", "NOTE")
	table.row("été", "5 B", "short")
	table.row("a", "1.5 MiB", "")
	var got bytes.Buffer
	if err := table.write(&got); err != nil {
		t.Fatal(err)
	}
	want := "NAME     SIZE  NOTE\nété       5 B  short\na     1.5 MiB\n"
	if got.String() != want {
		t.Errorf("got:\n%swant:\n%s", got.String(), want)
	}
}

func TestPrintable(t *testing.T) {
	for in, want := range map[string]string{
		"db.dump":         "db.dump",
		"Ordnung für Öl":  "Ordnung für Öl",
		"two\nlines":      "two\nlines",
		"\x1b[2Jgone":     `"\x1b[2Jgone"`,
		"no \xff utf-8":   `"no \xff utf-8"`,
		"\u202egnp.exe":   `"\u202egnp.exe"`,
		"carriage\rhides": `"carriage\rhides"`,
	} {
		if got := printable(in); got != want {
			t.Errorf("%q: got %s, want %s", in, got, want)
		}
	}
}

// TestRestorePaths: folders and files become absolute, a database's name stays.
func TestRestorePaths(t *testing.T) {
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ target, place, wantTarget, wantPlace string }{
		{target: "out", wantTarget: filepath.Join(dir, "out")},
		{target: "/srv/out", wantTarget: "/srv/out"},
		{place: "shop_copy", wantPlace: "shop_copy"},
		{place: "./copy.sqlite3", wantPlace: filepath.Join(dir, "copy.sqlite3")},
		{place: "/srv/copy.sqlite3", wantPlace: "/srv/copy.sqlite3"},
	} {
		q := backup.RestoreRequest{Target: c.target, Place: c.place}
		if err := fillRestore(&q, "nas", []string{"latest", "/shop/db"}); err != nil {
			t.Fatal(err)
		}
		want := backup.RestoreRequest{Repository: "nas", Snapshot: "latest", Path: "/shop/db", Target: c.wantTarget, Place: c.wantPlace}
		if !reflect.DeepEqual(q, want) {
			t.Errorf("got %+v, want %+v", q, want)
		}
	}
}

func TestAdminAddress(t *testing.T) {
	for address, want := range map[string]string{
		"localhost:2019":                "http://localhost:2019/backup/",
		"tcp/127.0.0.1:2019":            "http://127.0.0.1:2019/backup/",
		"[::1]:2019":                    "http://[::1]:2019/backup/",
		"unix//run/caddy/admin.sock":    "http://127.0.0.1/backup/",
		"unix//run/admin.sock|0220":     "http://127.0.0.1/backup/",
		"localhost:2019-2021":           "",
		"{env.BACKUP_TEST_UNSET}":       "",
		"nonsense/localhost:not-a-port": "",
	} {
		client, err := adminClient(address)
		if (err == nil) != (want != "") || err == nil && client.Base != want {
			t.Errorf("%s: got %+v, %v; want %q", address, client, err, want)
		}
	}
}

func TestSummary(t *testing.T) {
	run := backup.Run{
		Kind: backup.KindBackup, State: backup.StateOK, Snapshot: "0123456789abcdef",
		Started: time.Unix(100, 0), Ended: time.Unix(101, 5e8),
		Progress: backup.Progress{Bytes: 3 << 20, New: 2 << 20, Stored: 1 << 20},
	}
	if got, want := summary(run), "ok, 3.0 MiB read, 2.0 MiB new (1.0 MiB stored), snapshot 01234567, 1.5s"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	check := backup.Run{Kind: backup.KindCheck, State: backup.StateOK, Summary: "the data were not read"}
	if got, want := summary(check), "ok, the data were not read (--read-data reads them), 0s"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	check.ReadData, check.Summary = true, "every byte was verified"
	if got, want := summary(check), "ok, every byte was verified, 0s"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	run.Unchanged = true
	if got, want := summary(run), "ok, 3.0 MiB read, unchanged, snapshot 01234567, 1.5s"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// TestInTurn: one job that fails does not keep the others, a cancellation does, even behind a job that went well.
func TestInTurn(t *testing.T) {
	for name, c := range map[string]struct {
		fails, cancelAt string
		code, runs      int
	}{
		"all well":         {code: 0, runs: 3},
		"one fails":        {fails: "b", code: 3, runs: 3},
		"cancelled at one": {cancelAt: "b", code: 130, runs: 2},
		"failed before":    {fails: "a", cancelAt: "b", code: 130, runs: 2},
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			s := &session{err: io.Discard}
			runs, err := s.inTurn(ctx, []string{"a", "b", "c"}, func(_ context.Context, job string) (backup.Run, error) {
				if job == c.cancelAt {
					cancel()
				}
				if job == c.fails {
					return backup.Run{ID: job}, errors.New("failed")
				}
				return backup.Run{ID: job}, nil
			})
			code := 0
			if err != nil {
				code = exitCode(err)
			}
			if len(runs) != c.runs || code != c.code {
				t.Errorf("%d runs, %v; want %d, exit code %d", len(runs), err, c.runs, c.code)
			}
		})
	}
}
