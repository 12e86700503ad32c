package backup_test

import (
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/caddy-backup/caddy-backup/backup"
	"github.com/caddy-backup/caddy-backup/backup/backuptest"
)

// TestDoctorPasswordPipe: a password that comes out of a pipe is not read again, which would last until somebody writes it.
func TestDoctorPasswordPipe(t *testing.T) {
	pipe := filepath.Join(t.TempDir(), "pipe")
	if err := unix.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	e := backuptest.New(t, func(c *backup.Config) { c.Repositories[0].PasswordFiles = []string{pipe} })
	if x := must(e.Doctor(t.Context(), "tester", backup.DoctorRequest{}))(t); x.Level == backup.LevelError {
		t.Errorf("%+v", x.Diagnoses)
	}
}
