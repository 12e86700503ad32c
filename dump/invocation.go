package dump

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-backup/caddy-backup/backup"
	"github.com/caddy-backup/caddy-backup/internal/setting"
)

// Invocation is a program that the configuration names, and how it is run: by its arguments, without a shell. It gets PATH, HOME,
// USER, LOGNAME, TMPDIR, LANG, LC_* and TZ of our environment, and what Env adds. Its standard input is empty; what it says on
// standard error goes into the run's log.
type Invocation struct {
	// Command is the program (a name in PATH or an absolute path) and its arguments. They are taken as they stand,
	// without placeholders, because every user of the machine can read them.
	Command []string `json:"command,omitempty"`
	// Env is added to the program's environment. Placeholders are replaced: secrets belong here.
	Env map[string]string `json:"env,omitempty"`
	// Dir is the working folder; default "/".
	Dir string `json:"dir,omitempty"`
	// User is as whom it is run, when that is somebody else; only root can do that.
	User string `json:"user,omitempty"`
	// Timeout ends the program.
	Timeout caddy.Duration `json:"timeout,omitempty"`

	env []string // resolved: may be secret
}

// unmarshalWord reads a word of the program's block; unknown is what it does not know.
func (v *Invocation) unmarshalWord(d *caddyfile.Dispenser, unknown func() error) error {
	switch d.Val() {
	case "env":
		return envArgs(d, &v.Env)
	case "dir":
		return setting.OneArg(d, &v.Dir)
	case "user":
		return setting.OneArg(d, &v.User)
	case "timeout":
		return durationArg(d, &v.Timeout)
	}
	return unknown()
}

// provision replaces the placeholders.
func (v *Invocation) provision() error {
	var err1, err2 error
	v.env, err1 = resolveEnv(v.Env)
	v.Dir, err2 = setting.Resolve("dir", v.Dir)
	return cmp.Or(err1, err2)
}

// check refuses what can only fail. Whether the program is there is seen when it is run.
func (v *Invocation) check() error {
	if len(v.Command) == 0 || v.Command[0] == "" {
		return errors.New("command is missing its program")
	}
	if program := v.Command[0]; strings.Contains(program, "/") && !filepath.IsAbs(program) {
		return fmt.Errorf("program '%s' is neither an absolute path nor a name to be found in PATH", program)
	}
	for _, arg := range v.Command {
		if strings.Contains(arg, "{env.") || strings.Contains(arg, "{file.") {
			return fmt.Errorf("placeholder in argument '%s': every user of the machine can read arguments; hand it over with env", arg)
		}
	}
	if err := checkEnv(v.Env); err != nil {
		return err
	}
	if v.Dir != "" && !filepath.IsAbs(v.Dir) {
		return fmt.Errorf("dir '%s' is not an absolute path", v.Dir)
	}
	if v.Timeout < 0 {
		return fmt.Errorf("bad timeout value '%s': negative", time.Duration(v.Timeout))
	}
	return nil
}

// program is what is to be run, with more environment.
func (v *Invocation) program(extra ...string) (p program, err error) {
	path, err := findProgram(v.Command[0])
	if err != nil {
		return program{}, err
	}
	p = program{path: path, args: v.Command[1:], env: environ(v.env...), dir: v.Dir}
	if v.User != "" {
		err = p.become(v.User)
	}
	p.env = append(p.env, extra...)
	return p, err
}

// within bounds ctx by the timeout; 0 bounds nothing.
func within(ctx context.Context, limit time.Duration) (context.Context, context.CancelFunc) {
	if limit <= 0 {
		return ctx, func() {}
	}
	return context.WithTimeoutCause(ctx, limit, tooLong(limit))
}

// Examine looks whether the program is there and can be started. It does not start it.
func (v *Invocation) Examine(context.Context, *backup.Task) []backup.Diagnosis {
	p, err := v.program()
	if err != nil {
		return failing(err)
	}
	if v.Dir != "" {
		if info, err := os.Stat(v.Dir); err != nil || !info.IsDir() {
			return failing(fmt.Errorf("working folder %s is not there or cannot be entered by user %s", v.Dir, userName()))
		}
	}
	return []backup.Diagnosis{diagnosis(backup.LevelOK, "program %s is there", p.path)}
}

// tooLong is a timeout's error, a context.DeadlineExceeded that says plainly what happened.
type tooLong time.Duration

func (t tooLong) Error() string {
	return fmt.Sprintf("it took longer than its timeout of %s", time.Duration(t))
}

func (tooLong) Is(target error) bool { return target == context.DeadlineExceeded }
