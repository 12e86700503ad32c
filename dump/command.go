package dump

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-backup/caddy-backup/backup"
)

func init() { caddy.RegisterModule(new(Command)) }

// Command dumps what a program prints on its standard output. It ends well with exit status 0 and at least one byte; no
// more than that can be checked, so the program must fail when it could not do its work: a pipeline in a shell needs
// `set -o pipefail`.
//
// The program gets PATH, HOME, USER, LOGNAME, TMPDIR, LANG, LC_* and TZ of our environment, and what Env adds. Its
// standard input is empty; what it says on standard error goes into the run's log.
type Command struct {
	// Command is the program (a name in PATH or an absolute path) and its arguments. They are taken as they stand,
	// without placeholders, because every user of the machine can read them.
	Command []string `json:"command,omitempty"`
	// Env is added to the program's environment. Placeholders are replaced: secrets belong here.
	Env map[string]string `json:"env,omitempty"`
	// Dir is the working folder; default "/".
	Dir string `json:"dir,omitempty"`
	// Timeout ends the program; default: the run's own.
	Timeout caddy.Duration `json:"timeout,omitempty"`
	// File is the name of the dump in the snapshot; default: the source's name and ".dump".
	File string `json:"file,omitempty"`

	env []string // resolved: may be secret
}

// CaddyModule tells Caddy about the source.
func (*Command) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: namespace + "command", New: func() caddy.Module { return new(Command) }}
}

// UnmarshalCaddyfile reads
//
//	command <program> [<argument>...] {
//		env     <key> <value>
//		dir     <folder>
//		timeout <duration>
//		file    <name>
//	}
func (c *Command) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // the module's name
	c.Command = d.RemainingArgs()
	if len(c.Command) == 0 {
		return d.ArgErr()
	}
	for d.NextBlock(0) {
		switch word := d.Val(); word {
		case "env":
			if err := envArgs(d, &c.Env); err != nil {
				return err
			}
		case "dir":
			if err := oneArg(d, &c.Dir); err != nil {
				return err
			}
		case "timeout":
			var value string
			if c.Timeout != 0 {
				return d.Err("timeout already specified")
			}
			if !d.AllArgs(&value) {
				return d.ArgErr()
			}
			timeout, err := caddy.ParseDuration(value)
			if err != nil {
				return d.Errf("bad timeout value '%s': %v", value, err)
			}
			c.Timeout = caddy.Duration(timeout)
		case "file":
			if err := oneArg(d, &c.File); err != nil {
				return err
			}
		default:
			return d.Errf("unrecognized subdirective '%s'", word)
		}
	}
	return nil
}

// Provision replaces the placeholders.
func (c *Command) Provision(caddy.Context) error {
	var err1, err2 error
	c.env, err1 = resolveEnv(c.Env)
	c.Dir, err2 = resolve("dir", c.Dir)
	return cmp.Or(err1, err2)
}

// Validate checks the settings. Whether the program is there is seen when it is run.
func (c *Command) Validate() error {
	if len(c.Command) == 0 || c.Command[0] == "" {
		return errors.New("command is missing its program")
	}
	if program := c.Command[0]; strings.Contains(program, "/") && !filepath.IsAbs(program) {
		return fmt.Errorf("program '%s' is neither an absolute path nor a name to be found in PATH", program)
	}
	for _, arg := range c.Command {
		if strings.Contains(arg, "{env.") || strings.Contains(arg, "{file.") {
			return fmt.Errorf("placeholder in argument '%s': every user of the machine can read arguments; hand it over with env", arg)
		}
	}
	if err := checkEnv(c.Env); err != nil {
		return err
	}
	if c.Dir != "" && !filepath.IsAbs(c.Dir) {
		return fmt.Errorf("dir '%s' is not an absolute path", c.Dir)
	}
	if c.Timeout < 0 {
		return fmt.Errorf("bad timeout value '%s': negative", time.Duration(c.Timeout))
	}
	if c.File == "." || c.File == ".." || strings.ContainsAny(c.File, "/\x00") {
		return fmt.Errorf("bad file value '%s': it is a name, not a path", c.File)
	}
	return nil
}

// Parts is the one dump.
func (c *Command) Parts(_ context.Context, name string) ([]backup.Part, error) {
	file := c.File
	if file == "" {
		file = name + ".dump"
	}
	return []backup.Part{{Name: file}}, nil
}

// Dump runs the program.
func (c *Command) Dump(ctx context.Context, _ backup.Part, w io.Writer, t *backup.Task) (backup.Facts, error) {
	path, err := findProgram(c.Command[0])
	if err != nil {
		return backup.Facts{}, err
	}
	if c.Timeout > 0 {
		var cancel context.CancelFunc
		limit := time.Duration(c.Timeout)
		ctx, cancel = context.WithTimeoutCause(ctx, limit,
			tooLong(limit))
		defer cancel()
	}
	p := program{path: path, args: c.Command[1:], env: environ(c.env...), dir: c.Dir}
	n, err := p.run(ctx, t, nil, w)
	if err == nil && n == 0 {
		err = fmt.Errorf("%s ended well but printed nothing: an empty dump is no backup; see what it needs to do its work", path)
	}
	if err != nil {
		return backup.Facts{}, err
	}
	return backup.Facts{Tool: filepath.Base(path), Source: "output of " + path, Checked: "exit status 0"}, nil
}

// tooLong is a timeout's error, a context.DeadlineExceeded that says plainly what happened.
type tooLong time.Duration

func (t tooLong) Error() string {
	return fmt.Sprintf("it took longer than its timeout of %s", time.Duration(t))
}

func (tooLong) Is(target error) bool { return target == context.DeadlineExceeded }

// Restore is impossible: nobody knows what the program's output is good for.
func (c *Command) Restore(context.Context, backup.Part, io.Reader, string, *backup.Task) error {
	return fmt.Errorf("%w: what %s has printed cannot be restored by itself; restore it as a file with --target",
		backup.ErrInvalid, c.Command[0])
}

// Interface guards
var (
	_ backup.Source         = (*Command)(nil)
	_ caddy.Provisioner     = (*Command)(nil)
	_ caddy.Validator       = (*Command)(nil)
	_ caddyfile.Unmarshaler = (*Command)(nil)
)
