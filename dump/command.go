package dump

import (
	"context"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-backup/caddy-backup/backup"
	"github.com/caddy-backup/caddy-backup/internal/setting"
)

func init() { caddy.RegisterModule(new(Command)) }

// Command dumps what a program prints on its standard output. It ends well with exit status 0 and at least one byte; no
// more than that can be checked, so the program must fail when it could not do its work: a pipeline in a shell needs
// `set -o pipefail`.
type Command struct {
	Invocation // its timeout is the run's own by default
	// File is the name of the dump in the snapshot; default: the source's name and ".dump".
	File string `json:"file,omitempty"`
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
//		user    <name>
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
		if err := c.unmarshalWord(d, func() error { return c.unmarshalOwn(d) }); err != nil {
			return err
		}
	}
	return nil
}

// unmarshalOwn reads the words that only a dump has.
func (c *Command) unmarshalOwn(d *caddyfile.Dispenser) error {
	if d.Val() != "file" {
		return d.Errf("unrecognized subdirective '%s'", d.Val())
	}
	return setting.OneArg(d, &c.File)
}

// Provision replaces the placeholders.
func (c *Command) Provision(caddy.Context) error { return c.provision() }

// Validate checks the settings. Whether the program is there is seen when it is run.
func (c *Command) Validate() error {
	if err := c.check(); err != nil {
		return err
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
	p, err := c.program()
	if err != nil {
		return backup.Facts{}, err
	}
	ctx, stop := within(ctx, time.Duration(c.Timeout))
	defer stop()
	n, err := p.run(ctx, t, nil, w)
	if err == nil && n == 0 {
		err = fmt.Errorf("%s ended well but printed nothing: an empty dump is no backup; see what it needs to do its work", p.path)
	}
	if err != nil {
		return backup.Facts{}, err
	}
	return backup.Facts{Tool: filepath.Base(p.path), Source: "output of " + p.path, Checked: "exit status 0"}, nil
}

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
