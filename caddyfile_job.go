package caddybackup

import (
	"fmt"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-backup/caddy-backup/dump"
	"github.com/caddy-backup/caddy-backup/internal/setting"
)

func (a *App) unmarshalJob(d *caddyfile.Dispenser) error {
	j := new(Job)
	if !d.AllArgs(&j.Name) {
		return d.ArgErr()
	}
	if err := checkName("job", j.Name); err != nil {
		return d.WrapErr(err)
	}
	for _, other := range a.Jobs {
		if other.Name == j.Name {
			return d.Errf("job %s already specified", j.Name)
		}
	}
	// What is given once only is told by whether its word was there: `enabled on` and no timeout look like nothing.
	seen := make(map[string]bool)
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		word := d.Val()
		if !slices.Contains(repeated, word) && seen[word] {
			return d.Errf("%s already specified", word)
		}
		seen[word] = true
		if err := j.unmarshalWord(d); err != nil {
			return err
		}
	}
	if len(j.Sources) == 0 {
		return d.Errf("job %s %s", j.Name, noSource)
	}
	a.Jobs = append(a.Jobs, j)
	return nil
}

// repeated are the words of a job that may stand there several times.
var repeated = []string{"source", "notify", "before", "after"}

func (j *Job) unmarshalWord(d *caddyfile.Dispenser) error {
	switch d.Val() {
	case "source":
		return j.unmarshalSource(d)
	case "to":
		return setting.OneArg(d, &j.To)
	case "timeout":
		return unmarshalDuration(d, &j.Timeout)
	case "stall_timeout":
		return unmarshalDurationOrOff(d, &j.StallTimeout)
	case "schedule":
		return unmarshalSchedule(d, &j.Schedule)
	case "timezone":
		return unmarshalTimezone(d, &j.Timezone)
	case "jitter":
		return unmarshalDuration(d, &j.Jitter)
	case "drill":
		return unmarshalSchedule(d, &j.Drill)
	case "before":
		return unmarshalHook(d, &j.Before)
	case "after":
		return unmarshalHook(d, &j.After)
	case "overdue_after":
		return unmarshalDuration(d, &j.OverdueAfter)
	case "enabled":
		return unmarshalSwitch(d, &j.Disabled)
	case "shrink_limit":
		return j.unmarshalShrinkLimit(d)
	case "retention":
		return j.unmarshalRetention(d)
	case "notify":
		return j.unmarshalNotify(d)
	case "mail_to":
		return j.unmarshalMailTo(d)
	case "download_format":
		return j.unmarshalDownloadFormat(d)
	}
	return strangeWord(d, inJob)
}

func unmarshalHook(d *caddyfile.Dispenser, hooks *[]*dump.Hook) error {
	h := new(dump.Hook)
	*hooks = append(*hooks, h)
	return h.UnmarshalCaddyfile(d)
}

func (j *Job) unmarshalSource(d *caddyfile.Dispenser) error {
	s := new(Source)
	if !d.NextArg() {
		return d.ArgErr()
	}
	s.Name = d.Val()
	if err := checkSourceName(s.Name); err != nil {
		return d.WrapErr(err)
	}
	for _, other := range j.Sources {
		if other.Name == s.Name {
			return d.Errf("source %s already specified", s.Name)
		}
	}
	if !d.NextArg() {
		return d.Errf("source %s has no kind: write source <name> <kind>, with one of the kinds: %s",
			s.Name, strings.Join(guests("backup.sources"), ", "))
	}
	kind := d.Val()
	if err := checkKind(kind); err != nil {
		return d.WrapErr(err)
	}
	guest, err := caddyfile.UnmarshalModule(d, "backup.sources."+kind)
	if err != nil {
		return err
	}
	s.SourceRaw = caddyconfig.JSONModuleObject(guest, "engine", kind, nil)
	j.Sources = append(j.Sources, s)
	return nil
}

func checkKind(kind string) error {
	if _, err := caddy.GetModule("backup.sources." + kind); err == nil {
		return nil
	}
	kinds := guests("backup.sources")
	return fmt.Errorf("unknown source kind '%s': %swrite source <name> <kind>, with one of the kinds: %s",
		kind, didYouMean(kind, kinds), strings.Join(kinds, ", "))
}
