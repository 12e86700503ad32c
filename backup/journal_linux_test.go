package backup

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/caddy-backup/caddy-backup/internal/realtest"
	"github.com/caddy-backup/caddy-backup/repo"
)

func lockID(n byte) repo.ID { return repo.ID{n} }

// writeJournal makes the journal of another process.
func writeJournal(t *testing.T, dataDir, name string, owner process, events ...string) string {
	t.Helper()
	header, err := json.Marshal(owner)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dataDir, "journal", name+journalSuffix)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(string(header)+"\n"+strings.Join(events, "\n")), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// deadProcess is one that ran in this boot and this container, and is gone.
func deadProcess(t *testing.T) process {
	t.Helper()
	cmd := exec.Command("true")
	if err := cmd.Run(); err != nil {
		t.Fatal(err)
	}
	p := thisProcess()
	p.PID = cmd.Process.Pid
	return p
}

func lockEvent(id repo.ID, at string) string {
	return `{"lock":"` + id.String() + `","at":"` + at + `"}`
}

func TestJournalWrites(t *testing.T) {
	dir := t.TempDir()
	j := newJournal(dir, quiet)
	if entries, _ := os.ReadDir(dir); len(entries) != 0 {
		t.Error("there is something before the first entry: ", entries)
	}
	a, b := lockJournal{j, "/a"}, lockJournal{j, "/b"}
	for _, err := range []error{a.Add(lockID(1)), b.Add(lockID(2)), a.Add(lockID(3)), a.Remove(lockID(1))} {
		if err != nil {
			t.Fatal(err)
		}
	}
	ended := j.Started(os.Getpid())
	d := &deadJournal{file: mustOpen(t, j), left: newLeftover()}
	if err := d.read(); err != nil {
		t.Fatal(err)
	}
	if d.owner != thisProcess() || len(d.left.locks) != 2 || d.left.locks[lockID(3)] != "/a" || d.left.locks[lockID(2)] != "/b" {
		t.Errorf("%+v", d)
	}
	if start, ok := startTime(os.Getpid()); !ok || d.left.groups[os.Getpid()] != start {
		t.Errorf("%+v", d.left.groups)
	}
	ended()
	ended()
	for _, err := range []error{b.Remove(lockID(2)), a.Remove(lockID(3)), a.Remove(lockID(3))} {
		if err != nil {
			t.Fatal(err)
		}
	}
	if data, err := os.ReadFile(j.file.Name()); err == nil && strings.Count(string(data), "\n") != 1 {
		t.Errorf("with nothing left there is more than the header: %s", data)
	}
	if !j.alive(j.id()) {
		t.Error("we live")
	}
	other := newJournal(dir, quiet)
	if !other.alive(j.id()) {
		t.Error("another process thinks that we are dead")
	}
	if err := a.Add(lockID(4)); err != nil {
		t.Fatal(err)
	}
	if err := other.sweep("/a", func(ids []repo.ID) error { t.Error("our lock is taken away: ", ids); return nil }); err != nil {
		t.Error(err)
	}
	if err := a.Remove(lockID(4)); err != nil {
		t.Fatal(err)
	}
	id := j.id()
	j.close()
	if other.alive(id) || other.alive("") || other.alive("../../etc/passwd") {
		t.Error("what was closed is alive")
	}
	if entries, _ := os.ReadDir(filepath.Join(dir, "journal")); len(entries) != 0 {
		t.Error(entries)
	}
}

func mustOpen(t *testing.T, j *journal) *os.File {
	t.Helper()
	f, err := os.Open(filepath.Join(j.dir, j.name+journalSuffix))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

// TestJournalKeptWhenLeft: a lock that could not be deleted stays in the journal of a process that ends.
func TestJournalKeptWhenLeft(t *testing.T) {
	dir := t.TempDir()
	j := newJournal(dir, quiet)
	if err := (lockJournal{j, "/a"}).Add(lockID(1)); err != nil {
		t.Fatal(err)
	}
	j.close()
	if entries, _ := os.ReadDir(filepath.Join(dir, "journal")); len(entries) != 1 {
		t.Error(entries)
	}
}

func TestSweep(t *testing.T) {
	dead := deadProcess(t)
	earlier := process{Boot: "an earlier boot", PID: os.Getpid(), Start: 7, Namespace: "pid:[1]"}
	elsewhere := thisProcess()
	elsewhere.Namespace = "pid:[1]"
	reused := thisProcess()
	reused.Start++
	cases := map[string]struct {
		owner process
		dead  bool
	}{
		"gone":                         {dead, true},
		"earlier boot":                 {earlier, true},
		"another container, gone":      {elsewhere, true},
		"process ID used by another":   {reused, true},
		"living, without its lock (?)": {thisProcess(), false},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			path := writeJournal(t, dir, "7-abcd", c.owner, lockEvent(lockID(1), "/a"), lockEvent(lockID(2), "/b"),
				lockEvent(lockID(3), "/a"), `{"unlock":"`+lockID(3).String()+`"}`, `{"lock":"torn`)
			j := newJournal(dir, quiet)
			if j.alive("7-abcd") == c.dead {
				t.Error("alive: ", !c.dead)
			}
			var removed []repo.ID
			remove := func(ids []repo.ID) error { removed = append(removed, ids...); return nil }
			if err := j.sweep("", nil); err != nil {
				t.Error(err)
			}
			if err := j.sweep("/a", remove); err != nil {
				t.Error(err)
			}
			if c.dead != slices.Equal(removed, []repo.ID{lockID(1)}) {
				t.Errorf("removed: %v", removed)
			}
			if _, err := os.Stat(path); err != nil {
				t.Error("a journal is gone with a lock left: ", err)
			}
			if err := j.sweep("/b", func([]repo.ID) error { return errors.New("the storage is down") }); (err != nil) != c.dead {
				t.Error(err)
			}
			removed = nil
			if err := j.sweep("/b", remove); err != nil {
				t.Error(err)
			}
			if _, err := os.Stat(path); c.dead != errors.Is(err, os.ErrNotExist) {
				t.Error(err)
			}
		})
	}
}

// TestSweepHeld: whoever holds the lock of the operating system lives, whatever the numbers say.
func TestSweepHeld(t *testing.T) {
	dir := t.TempDir()
	path := writeJournal(t, dir, "7-abcd", process{Boot: "an earlier boot", PID: 7}, lockEvent(lockID(1), "/a"))
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if free, err := lockFile(f); !free || err != nil {
		t.Fatal(free, err)
	}
	j := newJournal(dir, quiet)
	if err := j.sweep("/a", func(ids []repo.ID) error { t.Error(ids); return nil }); err != nil {
		t.Error(err)
	}
	if !j.alive("7-abcd") {
		t.Error("dead")
	}
}

// TestSweepGroups ends what a dead process left running, and nothing else.
func TestSweepGroups(t *testing.T) {
	dead := deadProcess(t)
	for _, c := range []struct {
		name  string
		owner process
		shift uint64 // of the leader's start time
		ended bool
	}{
		{"left", dead, 0, true},
		{"number used by another", dead, 1, false},
		{"earlier boot", process{Boot: "an earlier boot", PID: dead.PID, Start: dead.Start, Namespace: dead.Namespace}, 0, false},
		{"another container", process{Boot: dead.Boot, PID: dead.PID, Start: dead.Start, Namespace: "pid:[1]"}, 0, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			child := startGroup(t)
			start, ok := startTime(child.Process.Pid)
			if !ok {
				t.Fatal("no start time")
			}
			group, err := json.Marshal(event{Group: child.Process.Pid, Start: start + c.shift})
			if err != nil {
				t.Fatal(err)
			}
			dir := t.TempDir()
			path := writeJournal(t, dir, "7-abcd", c.owner, string(group))
			if err := newJournal(dir, quiet).sweep("", nil); err != nil {
				t.Error(err)
			}
			if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
				t.Error(err)
			}
			ended := make(chan struct{})
			go func() { child.Wait(); close(ended) }()
			select {
			case <-ended:
				if !c.ended {
					t.Error("a process of somebody else's was ended")
				}
			case <-time.After(map[bool]time.Duration{true: time.Minute, false: 200 * time.Millisecond}[c.ended]):
				if c.ended {
					t.Error("it was not ended")
				}
				child.Process.Kill()
				<-ended
			}
		})
	}
}

// TestSweepOrphans ends what is left of a group whose leader is gone, and was noted or not, if it descends from the dead process, and
// nothing else.
func TestSweepOrphans(t *testing.T) {
	dead := deadProcess(t)
	elsewhere := dead
	elsewhere.Session++ // as of what became a daemon
	for name, c := range map[string]struct {
		owner, by process
		noted     bool
		ended     bool
	}{
		"left":         {dead, dead, true, true},
		"not noted":    {dead, dead, false, true},
		"somebody's":   {dead, process{PID: dead.PID, Start: dead.Start + 1}, true, false},
		"a daemon":     {elsewhere, dead, true, false},
		"earlier boot": {process{Boot: "an earlier boot", PID: dead.PID, Start: dead.Start, Namespace: dead.Namespace, Session: dead.Session}, dead, true, false},
		"of who lives": {thisProcess(), thisProcess(), true, false},
	} {
		t.Run(name, func(t *testing.T) {
			r, w, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			leader := exec.Command("sh", "-c", "sleep 600 & echo $!")
			leader.SysProcAttr, leader.Env, leader.Stdout = &syscall.SysProcAttr{Setpgid: true}, []string{"PATH=" + os.Getenv("PATH"), c.by.mark()}, w
			if err := errors.Join(leader.Run(), w.Close()); err != nil {
				t.Fatal(err)
			}
			orphan := bufio.NewReader(r) // ends with who has the pipe
			line, err := orphan.ReadString('\n')
			if err != nil {
				t.Fatal(line, err)
			}
			awaitProgram(t, strings.TrimSpace(line), "sleep")
			dir := t.TempDir()
			var events []string
			if c.noted {
				events = append(events, fmt.Sprintf(`{"group":%d,"start":1}`, leader.Process.Pid))
			}
			writeJournal(t, dir, "7-abcd", c.owner, events...)
			if err := newJournal(dir, quiet).sweep("", nil); err != nil {
				t.Error(err)
			}
			within := map[bool]time.Duration{true: 30 * time.Second, false: 100 * time.Millisecond}[c.ended]
			if err := r.SetReadDeadline(time.Now().Add(within)); err != nil {
				t.Fatal(err)
			}
			if _, err := orphan.ReadByte(); c.ended != (err == io.EOF) {
				t.Errorf("ended: %v (%v)", err == io.EOF, err)
			}
			killGroup(leader.Process.Pid)
		})
	}
}

// TestSweepOrphansContained does the same where the session has no number, for it began outside the container.
func TestSweepOrphansContained(t *testing.T) {
	unshare := realtest.Need(t, "unshare")
	contained := []string{"--pid", "--fork", "--mount-proc", "--kill-child"}
	if out, err := exec.Command(unshare, append(contained, "true")...).CombinedOutput(); err != nil {
		realtest.Skip(t, fmt.Sprintf("no container of its own can be made here: %v: %s", err, out))
	}
	out, err := exec.Command(unshare, append(contained, os.Args[0], "-test.v", "-test.run=^TestSweep(Groups|Orphans|ByDescendant)$")...).CombinedOutput()
	if err != nil || strings.Count(string(out), "\n--- PASS: ") != 3 {
		t.Errorf("%v: %s", err, out)
	}
}

// sweepRoot is set for the process that TestSweepByDescendant starts.
const sweepRoot = "BACKUP_TEST_SWEEP_ROOT"

func init() {
	if dir := os.Getenv(sweepRoot); dir != "" {
		fmt.Println(newJournal(dir, quiet).sweep("", nil))
		os.Exit(0)
	}
}

// TestSweepByDescendant: who was started by a program of the dead process, and cleans up behind it, does not end itself.
func TestSweepByDescendant(t *testing.T) {
	dead, dir := deadProcess(t), t.TempDir()
	path := writeJournal(t, dir, "7-abcd", dead)
	cmd := exec.Command(os.Args[0])
	cmd.SysProcAttr, cmd.Env = &syscall.SysProcAttr{Setpgid: true}, append(os.Environ(), dead.mark(), sweepRoot+"="+dir)
	if out, err := cmd.CombinedOutput(); err != nil || string(out) != "<nil>\n" {
		t.Errorf("%v: %s", err, out)
	}
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
}

// awaitProgram waits until a process runs a program: one that a shell has just begun is a copy of the shell at first, and has no
// environment while it becomes what it is to be.
func awaitProgram(t *testing.T, pid, name string) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
		cmdline, err := os.ReadFile("/proc/" + pid + "/cmdline")
		if strings.HasPrefix(string(cmdline), name+"\x00") {
			return
		}
		if err != nil || time.Now().After(deadline) {
			t.Fatalf("process %s is %q, %v", pid, cmdline, err)
		}
	}
}

// startGroup starts a process in a group of its own.
func startGroup(t *testing.T) *exec.Cmd {
	t.Helper()
	cmd := exec.Command("sleep", "600")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return cmd
}
