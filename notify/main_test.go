package notify_test

import (
	"os"
	"strings"
	"testing"

	"github.com/caddy-backup/caddy-backup/internal/realtest"
)

func TestMain(m *testing.M) {
	for _, name := range []string{"HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"} { // what is asked for here is not to be had behind one
		os.Unsetenv(name)
		os.Unsetenv(strings.ToLower(name))
	}
	realtest.Main(m)
}
