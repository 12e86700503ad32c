package dump

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/caddy-backup/caddy-backup/backup"
	"github.com/caddy-backup/caddy-backup/dump/dumptest"
	"github.com/caddy-backup/caddy-backup/internal/realtest"
)

func testMySQLLocked(t *testing.T, my *realtest.MariaDB) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	held := make(chan struct{})
	go func() {
		defer close(held)
		my.TrySQL(ctx, "the shop", "LOCK TABLES product WRITE; SELECT sleep(600)")
	}()
	for my.SQL(t, "", "SELECT count(*) FROM information_schema.processlist WHERE info LIKE 'SELECT sleep(600)%'") != "1\n" {
		time.Sleep(20 * time.Millisecond)
	}
	_, err := mySource(t, my.DSN("the shop")).Dump(t.Context(), backup.Part{}, io.Discard, dumptest.Task(t))
	if err == nil || !strings.Contains(err.Error(), "lock_timeout (1s)") {
		t.Error(err)
	}
	waiting := func() string {
		return my.SQL(t, "", "SELECT count(*) FROM information_schema.processlist WHERE state LIKE 'Waiting for table%'")
	}
	for deadline := time.Now().Add(time.Minute); waiting() != "0\n"; time.Sleep(20 * time.Millisecond) { // who was killed takes a moment
		if time.Now().After(deadline) {
			t.Fatal("it still waits")
		}
	}
	cancel()
	<-held
	if id := strings.TrimSpace(my.SQL(t, "", "SELECT id FROM information_schema.processlist WHERE info LIKE 'SELECT sleep(600)%'")); id != "" {
		my.TrySQL(t.Context(), "", "KILL "+id) // it would look only every five seconds whether its client is there
	}
	for my.SQL(t, "", "SELECT count(*) FROM information_schema.processlist WHERE info LIKE 'SELECT sleep(600)%'") != "0\n" {
		time.Sleep(20 * time.Millisecond)
	}
}

func testMySQLFaultyPrograms(t *testing.T, my *realtest.MariaDB) {
	version := "#!/bin/sh\nif [ \"$1\" = --version ]; then echo 'mysqldump  Ver 10.19 Distrib 10.11.19-MariaDB, for x'; exit; fi\n"
	for name, tc := range map[string]struct{ script, want string }{
		"prints and fails":      {"echo 'CREATE TABLE a (b int);'; echo 'mysqldump: Error 2013: Lost connection' >&2; exit 3", "ended with status 3"},
		"prints nothing":        {"exit 0", "cut off"},
		"ends early":            {"echo 'CREATE TABLE a (b int);'", "cut off"},
		"in mid-value":          {"echo \"INSERT INTO a VALUES ('x\"; echo '-- Dump completed'", "cut off"},
		"hangs, deaf to TERM":   {"trap '' TERM; echo 'SELECT 1;'; : >BEGUN; while :; do sleep 1; done", "was stopped"},
		"does not say what":     {"", ""},
		"names another program": {"echo '\\! touch /tmp/pwned'; echo '-- Dump completed'", "not SQL"},
	} {
		t.Run(name, func(t *testing.T) {
			m := mySource(t, my.DSN("big"))
			dir := t.TempDir()
			begun := filepath.Join(dir, "begun")
			script := version + strings.ReplaceAll(tc.script, "BEGUN", begun)
			if tc.script == "" {
				script, tc.want = "#!/bin/sh\necho hello\n", "does not say its version"
			}
			for _, program := range myDumpers {
				if err := os.WriteFile(filepath.Join(dir, program), []byte(script), 0o755); err != nil {
					t.Fatal(err)
				}
			}
			t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
			ctx := t.Context()
			if strings.Contains(tc.script, "TERM") {
				ctx = stopWhen(t, begun)
			}
			_, err := m.Dump(ctx, backup.Part{}, io.Discard, dumptest.Task(t))
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("%v, want %q", err, tc.want)
			}
			dumptest.Gone(t, dir)
		})
	}
}

func testMySQLServerStops(t *testing.T, my *realtest.MariaDB) {
	m := mySource(t, my.DSN("big"))
	stopped := false
	_, err := m.Dump(t.Context(), backup.Part{}, writerFunc(func(p []byte) (int, error) {
		if !stopped {
			stopped = true
			my.Stop(t)
		}
		return len(p), nil
	}), dumptest.Task(t))
	if err == nil {
		t.Error("a dump of which the server stopped in the middle is no dump")
	}
}

// Every dump keeps the sum that every transaction keeps.
func testMySQLWhileWrittenTo(t *testing.T, my *realtest.MariaDB) {
	my.SQL(t, "", "CREATE DATABASE bank")
	my.SQL(t, "bank", "CREATE TABLE account (id int PRIMARY KEY, balance int NOT NULL); INSERT INTO account SELECT seq, 100 FROM seq_0_to_999")
	ctx, cancel := context.WithCancel(t.Context())
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		for i := 0; ctx.Err() == nil; i++ {
			my.TrySQL(ctx, "bank", strings.Repeat(fmt.Sprintf("START TRANSACTION; UPDATE account SET balance = balance - 5 WHERE id = %d; "+
				"UPDATE account SET balance = balance + 5 WHERE id = %d; COMMIT;", i%1000, (i*7+1)%1000), 20))
		}
	}()
	m := mySource(t, my.DSN("bank"))
	for i := range 3 {
		var b bytes.Buffer
		if _, err := m.Dump(t.Context(), backup.Part{}, &b, dumptest.Task(t)); err != nil {
			t.Fatal(err)
		}
		place := fmt.Sprintf("bank%d", i)
		if err := m.Restore(t.Context(), backup.Part{}, &b, place, dumptest.Task(t)); err != nil {
			t.Fatal(err)
		}
		if sum := my.SQL(t, place, "SELECT sum(balance), count(*) FROM account"); sum != "100000\t1000\n" {
			t.Errorf("dump %d: %s", i, sum)
		}
	}
	cancel()
	<-stopped
}
