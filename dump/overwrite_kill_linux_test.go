package dump

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/caddy-backup/caddy-backup/backup"
	"github.com/caddy-backup/caddy-backup/backup/backuptest"
	"github.com/caddy-backup/caddy-backup/dump/dumptest"
	"github.com/caddy-backup/caddy-backup/internal/realtest"
	"github.com/caddy-backup/caddy-backup/storage"
)

// overwriteFromInput restores what comes on the standard input over a database.
func overwriteFromInput(path string) {
	s := &SQLite{Path: path}
	exitOn(provision(s))
	exitOn(s.Overwrite(context.Background(), backup.Stored{}, os.Stdin, backup.Over{}, dumptest.Task(&testing.T{})))
}

// role is a copy of the test binary in a role of TestMain.
func role(t *testing.T, name, path string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), "DUMP_TEST_ROLE="+name, "DUMP_TEST_PATH="+path)
	return cmd
}

// TestSQLiteOverwriteKilled kills a process with SIGKILL when it has got 10, 50 and 90 % of the dump: the live database is
// byte by byte what it was, and the next restore removes what was left.
func TestSQLiteOverwriteKilled(t *testing.T) {
	x := newOverwriting(t, "PRAGMA journal_mode=WAL")
	before, err := os.ReadFile(x.path)
	if err != nil {
		t.Fatal(err)
	}
	for _, percent := range []int{10, 50, 90} {
		cmd := role(t, "overwriteSQLite", x.path)
		in, err := cmd.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		if _, err := in.Write(x.dump[:len(x.dump)*percent/100]); err != nil {
			t.Fatal(err)
		}
		cmd.Process.Kill()
		cmd.Wait()
		in.Close()
		if after, _ := os.ReadFile(x.path); !bytes.Equal(before, after) {
			t.Errorf("killed at %d %%: the live one changed", percent)
		}
	}
	if left, _ := filepath.Glob(filepath.Join(filepath.Dir(x.path), ".shop.db.restore-*")); len(left) == 0 {
		t.Error("nothing was left, so nobody was killed in the middle")
	}
	if err := x.over(t.Context(), t, bytes.NewReader(x.dump), backup.Over{}); err != nil {
		t.Fatal(err)
	}
	x.requireLive(t, x.was)
}

// TestSQLiteOverwriteNoSpace fills the disk: the live one stays, and what was written of the new one goes.
func TestSQLiteOverwriteNoSpace(t *testing.T) {
	disk := realtest.NewDisk(t, 8)
	x := newOverwriting(t, "PRAGMA journal_mode=DELETE")
	small := filepath.Join(disk.Dir, "shop.db")
	execute(t, small, "CREATE TABLE account (id INTEGER PRIMARY KEY); INSERT INTO account VALUES (1)")
	y := &overwriting{SQLite: sqliteSource(t, small), stored: x.stored}
	y.is = sqliteDigests(t, small)
	y.stored.Size = 100 << 20
	if err := y.Ready(t.Context(), y.stored, backup.Over{}, dumptest.Task(t)); err == nil || !strings.Contains(err.Error(), "make room") {
		t.Errorf("error = %v", err)
	}
	endless := bytes.NewReader(append(bytes.Clone(x.dump), make([]byte, 20<<20)...))
	err := y.Overwrite(t.Context(), y.stored, endless, backup.Over{}, dumptest.Task(t))
	if err == nil || !strings.Contains(err.Error(), "no space left") {
		t.Errorf("error = %v", err)
	}
	os.Remove(filepath.Join(disk.Dir, "lost+found"))
	y.requireLive(t, y.is)
}

// killedShop is the configuration of the processes of TestFilesOverwriteKilled.
func killedShop(root string) (backup.Config, *Files) {
	f := &Files{Folder: filepath.Join(root, "media")}
	exitOn(provision(f))
	return backup.Config{
		Host: "shop-server", DataDir: filepath.Join(root, "data"), Logger: slog.New(slog.DiscardHandler),
		Repositories: []backup.RepositoryConfig{{Storage: storage.NewLocal(filepath.Join(root, "repository")), Password: []byte(backuptest.Password)}},
		Jobs:         []backup.Job{{Name: "shop", Sources: []backup.NamedSource{{Name: "media", Kind: "files", Source: f}}}},
	}, f
}

// overwriteFolder restores the only snapshot over the folder.
func overwriteFolder(root string) {
	c, f := killedShop(root)
	s := backup.New()
	_, err := s.Attach(c)
	exitOn(err)
	list, err := s.Snapshots(context.Background(), backup.SnapshotQuery{})
	exitOn(err)
	run, err := s.Restore(context.Background(), "tester", backup.RestoreRequest{
		Snapshot: list.Snapshots[len(list.Snapshots)-1].ID, Path: "media", Overwrite: true, Confirm: f.folder, NoSafety: true})
	exitOn(err)
	for _, err := range s.Watch(context.Background(), run.ID) {
		exitOn(err)
	}
}

// TestFilesOverwriteKilled kills a process with SIGKILL when it has restored 10, 50 and 90 % of the files: the folder is what
// it was, file by file, and the next restore removes what was left.
func TestFilesOverwriteKilled(t *testing.T) {
	root := t.TempDir()
	const files = 200
	was := map[string]string{}
	for i := range files {
		was[fmt.Sprintf("%d/%d.jpg", i%7, i)] = strings.Repeat(fmt.Sprintf("picture %d ", i), 3000)
	}
	media := filepath.Join(root, "media")
	writeTree(t, media, was)
	c, _ := killedShop(root)
	backuptest.InitCheaply(t, c.Repositories[0].Storage)
	e := &backuptest.Env{Service: backup.New(), Config: c}
	t.Cleanup(func() { backuptest.Close(t, e.Service) })
	if _, err := e.Attach(c); err != nil {
		t.Fatal(err)
	}
	s := e.Backed(t, "shop")
	is := map[string]string{"0/0.jpg": "changed", "new.jpg": "new"}
	if err := os.RemoveAll(media); err != nil {
		t.Fatal(err)
	}
	writeTree(t, media, is)
	for _, percent := range []int{10, 50, 90} {
		cmd := role(t, "overwriteFolder", root)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		ended := make(chan struct{}) // on a busy machine it may be done before we look
		go func() { defer close(ended); cmd.Wait() }()
		for deadline, far := time.Now().Add(2*time.Minute), false; !far && time.Now().Before(deadline); {
			done, _ := filepath.Glob(filepath.Join(root, changePrefix+"*", changeNew, "*", "*.jpg"))
			select {
			case <-ended:
				far = true
			default:
				far = len(done) >= files*percent/100
			}
		}
		cmd.Process.Kill()
		<-ended
		if got := readTree(t, media); !maps.Equal(got, is) && !maps.Equal(got, was) {
			t.Fatalf("killed at %d %%: the folder holds %d files, neither the old nor the new ones", percent, len(got))
		}
	}
	run, err := e.Restore(t.Context(), "alice", backup.RestoreRequest{Snapshot: s.ID, Path: "media", Overwrite: true, Confirm: media})
	if err != nil {
		t.Fatal(err)
	}
	requireOK(t, e.Wait(t, run.ID))
	if got := readTree(t, media); !maps.Equal(got, was) {
		t.Errorf("the folder holds %d files", len(got))
	}
	if left, _ := filepath.Glob(filepath.Join(root, ".*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}
