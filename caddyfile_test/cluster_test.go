package integration

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/caddy-backup/caddy-backup/backup"
)

// hurryBy is how many times as fast time goes by for the members of the cluster here, and everyTwo their schedule, in real time.
const (
	hurryBy  = 30
	everyTwo = 2 * time.Minute / hurryBy
)

// servers is a cluster of real servers: what they share lies in one folder.
type servers struct {
	*testing.T
	shared string
	all    []*child
}

func newServers(t *testing.T, n int) *servers {
	s := &servers{T: t, shared: t.TempDir()}
	s.write("secret", canary+"\n")
	// The dump tells when it begins and ends, and waits while the file "hold" is there.
	s.write("dump.sh", "echo begin $$ $PPID >>"+s.shared+"/dumps; while [ -e "+s.shared+"/hold ]; do sleep 0.05; done; sleep 0.2; date; "+
		"echo end $$ $PPID >>"+s.shared+"/dumps\n")
	since := time.Now().Unix()
	for range n {
		c := newChild(t, "127.0.0.1:1")
		c.write("Caddyfile", fmt.Sprintf(`{
	admin unix/%[1]s/admin.sock
	storage file_system %[2]s/store
	hurry %[3]d %[4]d
	backup {
		host shop
		cluster
		repository {
			storage %[2]s/repository
			password {file.%[2]s/secret}
		}
		job shop {
			source out command sh %[2]s/dump.sh
			schedule every 2m
			retention {
				last 1000
			}
		}
	}
}
`, c.dir, s.shared, since, hurryBy))
		s.all = append(s.all, c)
	}
	return s
}

func (s *servers) write(name, content string) {
	s.Helper()
	if err := os.WriteFile(filepath.Join(s.shared, name), []byte(content), 0o600); err != nil {
		s.Fatal(err)
	}
}

// lines of a file that the dumps write, which begin with a word.
func (s *servers) dumps(word string) (lines []string) {
	data, _ := os.ReadFile(filepath.Join(s.shared, "dumps"))
	for line := range strings.Lines(string(data)) {
		if strings.HasPrefix(line, word+" ") {
			lines = append(lines, line)
		}
	}
	return lines
}

// backups are the scheduled ones that a member knows of, oldest first.
func (s *servers) backups(c *child) []backup.Run {
	s.Helper()
	runs, err := c.admin.Runs(s.Context(), backup.RunFilter{Kind: backup.KindBackup, Limit: 1000})
	if err != nil {
		s.Fatal(err)
	}
	slices.Reverse(runs)
	return runs
}

func (s *servers) text(c *child) string {
	var b strings.Builder
	for _, r := range s.backups(c) {
		fmt.Fprintln(&b, r.ID, r.Member, r.Scheduled.Format(time.TimeOnly), r.State)
	}
	return b.String()
}

// killDumping kills the member whose dump is held, and the dump, and returns the run and the other members.
func (s *servers) killDumping(dumped int) (run string, killed *child, others []*child) {
	s.Helper()
	s.all[0].until("a dump runs", func() bool { return len(s.dumps("begin")) > dumped })
	fields := strings.Fields(s.dumps("begin")[dumped])
	dump, err := strconv.Atoi(fields[1])
	if err != nil {
		s.Fatal(err)
	}
	i := slices.IndexFunc(s.all, func(c *child) bool { return fmt.Sprint(c.cmd.Process.Pid) == fields[2] })
	if i < 0 {
		s.Fatalf("nobody made the dump %v", fields)
	}
	killed = s.all[i]
	runs := s.backups(killed)
	killed.end(syscall.SIGKILL)
	if err := syscall.Kill(-dump, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) { // it may have died with its parent
		s.Error(err)
	}
	others = slices.Delete(slices.Clone(s.all), i, i+1)
	return runs[len(runs)-1].ID, killed, others
}

// TestCluster: of three servers one makes each run; when it is killed in the middle of one, another makes it again.
func TestCluster(t *testing.T) {
	s := newServers(t, 3)
	s.write("hold", "")
	for _, c := range s.all {
		c.start()
	}
	run, killed, others := s.killDumping(0)
	if err := os.Remove(filepath.Join(s.shared, "hold")); err != nil {
		t.Fatal(err)
	}
	others[0].until("another member has made the run again", func() bool { return len(s.dumps("end")) >= 1 })
	others[1].wantState(run, backup.StateInterrupted)
	killed.start()
	others[0].until("one run more is made", func() bool { return len(s.dumps("end")) >= 2 })
	runs := s.agreed()

	want, again := runs[0].Scheduled, runs[1]
	if next := want.Add(2 * time.Minute); !again.Created.Before(next) {
		want = next // others were slow to see the death: one run is for both
	}
	if again.State == backup.StateOK && !again.Scheduled.Equal(want) {
		t.Errorf("what was made again is for %s, want %s", again.Scheduled, want)
	}
	made := map[string]bool{}
	for _, r := range runs {
		slot := r.Scheduled.Format(time.TimeOnly)
		if made[slot] {
			t.Errorf("there is another run for %s, which was made", slot)
		}
		made[slot] = r.State == backup.StateOK
	}
	for _, c := range s.all {
		c.end(syscall.SIGTERM)
	}
	(&child{T: t, dir: s.shared}).restic()
}

// agreed waits for a moment, between two runs, at which all members know the same: that as many runs are ok as dumps have ended, of
// one more that began. On a machine with much else to do another member may have been taken for dead, too: it was silent for two
// seconds. Its dump began, and may have ended.
func (s *servers) agreed() (runs []backup.Run) {
	s.Helper()
	told := ""
	defer func() { s.Log("\n" + told) }()
	s.all[0].until("all members know the same, of all dumps", func() bool {
		ends := len(s.dumps("end"))
		runs, told = s.backups(s.all[0]), s.text(s.all[0])
		green, lost, going := 0, 0, 0
		for _, r := range runs {
			switch {
			case r.State == backup.StateOK:
				green++
			case r.State == backup.StateInterrupted:
				lost++
			default:
				going++
			}
		}
		begun, silenced := len(s.dumps("begin")), lost-1 // but for the one that was killed
		told += fmt.Sprintf("%d runs are ok; %d dumps began, %d ended", green, begun, ends)
		return going == 0 && ends-green >= 0 && ends-green <= silenced && begun-green >= 1 && begun-green <= lost && !slices.ContainsFunc(s.all, func(c *child) bool { return s.text(c) != s.text(s.all[0]) })
	})
	return runs
}
