// Package repotest makes repositories for tests, fast.
package repotest

import (
	"os"
	"os/signal"
	"syscall"
	"testing"

	"github.com/caddy-backup/caddy-backup/repo"
)

// CheapKDF makes the password hash of a new key file cost nothing.
var CheapKDF = repo.KDF{N: 16, R: 1, P: 1}

// Init creates a repository with a cheap key. To open it again, no option is needed: the key file tells its cost.
func Init(t testing.TB, st repo.Storage, password string, o repo.Options) *repo.Repository {
	t.Helper()
	o.KDF = CheapKDF
	r, err := repo.Init(t.Context(), st, []byte(password), o)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// A lock listens for SIGHUP. The goroutine that package os/signal starts for the first listener never ends, so it must
// not be started inside a bubble of testing/synctest, which would wait for it.
func init() { signal.Notify(make(chan os.Signal, 1), syscall.SIGUSR2) }
