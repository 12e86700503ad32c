package integration

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/caddy-backup/caddy-backup/backup"
)

// withHooks has the job that hangs pause workers before its dump and let them go on after it: the file "paused" is there
// meanwhile, and "told" says what the program after it was told. The file "slow" makes that take longer than a shutdown does.
func (c *child) withHooks() {
	c.Helper()
	c.write("resume.sh", "test ! -e "+c.dir+"/slow || sleep 30\nrm -f "+c.dir+"/paused\necho $CADDY_BACKUP_JOB $CADDY_BACKUP_RUN $CADDY_BACKUP_OUTCOME >>"+c.dir+"/told\n")
	config, err := os.ReadFile(filepath.Join(c.dir, "Caddyfile"))
	if err != nil {
		c.Fatal(err)
	}
	c.write("Caddyfile", strings.Replace(string(config), "job hang {", fmt.Sprintf("job hang {\n\t\t\tbefore touch %[1]s/paused\n\t\t\tafter sh %[1]s/resume.sh", c.dir), 1))
}

func (c *child) told() string {
	text, _ := os.ReadFile(filepath.Join(c.dir, "told"))
	return string(text)
}

func (c *child) paused() bool {
	_, err := os.Stat(filepath.Join(c.dir, "paused"))
	return err == nil
}

// TestHooksAndTerm: a server that is asked to end while a dump hangs lets the workers go on, in the time that it has. When that is
// not enough, and when it was killed, the next start does it.
func TestHooksAndTerm(t *testing.T) {
	for name, c := range map[string]struct {
		signal syscall.Signal
		slow   bool
	}{"asked to end": {syscall.SIGTERM, false}, "asked to end, with little time": {syscall.SIGTERM, true}, "killed": {syscall.SIGKILL, false}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newChild(t, "127.0.0.1:1")
			s.withHooks()
			s.start()
			want := "" // all that was told
			inTime(t, func() (took time.Duration) {
				run, pids := s.hang()
				if !s.paused() {
					t.Error("the program before the dump was not run")
				}
				if c.slow {
					s.write("slow", "")
				}
				took = s.end(c.signal)
				want += "hang " + run.ID + " interrupted\n"
				done := c.signal == syscall.SIGTERM && !c.slow
				if done && s.told() != want && took >= endsWithin { // this machine was too slow for it
					took = max(took, enough+1)
				} else if done != (s.told() == want) || done == s.paused() {
					t.Errorf("paused: %v; told: %q", s.paused(), s.told())
				}
				os.Remove(filepath.Join(s.dir, "slow"))
				s.start()
				s.until("the workers go on", func() bool { return !s.paused() && s.told() == want })
				s.wantState(run.ID, backup.StateInterrupted)
				wantGone(t, pids...)
				return took
			})
			s.wantGreen()
			s.end(syscall.SIGTERM)
			s.start() // and not again
			s.wantGreen()
			s.end(syscall.SIGTERM)
			if s.told() != want {
				t.Errorf("told: %q", s.told())
			}
		})
	}
}
