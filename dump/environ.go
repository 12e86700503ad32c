package dump

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"

	"github.com/caddy-backup/caddy-backup/internal/setting"
)

const defaultPath = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// environ is the environment that a program gets: of ours only where programs and files are found (PATH, HOME, USER,
// LOGNAME, TMPDIR), the language (LANG, LC_*) and the time zone (TZ), then extra. Everything else stays with us: a
// server's environment is full of other people's secrets.
func environ(extra ...string) []string {
	var env []string
	for _, kv := range os.Environ() {
		key, _, _ := strings.Cut(kv, "=")
		switch key {
		case "PATH", "HOME", "USER", "LOGNAME", "TMPDIR", "LANG", "TZ":
			env = append(env, kv)
		default:
			if strings.HasPrefix(key, "LC_") {
				env = append(env, kv)
			}
		}
	}
	if !slices.ContainsFunc(env, func(kv string) bool { return strings.HasPrefix(kv, "PATH=") }) {
		env = append(env, defaultPath)
	}
	return append(env, extra...)
}

// findProgram finds a program in PATH, unless name is a path already. The error says what to install.
func findProgram(name string) (string, error) {
	path, err := exec.LookPath(name)
	if err == nil {
		return path, nil
	}
	return "", notFound(name, err)
}

// packages tells in which package of Debian a program is, where the name differs.
var packages = map[string]string{
	"pg_dump": "postgresql-client", "pg_restore": "postgresql-client", "pg_dumpall": "postgresql-client",
	"psql": "postgresql-client", "mysqldump": "default-mysql-client", "mariadb-dump": "mariadb-client",
	"mongodump": "mongodb-database-tools", "redis-cli": "redis-tools", "slapcat": "slapd",
}

func notFound(name string, err error) error {
	if errors.Is(err, fs.ErrPermission) {
		return fmt.Errorf("program %s cannot be run by user %s: %w; change its mode or owner", name, userName(), fs.ErrPermission)
	}
	if strings.Contains(name, "/") {
		return fmt.Errorf("program %s is not there: %w; correct the path, or install it", name, fs.ErrNotExist)
	}
	way := "install it, or write its whole path"
	if pkg := packages[name]; pkg != "" {
		way = "install the package " + pkg
	}
	return fmt.Errorf("program %s is not installed, or not in PATH: %w; %s", name, exec.ErrNotFound, way)
}

// startError explains why a program did not start.
func startError(p program, err error) error {
	if p.dir != "" {
		if info, e := os.Stat(p.dir); e != nil || !info.IsDir() {
			return fmt.Errorf("working folder %s of %s is not there or cannot be entered by user %s: %w", p.dir, p.path, userName(), err)
		}
	}
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
		return notFound(p.path, err)
	}
	return fmt.Errorf("starting %s: %w", p.path, err)
}

// firstLine runs a program that prints little and soon, like --version, and returns its first line.
func firstLine(ctx context.Context, path string, args ...string) (string, error) {
	out, err := printed(ctx, path, args...)
	line, _, _ := strings.Cut(out, "\n")
	return line, err
}

// printed runs a program that prints little and soon, and returns what that is. When ctx ends, all of its group does.
func printed(ctx context.Context, path string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Env, cmd.Dir, cmd.WaitDelay = environ(), "/", defaultGrace
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // no death signal: this thread may end before the program does
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	out, err := cmd.Output()
	if err != nil {
		return "", err
	}
	return string(out), nil
}

// resolveEnv replaces the placeholders in the values of an environment.
func resolveEnv(variables map[string]string) (env []string, err error) {
	for _, key := range slices.Sorted(maps.Keys(variables)) {
		value, err := setting.Resolve("env "+key, variables[key])
		if err != nil {
			return nil, err
		}
		env = append(env, key+"="+value)
	}
	return env, nil
}

// checkEnv refuses names that no environment can hold.
func checkEnv(variables map[string]string) error {
	for key := range variables {
		if key == "" || strings.ContainsAny(key, "=\x00") {
			return fmt.Errorf("bad env key '%s'", key)
		}
	}
	return nil
}
