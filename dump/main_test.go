package dump

import (
	"bufio"
	"context"
	"database/sql"
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
	"github.com/caddy-backup/caddy-backup/dump/dumptest"
	"github.com/caddy-backup/caddy-backup/internal/realtest"
)

// TestMain lets copies of the test binary play the other programs that tests need beside themselves.
func TestMain(m *testing.M) {
	path := os.Getenv("DUMP_TEST_PATH")
	switch os.Getenv("DUMP_TEST_ROLE") {
	case "transfer":
		transfer(path)
	case "lock":
		lock(path)
	case "overwriteSQLite":
		overwriteFromInput(path)
	case "overwriteFolder":
		overwriteFolder(path)
	case "overwriteCaddy":
		overwriteCaddy(path)
	case "idle":
		idle(path)
	case "dump":
		dumpOnce(path)
	case "overwriteDjango":
		overwriteDjango(path)
	case "overwrite":
		overwriteAndHang(path)
	case "overwriteMySQL":
		overwriteMySQL(path)
	default:
		realtest.Main(m)
	}
}

// copyOfUs starts a copy of the test binary in a role and waits until it is ready. The returned func has it end and
// gives the last line that it printed; it may be called again.
func copyOfUs(t *testing.T, role, path string) (stop func() string) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), "DUMP_TEST_ROLE="+role, "DUMP_TEST_PATH="+path)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	pipe, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill() })
	out := bufio.NewReader(pipe)
	if line, err := out.ReadString('\n'); line != "ready\n" {
		t.Fatalf("%s says %q, %v", role, line, err)
	}
	return func() string {
		in.Close()
		line, _ := out.ReadString('\n')
		if err := cmd.Wait(); err != nil {
			t.Errorf("%s failed: %v", role, err)
		}
		return strings.TrimSpace(line)
	}
}

// inputEnds is closed when the test wants a copy of ours to end.
func inputEnds() <-chan bool {
	end := make(chan bool)
	go func() {
		io.Copy(io.Discard, os.Stdin)
		close(end)
	}()
	return end
}

// stopWhen is a context whose time is up as soon as a file is there, which a program makes that has come so far.
func stopWhen(t *testing.T, file string) context.Context {
	t.Helper()
	ctx, stop := context.WithCancelCause(t.Context())
	go func() {
		defer stop(context.DeadlineExceeded)
		for t.Context().Err() == nil {
			if _, err := os.Stat(file); err == nil {
				return
			}
			time.Sleep(10 * time.Millisecond)
		}
	}()
	return ctx
}

func exitOn(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

const (
	accounts = 1000
	total    = accounts * 100 // the sum of all balances, whatever is transferred
)

// transfer moves money between accounts, one transaction after the other, and at its end prints how many transactions
// it made and how long the longest took.
func transfer(path string) {
	db, err := sql.Open("sqlite", path+"?_busy_timeout=20000&_txlock=immediate&_synchronous=OFF")
	exitOn(err)
	db.SetMaxOpenConns(1)
	end := inputEnds()
	var longest time.Duration
	for n := 0; ; n++ {
		select {
		case <-end:
			exitOn(db.Close())
			fmt.Printf("%d transactions, %d ns\n", n, longest)
			return
		case <-time.After(time.Millisecond):
		}
		began := time.Now()
		exitOn(transaction(db, n))
		longest = max(longest, time.Since(began))
		if n == 0 {
			fmt.Println("ready")
		}
	}
}

func transaction(db *sql.DB, n int) error {
	tx, err := db.Begin()
	if err != nil {
		return err
	}
	defer tx.Rollback()
	for i := range 20 {
		from, to := (n*7+i*13)%accounts, (n*11+i*29+1)%accounts
		if _, err := tx.Exec("UPDATE account SET balance = balance - 1 WHERE id = ?", from); err != nil {
			return err
		}
		if _, err := tx.Exec("UPDATE account SET balance = balance + 1 WHERE id = ?", to); err != nil {
			return err
		}
	}
	if _, err := tx.Exec("INSERT INTO log (text) VALUES (?)", strings.Repeat("entry ", 100)); err != nil {
		return err
	}
	return tx.Commit()
}

// lock holds an exclusive lock on a database.
func lock(path string) {
	db, err := sql.Open("sqlite", path+"?_txlock=exclusive")
	exitOn(err)
	tx, err := db.Begin()
	exitOn(err)
	fmt.Println("ready")
	<-inputEnds()
	exitOn(tx.Rollback())
}

// idle has a database open, in no transaction, and writes to it at the end, whether that is possible or not.
func idle(path string) {
	db, err := sql.Open("sqlite", path)
	exitOn(err)
	db.SetMaxOpenConns(1)
	_, err = db.Exec("SELECT count(*) FROM account")
	exitOn(err)
	fmt.Println("ready")
	<-inputEnds()
	_, _ = db.Exec("INSERT INTO log (text) VALUES ('too late')")
	_ = db.Close()
}

// dumpOnce dumps a database as whoever the process is, and prints the notes.
func dumpOnce(path string) {
	s := &SQLite{Path: path}
	exitOn(provision(s))
	facts, err := s.Dump(context.Background(), backup.Part{}, io.Discard, dumptest.Task(&testing.T{}))
	exitOn(err)
	fmt.Println(strings.Join(facts.Notes, "; "))
}

// killWhenReady has a process of this test do something with a file, and kills it once it says that it is where it is to be killed.
func killWhenReady(t *testing.T, role, path string, env ...string) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self)
	cmd.Env = slices.Concat(os.Environ(), env, []string{"DUMP_TEST_ROLE=" + role, "DUMP_TEST_PATH=" + path})
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "ready\n" {
		t.Errorf("%s with %v says %q, %v", role, env, line, err)
	}
	cmd.Process.Kill()
	cmd.Wait()
}

// eventually waits until a query gives a value: longer than a server of PostgreSQL does at most before it looks what to replicate,
// and than one of MariaDB before it knows that a connection is gone.
func eventually(t *testing.T, server interface {
	SQL(t testing.TB, database, script string) string
}, database, sql, want string) {
	t.Helper()
	got := ""
	for range 4800 {
		if got = strings.TrimSpace(server.SQL(t, database, sql)); got == want {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	t.Fatalf("%s: %s, want %s", sql, got, want)
}

// passable lets all users come through to a folder, below the one for temporary files.
func passable(t *testing.T, dir string) {
	t.Helper()
	for ; dir != "/" && dir != filepath.Clean(os.TempDir()); dir = filepath.Dir(dir) {
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
}
