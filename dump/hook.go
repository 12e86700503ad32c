package dump

import (
	"cmp"
	"context"
	"path/filepath"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-backup/caddy-backup/backup"
)

// DefaultHookTimeout ends a program before or after the dumps that has no timeout of its own.
const DefaultHookTimeout = 5 * time.Minute

// Hook is a program that a job has run before its dumps, or after them. It ends well with exit status 0; what it prints goes into
// the run's log. What it leaves running in its process group is killed. It finds in its environment CADDY_BACKUP_JOB and
// CADDY_BACKUP_RUN (the job's name and the run's ID), and after the dumps CADDY_BACKUP_OUTCOME: dumped, failed, cancelled or
// interrupted. The timeout is 5m by default.
type Hook struct {
	Invocation
}

// UnmarshalCaddyfile reads
//
//	before|after <program> [<argument>...] {
//		env     <key> <value>
//		dir     <folder>
//		user    <name>
//		timeout <duration>
//	}
//
// of which the first word is the current one.
func (h *Hook) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	h.Command = d.RemainingArgs()
	if len(h.Command) == 0 {
		return d.ArgErr()
	}
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		if err := h.unmarshalWord(d, func() error { return d.Errf("unrecognized subdirective '%s'", d.Val()) }); err != nil {
			return err
		}
	}
	return nil
}

// Configure replaces the placeholders and checks the settings.
func (h *Hook) Configure() error {
	if err := h.provision(); err != nil {
		return err
	}
	return h.check()
}

// Title is the program as it was named.
func (h *Hook) Title() string { return h.Command[0] }

// Run runs the program.
func (h *Hook) Run(ctx context.Context, m backup.Moment, t *backup.Task) error {
	extra := []string{"CADDY_BACKUP_JOB=" + m.Job, "CADDY_BACKUP_RUN=" + m.Run}
	if m.Outcome != "" {
		extra = append(extra, "CADDY_BACKUP_OUTCOME="+string(m.Outcome))
	}
	p, err := h.program(extra...)
	if err != nil {
		return err
	}
	ctx, stop := within(ctx, cmp.Or(time.Duration(h.Timeout), DefaultHookTimeout))
	defer stop()
	printed := &stderrTail{log: t.Log, program: filepath.Base(p.path)}
	_, err = p.run(ctx, t, nil, printed)
	said := strings.TrimSpace(printed.last() + "\n" + backup.OutputOf(err))
	return backup.WithOutput(err, said)
}

// Interface guards
var (
	_ backup.Hook           = (*Hook)(nil)
	_ backup.Examiner       = (*Hook)(nil)
	_ caddyfile.Unmarshaler = (*Hook)(nil)
)
