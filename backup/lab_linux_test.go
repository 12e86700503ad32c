package backup_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/caddy-backup/caddy-backup/internal/realtest"
)

// TestLaboratory lets processes loose on repositories and kills them with SIGKILL, at random moments and at random
// changes of the storage, hundreds of times; with SOAK=1 thousands. After each kill every acknowledged backup is there,
// and the check is clean; the next process does its work without a hand. restic works in between, and has the last word.
func TestLaboratory(t *testing.T) {
	t.Parallel() // it mostly waits
	labs, rounds := 8, 30
	switch {
	case realtest.Soak():
		rounds = 600
	case testing.Short():
		labs, rounds = 2, 8 // the race detector makes them slow
	}
	seed := realtest.Seed(t)
	var mu sync.Mutex
	killed := map[string]int{}
	var running sync.WaitGroup
	for n := range labs {
		// Not t.Parallel, which starts as many as there are cores: these mostly wait.
		running.Go(func() {
			t.Run(fmt.Sprint(n), func(t *testing.T) {
				l := newLab(t, t.TempDir(), rand.New(rand.NewPCG(seed, uint64(n))))
				for round := range rounds {
					l.round(round)
				}
				l.last()
				mu.Lock()
				defer mu.Unlock()
				for name, n := range l.killed {
					killed[name] += n
				}
			})
		})
	}
	running.Wait()
	for _, name := range slices.Sorted(maps.Keys(killed)) {
		t.Logf("%4d killed in %s", killed[name], name)
	}
}

// lab is one repository, and what became of the processes on it.
type lab struct {
	*ledger
	t      *testing.T
	rng    *rand.Rand
	killed map[string]int // processes, by what they were doing
	notes  string         // what restic backs up
	cut    func() error   // of the power, just before a process is killed; nil: none
	eager  bool           // a process is killed as soon as it has told of a backup
}

func newLab(t *testing.T, root string, rng *rand.Rand) *lab {
	l := &lab{ledger: newLedger(root), t: t, rng: rng, killed: map[string]int{}, notes: t.TempDir()}
	l.quiet("backup") // it makes the repository
	return l
}

// round has a process killed, and then looks.
func (l *lab) round(n int) {
	plan := labPlan{Seed: l.rng.Uint64()}
	within := 10 * time.Second // it should have killed itself long before
	if l.rng.IntN(2) == 0 {
		plan.KillAt, plan.After = 1+l.rng.Int64N(20), l.rng.IntN(2) == 0
	} else {
		within = time.Duration(l.rng.IntN(800)) * time.Millisecond
	}
	doing, err := l.child(plan, within)
	if err != nil {
		l.t.Fatalf("round %d: %s", n, err)
	}
	l.killed[doing]++
	l.mend()
	l.verify(l.t, l.rng, n%20 == 19)
	if n%20 == 10 {
		l.beside()
	}
}

// beside has restic work on the repository. It respects locks, and the next process removes those of the dead.
func (l *lab) beside() {
	l.quiet("backup")
	write := filepath.Join(l.notes, fmt.Sprint(l.rng.IntN(4)))
	if err := os.WriteFile(write, fmt.Append(nil, l.rng.Uint64()), 0o600); err != nil {
		l.t.Fatal(err)
	}
	l.restic(l.t, "backup", "--json", l.notes)
	if l.rng.IntN(2) == 0 {
		l.restic(l.t, "prune", "--max-unused", "0")
	}
	l.verify(l.t, l.rng, false)
}

// quiet has a process do things in peace. It leaves no lock, neither its own nor of those before.
func (l *lab) quiet(ops ...string) {
	l.t.Helper()
	if doing, err := l.child(labPlan{Seed: l.rng.Uint64(), Ops: ops}, 5*time.Minute); err != nil || doing != "nothing" {
		l.t.Fatalf("in peace: %s, %v", doing, err)
	}
	if left := must(filepath.Glob(filepath.Join(l.folder(), "locks", "*")))(l.t); slices.ContainsFunc(left, func(name string) bool {
		return !strings.Contains(name, "-tmp-")
	}) {
		l.t.Fatalf("locks are left: %v", left)
	}
}

// mend has a repair done that was cut off. Until then the index may lack what was taken from it.
func (l *lab) mend() {
	l.t.Helper()
	if l.wounded {
		l.quiet("mend")
	}
}

// last ends with a process in peace, both checks with all data, and every byte compared.
func (l *lab) last() {
	l.quiet("backup")
	l.verify(l.t, l.rng, true)
	l.restic(l.t, "check", "--read-data")
}

// child runs a process until it has ended or time is up, and notes what it says. It returns what the process was doing
// when it was killed, "nothing" when it was done. An error is what the process itself calls a failure.
func (l *lab) child(plan labPlan, within time.Duration) (doing string, err error) {
	l.t.Helper()
	plan.Root, plan.Next = l.root, l.next
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), labEnv+"="+string(must(json.Marshal(plan))(l.t)))
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out := must(cmd.StdoutPipe())(l.t)
	if err := cmd.Start(); err != nil {
		l.t.Fatal(err)
	}
	dark, struck := false, make(chan struct{})
	timer := time.AfterFunc(within, func() {
		defer close(struck)
		if l.cut != nil {
			dark = true
			if err := l.cut(); err != nil {
				l.t.Error(err)
			}
		}
		cmd.Process.Kill()
	})
	doing = "start"
	for lines := bufio.NewScanner(out); lines.Scan(); {
		if name, ok := strings.CutPrefix(lines.Text(), "begin "); ok {
			doing = name
		}
		if text := l.note(lines.Text()); text != "" {
			err = fmt.Errorf("%s\n%s", text, stderr.String())
		}
		if l.eager && strings.HasPrefix(lines.Text(), "backed ") && timer.Stop() {
			timer.Reset(0)
		}
	}
	ended := cmd.Wait()
	if !timer.Stop() {
		<-struck
	}
	switch {
	case dark:
		err = nil // nothing works in the dark; but what it says that it has done, it has
	case ended == nil:
		return "nothing", err
	case err == nil && cmd.ProcessState.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL:
		err = fmt.Errorf("%w\n%s", ended, stderr.String())
	}
	return doing, err
}
