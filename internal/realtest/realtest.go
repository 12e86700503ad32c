// Package realtest lends tests the real programs that they run against: a PostgreSQL server of their own, restic, and
// the shared fixtures where they are present. Everything that it starts listens on loopback only and ends with the test.
package realtest

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// Need returns the path of a program, which may lie in a folder that not everybody has in his PATH. When it is not installed, the
// test fails where CI is set, and is skipped elsewhere, with a line on standard error that says what was not tested.
func Need(t testing.TB, program string) string {
	t.Helper()
	if path, err := exec.LookPath(program); err == nil {
		return path
	}
	for _, dir := range []string{"/usr/local/sbin", "/usr/sbin", "/sbin", "/usr/local/bin"} {
		if path, err := exec.LookPath(filepath.Join(dir, program)); err == nil {
			return path
		}
	}
	missing(t, program)
	return ""
}

// packages names what to install for a program, where the names differ.
var packages = map[string]string{
	"mariadbd": "mariadb-server-core", "mariadb-install-db": "mariadb-server-core", "mariadb-dump": "mariadb-client",
	"initdb": "postgresql", "postgres": "postgresql", "psql": "postgresql-client",
	"pg_dump": "postgresql-client", "pg_restore": "postgresql-client", "pgbench": "postgresql-contrib",
	"sshd": "openssh-server", "sftp-server": "openssh-sftp-server", "strace": "strace",
	"promtool": "prometheus", "mkfs.ext4": "e2fsprogs", "e2fsck": "e2fsprogs", "unshare": "util-linux",
}

func missing(t testing.TB, program string) {
	t.Helper()
	pkg := packages[program]
	if pkg == "" {
		pkg = program
	}
	text := fmt.Sprintf("it needs the program %s; install it with: apt-get install %s", program, pkg)
	if os.Getenv("CI") != "" {
		t.Fatal(text)
	}
	Skip(t, text)
}

// NeedRoot skips, aloud, what only root can try.
func NeedRoot(t testing.TB, what string) {
	t.Helper()
	if os.Getuid() != 0 {
		Skip(t, "it needs root: "+what)
	}
}

// Skip skips a test aloud.
func Skip(t testing.TB, reason string) {
	t.Helper()
	NotTested(t, reason)
	t.Skip(reason)
}

// NotTested says why a part of a test is left out. It is printed also where the test passes.
func NotTested(t testing.TB, reason string) {
	fmt.Fprintf(os.Stderr, "NOT TESTED: %s: %s\n", t.Name(), reason)
}

// ProjectRoot is the folder of the project's go.mod.
func ProjectRoot(t testing.TB) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir
		}
		up := filepath.Dir(dir)
		if up == dir {
			t.Fatal("no go.mod above the test's folder")
		}
		dir = up
	}
}

// Shared returns the path of a file or folder of the shared fixtures, which lie beside the project, and whether it is
// there: a plain clone has none, and every test must pass without.
func Shared(t testing.TB, name string) (path string, ok bool) {
	t.Helper()
	path = filepath.Join(ProjectRoot(t), "..", "shared", filepath.FromSlash(name))
	_, err := os.Stat(path)
	return path, err == nil
}

// Leftovers lists the processes, other than this one, whose command line or environment has the marker in it, as
// "pid: command line". It is how a test proves that no child survived, and that a secret is nobody's to read.
func Leftovers(marker string) []string {
	var found []string
	files, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, f := range files {
		pid := filepath.Base(filepath.Dir(f))
		if pid == fmt.Sprint(os.Getpid()) {
			continue
		}
		cmdline, _ := os.ReadFile(f)
		environ, _ := os.ReadFile(filepath.Join(filepath.Dir(f), "environ"))
		if strings.Contains(string(cmdline), marker) || strings.Contains(string(environ), marker) {
			found = append(found, pid+": "+strings.ReplaceAll(string(cmdline), "\x00", " "))
		}
	}
	return found
}
