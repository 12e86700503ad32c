package realtest

import (
	"testing"
	"time"

	"go.uber.org/goleak"
)

// VerifyTestMain runs the tests of a package, and fails when they leave goroutines behind. It ends the process.
func VerifyTestMain(m *testing.M) { goleak.VerifyTestMain(settling{m}) }

// settling are tests after which goroutines that are about to end get the time for it that they need on a busy machine; goleak
// alone waits for half a second.
type settling struct{ *testing.M }

func (m settling) Run() int {
	code := m.M.Run()
	for deadline := time.Now().Add(20 * time.Second); code == 0 && time.Now().Before(deadline) && goleak.Find() != nil; {
	}
	return code
}
