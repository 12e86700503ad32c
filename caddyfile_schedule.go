package caddybackup

import (
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-backup/caddy-backup/backup"
	"github.com/caddy-backup/caddy-backup/internal/setting"
)

// unmarshalSchedule reads all arguments of the current word as a schedule.
func unmarshalSchedule(d *caddyfile.Dispenser, schedule *backup.Schedule) error {
	return parseSchedule(d, d.Val(), d.RemainingArgs(), schedule)
}

func parseSchedule(d *caddyfile.Dispenser, word string, args []string, schedule *backup.Schedule) error {
	if len(args) == 0 {
		return d.ArgErr()
	}
	text := strings.Join(args, " ")
	var err error
	if *schedule, err = backup.ParseSchedule(text); err != nil {
		return d.Errf("bad %s value '%s': %v", word, text, err)
	}
	return nil
}

// unmarshalPlan reads when something happens, which it returns, and behind a word of its own one value:
//
//	check <schedule> [read_data <subset>]
//	prune <schedule>|after_forget [max_unused <share>]
func unmarshalPlan(d *caddyfile.Dispenser, before bool, option string, value *string) ([]string, error) {
	word := d.Val()
	if before {
		return nil, d.Errf("%s already specified", word)
	}
	args := d.RemainingArgs()
	for i, arg := range args {
		if arg != option {
			continue
		}
		if len(args) != i+2 || args[i+1] == "" {
			return nil, d.Errf("bad %s: one value follows %s, and nothing else", word, option)
		}
		*value, args = args[i+1], args[:i]
		break
	}
	return args, nil
}

func (r *Repository) unmarshalCheck(d *caddyfile.Dispenser) error {
	word := d.Val()
	when, err := unmarshalPlan(d, !r.Check.Schedule.IsZero(), "read_data", &r.Check.ReadData)
	if err != nil {
		return err
	}
	if err := parseSchedule(d, word, when, &r.Check.Schedule); err != nil {
		return err
	}
	return wrap(d, r.Check.Check())
}

func (r *Repository) unmarshalPrune(d *caddyfile.Dispenser) error {
	word, p := d.Val(), &r.Prune
	when, err := unmarshalPlan(d, p.AfterForget || !p.Schedule.IsZero(), "max_unused", &p.MaxUnused)
	if err != nil {
		return err
	}
	if p.AfterForget = slices.Equal(when, []string{"after_forget"}); !p.AfterForget {
		if err := parseSchedule(d, word, when, &p.Schedule); err != nil {
			if len(when) == 1 {
				return d.Errf("bad %s value '%s': write after_forget, or a schedule such as weekly sun 05:00", word, when[0])
			}
			return err
		}
	}
	return wrap(d, r.Prune.Check())
}

// unmarshalDuration reads a duration above 0.
func unmarshalDuration(d *caddyfile.Dispenser, value *caddy.Duration) error {
	word, text := d.Val(), ""
	if err := setting.OneArg(d, &text); err != nil {
		return err
	}
	duration, err := caddy.ParseDuration(text)
	if err != nil {
		return d.Errf("bad %s value '%s': %v", word, text, err)
	}
	if duration <= 0 {
		return d.Errf("bad %s value '%s': must be more than 0", word, text)
	}
	*value = caddy.Duration(duration)
	return nil
}
