package realtest

import (
	"os/exec"
	"testing"
)

// Django returns the path of a Python that has Django: Debian's own. Without one it does as Need does.
func Django(t testing.TB) (python string) {
	t.Helper()
	python = "/usr/bin/python3"
	if exec.Command(python, "-c", "import django").Run() != nil {
		missing(t, "python3-django")
	}
	return python
}
