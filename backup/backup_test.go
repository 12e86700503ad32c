package backup_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"math/rand/v2"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/caddy-backup/caddy-backup/backup"
	"github.com/caddy-backup/caddy-backup/backup/backuptest"
	"github.com/caddy-backup/caddy-backup/repo"
)

func TestBackup(t *testing.T) {
	e := backuptest.New(t)
	run := e.RunBackup(t, "shop")
	if run.State != backup.StateOK || run.Error != "" || run.Kind != backup.KindBackup || run.By != "tester" || run.Job != "shop" {
		t.Fatalf("%+v", run)
	}
	if run.Started.IsZero() || run.Ended.Before(run.Started) || run.Progress.Bytes == 0 || run.Progress.Stored == 0 || run.Step != "" {
		t.Errorf("%+v", run)
	}
	if !strings.Contains(logOf(run), "part dumped part=db.sql source=db bytes=") {
		t.Errorf("log:\n%s", logOf(run))
	}

	s, err := e.Snapshot(t.Context(), "", run.Snapshot, "")
	if err != nil {
		t.Fatal(err)
	}
	if s.Job != "shop" || s.Run != run.ID || s.Host != "shop-server" || s.Repository != "default" || s.Size == 0 || s.Added == 0 || s.Stored == 0 {
		t.Errorf("%+v", s)
	}
	var names []string
	for _, c := range s.Parts {
		names = append(names, c.Path)
	}
	if got := strings.Join(names, " "); got != "/shop/SHA256SUMS /shop/db.sql /shop/manifest.json" {
		t.Errorf("parts: %s", got)
	}
	if got := string(e.Read(t, run.Snapshot, "db.sql")); got != "create table customer;\n" {
		t.Errorf("content %q", got)
	}
	m := s.Manifest
	if m == nil || m.Format != 1 || m.Job != "shop" || m.Run != run.ID || m.Outcome != "ok" || m.Chunker != repo.ChunkerVersion ||
		m.Versions["caddy-backup"] != "test" || m.Started.IsZero() || m.Ended.Before(m.Started) || m.Host != "shop-server" {
		t.Fatalf("%+v", m)
	}
	p := m.Parts[0]
	if p.Name != "db.sql" || p.Source != "db" || p.Kind != "fake" || p.Media != "application/sql" || p.Size != 23 ||
		p.Engine != "fake 1.0" || p.SHA256 != repo.Hash([]byte("create table customer;\n")).String() {
		t.Errorf("%+v", p)
	}
	if s.Parts[1].SHA256 != p.SHA256 {
		t.Errorf("%+v", s.Parts[1])
	}
	var raw map[string]any
	if err := json.Unmarshal(e.Read(t, run.Snapshot, "/shop/manifest.json"), &raw); err != nil {
		t.Error(err)
	}
}

func TestUnchanged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := backuptest.New(t, func(c *backup.Config) {
			c.Jobs[0].Sources = append(c.Jobs[0].Sources, backup.NamedSource{
				Name: "media", Kind: "fake", Source: backuptest.Folder{"a/1.jpg": "one", "2.jpg": "two"},
			})
		})
		if run := e.RunBackup(t, "shop"); run.State != backup.StateOK || run.Unchanged {
			t.Fatalf("%+v", run)
		}
		second := e.RunBackup(t, "shop")
		if second.State != backup.StateOK || !second.Unchanged {
			t.Fatalf("%+v", second)
		}
		e.DB.Set("something else")
		if run := e.RunBackup(t, "shop"); run.State != backup.StateOK || run.Unchanged {
			t.Fatalf("%+v", run)
		}
		list, err := e.Snapshots(t.Context(), backup.SnapshotQuery{Job: "shop"})
		if err != nil || list.Total != 3 {
			t.Fatal(list, err)
		}
		requireClean(t, e)
	})
}

// TestBadDumps is the promise: whatever goes wrong in a dump makes no snapshot, and the next run is green.
func TestBadDumps(t *testing.T) {
	cases := map[string]struct {
		dump backuptest.DumpFunc
		want string // in the run's error
	}{
		"fails": {func(_ context.Context, w io.Writer, _ *backup.Task) error {
			io.WriteString(w, "half a du")
			return errors.New("exit status 1: connection refused")
		}, "db.sql (source db): exit status 1: connection refused"},
		"empty": {func(context.Context, io.Writer, *backup.Task) error { return nil }, "db.sql (source db): the dump is empty"},
		"panics": {func(_ context.Context, w io.Writer, _ *backup.Task) error {
			io.WriteString(w, "half a du")
			panic("index out of range")
		}, "db.sql (source db): panic: index out of range"},
		"ends its goroutine": {func(_ context.Context, w io.Writer, _ *backup.Task) error {
			io.WriteString(w, "half a du")
			runtime.Goexit()
			return nil
		}, "its goroutine ended"},
		"writes much, then fails": {func(_ context.Context, w io.Writer, _ *backup.Task) error {
			for range 40 {
				w.Write(make([]byte, 1<<20))
			}
			return io.ErrUnexpectedEOF
		}, "unexpected EOF"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { badDump(t, c.dump, c.want) })
		})
	}
}

func badDump(t *testing.T, dump backuptest.DumpFunc, want string) {
	e := backuptest.New(t)
	e.DB.Do(dump)
	run := e.RunBackup(t, "shop")
	if run.State != backup.StateFailed || !strings.Contains(run.Error, want) || run.Snapshot != "" {
		t.Fatalf("%+v", run)
	}
	requireSnapshots(t, e, 0)
	if h := e.Health(t.Context()); h.OK || !strings.Contains(h.Reasons[0], "job shop: the last backup failed just now: db.sql") {
		t.Errorf("%+v", h)
	}
	e.DB.Set("good again")
	if run := e.RunBackup(t, "shop"); run.State != backup.StateOK {
		t.Fatalf("the next run: %+v", run)
	}
	requireSnapshots(t, e, 1)
	requireClean(t, e)
	if h := e.Health(t.Context()); !h.OK || len(h.Reasons) != 0 {
		t.Errorf("%+v", h)
	}
}

func logOf(run backup.Run) string {
	var b strings.Builder
	for _, l := range run.Log {
		b.WriteString(l.Level + " " + l.Text + "\n")
	}
	return b.String()
}

// requireSnapshots counts what is there.
func requireSnapshots(t *testing.T, e *backuptest.Env, want int) {
	t.Helper()
	list, err := e.Snapshots(t.Context(), backup.SnapshotQuery{})
	if err != nil || list.Total != want || list.Damaged != "" {
		t.Fatalf("%d snapshots (damaged: %q), %v; want %d", list.Total, list.Damaged, err, want)
	}
}

// requireClean has everything checked to the last byte.
func requireClean(t *testing.T, e *backuptest.Env) {
	t.Helper()
	run, err := e.Check(t.Context(), "tester", backup.CheckRequest{ReadData: true})
	if err != nil {
		t.Fatal(err)
	}
	run = e.Wait(t, run.ID)
	if run.State != backup.StateOK {
		t.Fatalf("check: %s %s %+v", run.State, run.Error, run.Findings)
	}
}

// brokenPipe is a program that writes until nobody reads any more, and says only that.
func brokenPipe(_ context.Context, w io.Writer, _ *backup.Task) error {
	random := rand.NewChaCha8([32]byte{})
	for range 200 {
		if _, err := io.CopyN(w, random, 1<<20); err != nil {
			return errors.New("exit status 141")
		}
	}
	return nil
}
