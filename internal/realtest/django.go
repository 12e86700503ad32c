package realtest

import (
	"os/exec"
	"testing"
)

// djangoPackages are Debian's packages of what tests of Django import.
var djangoPackages = map[string]string{
	"django": "python3-django", "yaml": "python3-yaml", "psycopg2": "python3-psycopg2", "MySQLdb": "python3-mysqldb",
}

// Django returns the path of a Python that has Django, and the drivers of databases that are named: Debian's own. Without one it does
// as Need does.
func Django(t testing.TB, drivers ...string) (python string) {
	t.Helper()
	python = "/usr/bin/python3"
	for _, module := range append([]string{"django", "yaml"}, drivers...) {
		if exec.Command(python, "-c", "import "+module).Run() != nil {
			missing(t, djangoPackages[module])
		}
	}
	return python
}
