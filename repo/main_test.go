package repo

import (
	"os"
	"os/signal"
	"syscall"
	"testing"

	"github.com/caddy-backup/caddy-backup/internal/realtest"
)

func TestMain(m *testing.M) {
	if os.Getenv(holdLockEnv) != "" {
		holdLock()
		return
	}
	// The goroutine of package os/signal must not start inside a bubble of testing/synctest, which would wait for it.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGUSR2)
	realtest.Main(m)
}
