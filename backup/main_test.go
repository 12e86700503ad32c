package backup_test

import (
	"os"
	"os/signal"
	"syscall"
	"testing"

	"github.com/caddy-backup/caddy-backup/internal/realtest"
)

func TestMain(m *testing.M) {
	// A lock in a repository listens for SIGHUP. The first listener of a process starts a goroutine that stays: not in
	// the bubble of a test.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGALRM)
	realtest.Main(m)
}
