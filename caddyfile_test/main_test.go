package integration

import (
	"os"
	"testing"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/rogpeppe/go-internal/testscript"
)

// canary is a password that must be seen nowhere.
const canary = "canary-7c1e-do-not-show"

// TestMain makes this binary the program "caddy", too, for scripts and child processes: building a second one would
// take longer than all the tests.
func TestMain(m *testing.M) {
	testscript.Main(inOwnFolder{m}, map[string]func(){"caddy": caddycmd.Main})
}

// inOwnFolder keeps the Caddy in this process away from the data of the person who runs the tests.
type inOwnFolder struct{ *testing.M }

func (m inOwnFolder) Run() int {
	dir, err := os.MkdirTemp("", "caddy-backup-")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	os.Setenv("XDG_DATA_HOME", dir)
	os.Setenv("XDG_CONFIG_HOME", dir)
	return m.M.Run()
}
