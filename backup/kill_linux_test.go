package backup_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/caddy-backup/caddy-backup/backup"
	"github.com/caddy-backup/caddy-backup/backup/backuptest"
	"github.com/caddy-backup/caddy-backup/internal/realtest"
	"github.com/caddy-backup/caddy-backup/storage"
)

// fileStore is a backup.Store in a folder, for two processes.
type fileStore struct{ dir string }

func (s fileStore) path(key string) string { return filepath.Join(s.dir, filepath.FromSlash(key)) }

// Store is as safe as that of Caddy's own folder: a crash leaves the old value or the new one.
func (s fileStore) Store(_ context.Context, key string, value []byte) error {
	p := s.path(key)
	if err := os.MkdirAll(filepath.Dir(p), 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(s.dir, ".new-*")
	if err != nil {
		return err
	}
	_, err = f.Write(value)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return os.Rename(f.Name(), p)
}

func (s fileStore) Load(_ context.Context, key string) ([]byte, error) {
	return os.ReadFile(s.path(key))
}

func (s fileStore) Delete(_ context.Context, key string) error { return os.Remove(s.path(key)) }

func (s fileStore) List(_ context.Context, prefix string, _ bool) ([]string, error) {
	entries, err := os.ReadDir(s.path(prefix))
	var keys []string
	for _, e := range entries {
		keys = append(keys, prefix+"/"+e.Name())
	}
	return keys, err
}

// killConfig is the configuration of both processes.
func killConfig(root string, source backup.Source) backup.Config {
	return backup.Config{
		Host:         "shop-server",
		Repositories: []backup.RepositoryConfig{{Storage: storage.NewLocal(filepath.Join(root, "repository")), Password: []byte(backuptest.Password)}},
		Jobs:         []backup.Job{{Name: "shop", Sources: []backup.NamedSource{{Name: "db", Kind: "fake", Source: source}}}},
		Store:        fileStore{filepath.Join(root, "store")},
		DataDir:      filepath.Join(root, "data"),
	}
}

// killRoot is set for the process that TestKill kills.
const killRoot = "BACKUP_TEST_KILL_ROOT"

func init() {
	if root := os.Getenv(killRoot); root != "" {
		fmt.Println(backUpForEver(root))
		os.Exit(1)
	}
}

// backUpForEver backs up, with a child process running, and does not end.
func backUpForEver(root string) error {
	source := backuptest.NewSource("")
	source.Do(func(_ context.Context, w io.Writer, task *backup.Task) error {
		child := exec.Command("sleep", "1000")
		child.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
		if err := child.Start(); err != nil {
			return err
		}
		defer task.Journal.Started(child.Process.Pid)()
		if _, err := w.Write(make([]byte, 40<<20)); err != nil { // some of it is stored already
			return err
		}
		fmt.Printf("dumping, with child %d\n", child.Process.Pid)
		return child.Wait()
	})
	s := backup.New()
	if _, err := s.Attach(killConfig(root, source)); err != nil {
		return err
	}
	run, err := s.Backup(context.Background(), "tester", "shop")
	if err != nil {
		return err
	}
	for _, err := range s.Watch(context.Background(), run.ID) {
		if err != nil {
			return err
		}
	}
	return fmt.Errorf("it ended")
}

// TestKill kills a process in the middle of a dump with SIGKILL. The next one shows its run as interrupted, ends the
// child that it left, removes its lock, and backs up.
func TestKill(t *testing.T) {
	root := t.TempDir()
	backuptest.InitCheaply(t, storage.NewLocal(filepath.Join(root, "repository")))
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), killRoot+"="+root)
	out := must(cmd.StdoutPipe())(t)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var child int
	lines := bufio.NewScanner(out)
	for child == 0 && lines.Scan() {
		fmt.Sscanf(lines.Text(), "dumping, with child %d", &child)
	}

	// While it lives, it is left alone.
	source := backuptest.NewSource("good data")
	beside := backup.New()
	must(beside.Attach(killConfig(root, source)))(t)
	if jobs := must(beside.Jobs(t.Context()))(t); jobs[0].Running == nil {
		t.Errorf("%+v", jobs)
	} else if err := beside.Cancel(t.Context(), "tester", jobs[0].Running.ID); err == nil || !strings.Contains(err.Error(), "another process") {
		t.Error(err)
	}
	run := must(beside.Backup(t.Context(), "tester", "shop"))(t)
	if run = backuptest.Wait(t, beside, run.ID); run.State != backup.StateOK {
		t.Errorf("beside a living process: %+v", run)
	}
	if locks := must(filepath.Glob(filepath.Join(root, "repository", "locks", "*")))(t); len(locks) != 1 {
		t.Errorf("the lock of a living process is gone: %v", locks)
	}

	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	cmd.Wait()
	if err := syscall.Kill(child, 0); err != nil {
		t.Fatalf("the child should have outlived its parent: %v", err)
	}
	if jobs := must(beside.Jobs(t.Context()))(t); jobs[0].Running != nil || jobs[0].LastGood.IsZero() {
		t.Errorf("%+v", jobs)
	}
	backuptest.Close(t, beside)

	next := backup.New()
	must(next.Attach(killConfig(root, source)))(t)
	defer backuptest.Close(t, next)
	runs := must(next.Runs(t.Context(), backup.RunFilter{}))(t)
	if len(runs) != 2 || runs[1].State != backup.StateInterrupted || !strings.Contains(runs[1].Error, "is gone") {
		t.Errorf("%+v", runs)
	}
	for range 1200 {
		if data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", child)); err != nil || strings.Contains(string(data), ") Z ") {
			child = 0
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	if child != 0 {
		syscall.Kill(child, syscall.SIGKILL)
		t.Error("the child of the dead process lives")
	}
	run = must(next.Backup(t.Context(), "tester", "shop"))(t)
	if run = backuptest.Wait(t, next, run.ID); run.State != backup.StateOK {
		t.Errorf("%+v", run)
	}
	if left := must(filepath.Glob(filepath.Join(root, "repository", "locks", "*")))(t); len(left) != 0 {
		t.Errorf("locks: %v", left)
	}
	if left := must(filepath.Glob(filepath.Join(root, "data", "journal", "*")))(t); len(left) != 1 {
		t.Errorf("journals: %v", left)
	}
	list := must(next.Snapshots(t.Context(), backup.SnapshotQuery{}))(t)
	if list.Total != 2 {
		t.Errorf("%+v", list)
	}
	realtest.Restic(t, filepath.Join(root, "repository"), backuptest.Password, "check", "--read-data")
}
