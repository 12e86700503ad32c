package repo_test

import (
	"bufio"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/caddy-backup/caddy-backup/internal/realtest"
	"github.com/caddy-backup/caddy-backup/repo"
	"github.com/caddy-backup/caddy-backup/storage"
)

// childRepository tells a copy of this test program to write snapshots into a repository until it is killed.
const childRepository = "CADDY_BACKUP_TEST_REPOSITORY"

// TestChildWriter is the child of TestKilledWriters; it prints the ID of each snapshot once it is acknowledged.
func TestChildWriter(t *testing.T) {
	dir := os.Getenv(childRepository)
	if dir == "" {
		return // not a child: there is nothing to test here
	}
	r := openRepo(t, storage.NewLocal(dir))
	for i := uint64(0); ; i++ {
		s, err := write(t.Context(), r, content{"shared": text(1, 2<<20), "own": text(uint64(os.Getpid())+i, 6<<20)})
		if err != nil {
			t.Fatal(err)
		}
		fmt.Printf("acknowledged %s\n", s.ID)
	}
}

// TestKilledWriters sends SIGKILL to writing processes at random moments: what they acknowledged is there, and the check
// is clean.
func TestKilledWriters(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "repo")
	st := storage.NewLocal(dir)
	initRepo(t, st, repo.Options{})
	var acknowledged []string
	rounds := 12
	if testing.Short() {
		rounds = 4
	}
	for range rounds {
		acknowledged = append(acknowledged, killedWriter(t, dir, time.Duration(rand.IntN(900))*time.Millisecond)...)
		r := openRepoWithIndex(t, st)
		for _, id := range acknowledged {
			if _, err := r.FindSnapshot(t.Context(), id, repo.SnapshotFilter{}); err != nil {
				t.Fatalf("%s was acknowledged: %v", id, err)
			}
		}
		report, err := r.Check(t.Context(), repo.CheckOptions{ReadData: true})
		if err != nil || report.Errors() > 0 {
			t.Fatalf("check: %v, %+v", err, report.Problems)
		}
	}
	t.Logf("%d snapshots were acknowledged before %d kills", len(acknowledged), rounds)
	realtest.Restic(t, dir, password, "unlock") // of processes that are dead; shared locks stop no backup, but restic's check
	realtest.Restic(t, dir, password, "check", "--read-data")
	if _, err := write(t.Context(), openRepo(t, st), content{"next": []byte("x")}); err != nil {
		t.Error(err)
	}
}

// killedWriter runs a child for a while, kills it, and returns what it acknowledged.
func killedWriter(t *testing.T, dir string, after time.Duration) (ids []string) {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run", "^TestChildWriter$")
	cmd.Env = append(os.Environ(), childRepository+"="+dir)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	timer := time.AfterFunc(300*time.Millisecond+after, func() { _ = cmd.Process.Kill() })
	defer timer.Stop()
	for lines := bufio.NewScanner(out); lines.Scan(); {
		if id, ok := strings.CutPrefix(lines.Text(), "acknowledged "); ok {
			ids = append(ids, id)
		}
	}
	_ = cmd.Wait()
	return ids
}

// TestDiskRunsFull fills a small file system: the backup fails and says so, the lock is gone, what was there is whole, and
// once there is room again the next backup works.
func TestDiskRunsFull(t *testing.T) {
	if testing.Short() {
		t.Skip("one thing after the other: no races to be found")
	}
	dir := realtest.SmallDisk(t, 24)
	st := storage.NewLocal(filepath.Join(dir, "repo"))
	r := initRepo(t, st, repo.Options{})
	old := content{"kept": noise(3 << 20)}
	s, err := write(t.Context(), r, old)
	if err != nil {
		t.Fatal(err)
	}
	_, err = write(t.Context(), r, content{"big": noise(40 << 20)})
	if !errors.Is(err, syscall.ENOSPC) || !strings.Contains(err.Error(), dir) {
		t.Fatalf("on a full disk: %v", err)
	}
	if locks, err := r.Locks(t.Context()); err != nil || len(locks) != 0 {
		t.Errorf("%d locks are left, %v", len(locks), err)
	}
	fresh := openRepoWithIndex(t, st)
	verify(t, fresh, s.Tree, old)
	if report, err := fresh.Check(t.Context(), repo.CheckOptions{ReadData: true}); err != nil || report.Errors() > 0 {
		t.Errorf("check: %v, %+v", err, report)
	}
	if err := syscall.Mount("", dir, "", syscall.MS_REMOUNT, "size=64m"); err != nil {
		t.Fatal(err)
	}
	if _, err := write(t.Context(), r, content{"small": []byte("x")}); err != nil {
		t.Error(err)
	}
}
