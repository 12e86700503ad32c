package integration

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/caddy-backup/caddy-backup/repo"
	"github.com/caddy-backup/caddy-backup/repo/repotest"
	"github.com/caddy-backup/caddy-backup/storage"

	_ "modernc.org/sqlite"
)

// TestScripts runs the command line as people do; see testdata/script. After each script no file in its folder, nor
// anything that was printed, may hold the canary, but for the files of the name "secret".
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(e *testscript.Env) error {
			for _, name := range []string{"HOME", "XDG_DATA_HOME", "XDG_CONFIG_HOME"} {
				e.Setenv(name, filepath.Join(e.WorkDir, "home"))
			}
			e.Setenv("CANARY", canary)
			return os.WriteFile(filepath.Join(e.WorkDir, "secret"), []byte(canary+"\n"), 0o600)
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"status": scriptStatus,
			"sql":    scriptSQL,
			"await":  scriptAwait,
			"cheap":  scriptCheap,
			"lock":   scriptLock,
			"silent": scriptSilent,
			"flip":   scriptFlip,
			"nobody": scriptNobody,
			"served": scriptServed,
			"hook":   scriptHook,
		},
	})
}

// scriptStatus: `status <code> <program> [<argument>...]` wants exactly this exit code, and no canary in the output.
func scriptStatus(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: status <code> <program> [<argument>...]")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	err = ts.Exec(args[1], args[2:]...)
	got := 0
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		got = exit.ExitCode()
	} else {
		ts.Check(err)
	}
	if got != want {
		ts.Fatalf("exit code %d, want %d", got, want)
	}
	if strings.Contains(ts.ReadFile("stdout")+ts.ReadFile("stderr"), canary) {
		ts.Fatalf("the canary was printed")
	}
}

// scriptSQL: `sql <file> <statement>` executes in SQLite and prints nothing; `sql <file> <query> = <value>` compares.
func scriptSQL(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 && (len(args) != 4 || args[2] != "=") {
		ts.Fatalf("usage: sql <file> <statement> [= <value>]")
	}
	db, err := sql.Open("sqlite", ts.MkAbs(args[0]))
	ts.Check(err)
	defer db.Close()
	if len(args) == 2 {
		_, err = db.Exec(args[1])
		ts.Check(err)
		return
	}
	var got string
	ts.Check(db.QueryRow(args[1]).Scan(&got))
	if got != args[3] {
		ts.Fatalf("%s = %s, want %s", args[1], got, args[3])
	}
}

// scriptAwait: `await <file>` waits until the file exists, and, if it is the socket of Caddy's admin endpoint, until the app backup
// answers there: Caddy listens before it starts its apps.
func scriptAwait(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: await <file>")
	}
	deadline := time.Now().Add(patience)
	for {
		fi, err := os.Stat(ts.MkAbs(args[0]))
		if err == nil && fi.Mode()&fs.ModeSocket != 0 {
			err = asked(ts.MkAbs(args[0]))
		} else if err != nil && !errors.Is(err, fs.ErrNotExist) {
			ts.Fatalf("waiting for %s: %v", args[0], err)
		}
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			ts.Fatalf("waiting for %s: %v", args[0], err)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// asked asks the app backup for its jobs at the socket of an admin endpoint.
func asked(socket string) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	_, err := adminAt(socket).Jobs(ctx)
	return err
}

// scriptCheap: `cheap <folder> <password>` makes an empty repository whose password costs no time, for scripts that open
// it dozens of times. The others have the real cost.
func scriptCheap(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: cheap <folder> <password>")
	}
	_, err := repo.Init(context.Background(), storage.NewLocal(ts.MkAbs(args[0])), []byte(args[1]), repo.Options{KDF: repotest.CheapKDF})
	ts.Check(err)
}

// scriptLock: `lock <folder> <password>` holds an exclusive lock on a repository until the end of the script, as a
// running `restic prune` does.
func scriptLock(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: lock <folder> <password>")
	}
	ctx := context.Background()
	r, err := repo.Open(ctx, storage.NewLocal(ts.MkAbs(args[0])), []byte(args[1]), repo.Options{})
	ts.Check(err)
	lock, err := r.Lock(ctx, true)
	ts.Check(err)
	ts.Defer(func() {
		if err := lock.Unlock(); err != nil {
			ts.Logf("unlock: %v", err)
		}
	})
}

// scriptFlip: `flip <folder> [<percent>]` flips one bit in the middle of every file below the folder, or at that part of its length.
func scriptFlip(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 1 || len(args) > 2 {
		ts.Fatalf("usage: flip <folder> [<percent>]")
	}
	percent := 50
	if len(args) == 2 {
		var err error
		percent, err = strconv.Atoi(args[1])
		ts.Check(err)
	}
	ts.Check(filepath.WalkDir(ts.MkAbs(args[0]), func(path string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return err
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		data[len(data)*percent/100] ^= 1
		if err := os.Chmod(path, 0o600); err != nil {
			return err
		}
		return os.WriteFile(path, data, 0o600)
	}))
}

// scriptNobody: `nobody <code> <program> [<argument>...]` is `status` as the user nobody, for whom the script's folder is
// open, but not what is in it. Who runs the tests as another user than root is nobody enough.
func scriptNobody(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: nobody <code> <program> [<argument>...]")
	}
	if os.Getuid() != 0 {
		scriptStatus(ts, false, args)
		return
	}
	program, err := exec.LookPath(args[1])
	ts.Check(err)
	for _, dir := range []string{ts.Getenv("WORK"), filepath.Dir(program)} {
		for ; dir != filepath.Clean(os.TempDir()) && dir != "/"; dir = filepath.Dir(dir) {
			ts.Check(os.Chmod(dir, 0o755))
		}
	}
	// setpriv becomes the other user and then the program.
	ts.Setenv("HOME", "/nonexistent")
	scriptStatus(ts, false, slices.Concat([]string{args[0], "setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", program}, args[2:]))
}

// scriptSilent: `silent` wants that no file below the script's folder but "secret" holds the canary.
func scriptSilent(ts *testscript.TestScript, neg bool, args []string) {
	err := filepath.WalkDir(ts.Getenv("WORK"), func(path string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() || e.Name() == "secret" {
			return err
		}
		data, err := os.ReadFile(path)
		if err == nil && strings.Contains(string(data), canary) {
			err = fmt.Errorf("%s holds the canary", path)
		}
		return err
	})
	ts.Check(err)
}
