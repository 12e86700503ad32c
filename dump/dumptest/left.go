package dumptest

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/caddy-backup/caddy-backup/backup"
	"github.com/caddy-backup/caddy-backup/internal/realtest"
)

// Task returns a task with a log that Log reads. When the test ends, every process group that was started must have
// been told to have ended.
func Task(t testing.TB) *backup.Task {
	t.Helper()
	j := &journal{running: map[int]bool{}}
	t.Cleanup(func() {
		j.mu.Lock()
		defer j.mu.Unlock()
		if len(j.running) > 0 {
			t.Errorf("process groups that never ended, says the journal: %v", j.running)
		}
	})
	return &backup.Task{Log: slog.New(slog.NewTextHandler(j, nil)), Journal: j}
}

// Log is what was written so far into the log of a Task of ours.
func Log(task *backup.Task) string {
	j := task.Journal.(*journal)
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.log.String()
}

// Started counts the process groups that a Task of ours was told of.
func Started(task *backup.Task) int {
	j := task.Journal.(*journal)
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.started
}

type journal struct {
	mu      sync.Mutex
	running map[int]bool
	started int
	log     bytes.Buffer
}

func (j *journal) Write(p []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.log.Write(p)
}

func (j *journal) Started(pgid int) (ended func()) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.running[pgid] = true
	j.started++
	return func() {
		j.mu.Lock()
		defer j.mu.Unlock()
		delete(j.running, pgid)
	}
}

// patience is how long what was ended may take to be gone, on a machine that has much else to do. What was not ended is there longer:
// the programs of tests hang for a minute.
const patience = 40 * time.Second

// NothingLeft gives the test an empty TMPDIR and checks at its end that no file is in it, no more descriptors are open
// than now, and no process lives that inherited it.
func NothingLeft(t testing.TB) {
	t.Helper()
	dir := t.TempDir()
	t.Setenv("TMPDIR", dir)
	before := descriptors()
	t.Cleanup(func() {
		files, _ := filepath.Glob(filepath.Join(dir, "*"))
		if len(files) > 0 {
			t.Errorf("files left behind: %v", files)
		}
		// A killed process takes a moment to vanish from /proc, and a closed socket's poller to close.
		var processes []string
		var open int
		for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
			processes, open = realtest.Leftovers(dir), descriptors()
			if len(processes) == 0 && open <= before {
				return
			}
			runtime.GC() // the standard library keeps pipes that connections were copied through until nobody has wanted one for two of these
		}
		t.Errorf("left behind: processes %v; %d descriptors, were %d", processes, open, before)
	})
}

// Gone wants no process to live whose command line or environment has the marker in it. Those that were killed take a moment to vanish.
func Gone(t testing.TB, marker string) {
	t.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		left := realtest.Leftovers(marker)
		if len(left) == 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("left behind: %v", left)
		}
	}
}

func descriptors() int {
	entries, _ := os.ReadDir("/proc/self/fd")
	return len(entries)
}
