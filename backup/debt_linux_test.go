package backup_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/caddy-backup/caddy-backup/backup"
	"github.com/caddy-backup/caddy-backup/backup/backuptest"
)

// debtRoot is set for the process that TestDebtOnFullDisk starts.
const debtRoot = "BACKUP_TEST_DEBT_ROOT"

// fullJournal is as long as a file of that process can become.
const fullJournal = 4096

func init() {
	if root := os.Getenv(debtRoot); root != "" {
		fmt.Print(payOnFullDisk(root))
		os.Exit(0)
	}
}

// payOnFullDisk says which programs ran until what is owed was paid, and what would follow at once.
func payOnFullDisk(root string) ([]string, error) {
	signal.Ignore(unix.SIGXFSZ)
	if err := unix.Setrlimit(unix.RLIMIT_FSIZE, &unix.Rlimit{Cur: fullJournal, Max: fullJournal}); err != nil {
		return nil, err
	}
	var n notes
	s, c := backup.New(), hookKillConfig(root, backuptest.NewSource("data"), &n)
	c.Store = &backuptest.Store{}
	if _, err := s.Attach(c); err != nil {
		return nil, err
	}
	for {
		runs, err := s.Runs(context.Background(), backup.RunFilter{Kind: backup.KindAfter})
		if err != nil {
			return nil, err
		}
		if len(runs) > 0 && runs[0].State.Done() {
			time.Sleep(100 * time.Millisecond)
			return n.take(), nil
		}
		time.Sleep(time.Millisecond)
	}
}

// TestDebtOnFullDisk pays what a dead process owes where that cannot be written down: once, and not for ever.
func TestDebtOnFullDisk(t *testing.T) {
	root := t.TempDir()
	head, owed := `{"boot":"an earlier boot","pid":7,"start":1,"namespace":"pid:[1]"}`, `{"owed":{"run":"r1","job":"shop"}}`+"\n"
	text := head + strings.Repeat(" ", fullJournal-len(head)-len(owed)-1) + "\n" + owed
	journal := filepath.Join(root, "data", "journal")
	if err := os.MkdirAll(journal, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(journal, "7-abcd.json"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, os.Args[0])
	cmd.Env = append(os.Environ(), debtRoot+"="+root)
	if out, err := cmd.Output(); err != nil || string(out) != "[resume interrupted] <nil>" {
		t.Errorf("%v: %s", err, out)
	}
}
