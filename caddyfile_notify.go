package caddybackup

import (
	"encoding/json"
	"net/url"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-backup/caddy-backup/backup"
	"github.com/caddy-backup/caddy-backup/internal/setting"
)

// unmarshalNotifier reads
//
//	notifier <name> <kind> [<arguments of the kind>] {
//		<options of the kind>
//	}
func (a *App) unmarshalNotifier(d *caddyfile.Dispenser) error {
	if !d.NextArg() {
		return d.ArgErr()
	}
	name := d.Val()
	if err := checkName("notifier", name); err != nil {
		return d.WrapErr(err)
	}
	if a.Notifiers[name] != nil {
		return d.Errf("notifier %s already specified", name)
	}
	kinds := guests("backup.notifiers")
	known := strings.Join(kinds, ", ")
	if !d.NextArg() {
		return d.Errf("notifier %s has no kind: write notifier <name> <kind>, with one of the kinds: %s", name, known)
	}
	kind := d.Val()
	if _, err := caddy.GetModule("backup.notifiers." + kind); err != nil {
		return d.Errf("unknown notifier kind '%s': %swrite notifier <name> <kind>, with one of the kinds: %s", kind,
			didYouMean(kind, kinds), known)
	}
	guest, err := caddyfile.UnmarshalModule(d, "backup.notifiers."+kind)
	if err != nil {
		return err
	}
	if a.Notifiers == nil {
		a.Notifiers = make(map[string]json.RawMessage)
	}
	a.Notifiers[name] = caddyconfig.JSONModuleObject(guest, "kind", kind, nil)
	return nil
}

// unmarshalNotify reads
//
//	notify <notifier...> [on <event...>] [with output]
func (j *Job) unmarshalNotify(d *caddyfile.Dispenser) error {
	var sub backup.Subscription
	names := d.RemainingArgs()
	if n := len(names); n > 2 && names[n-2] == "with" && names[n-1] == "output" {
		names, sub.Output = names[:n-2], true
	}
	at := slices.Index(names, "on")
	if at >= 0 {
		for _, text := range names[at+1:] {
			event := backup.Event(text)
			if !slices.Contains(backup.Events, event) {
				return d.Errf("unknown event '%s': write on and some of: %s", text, eventNames())
			}
			if slices.Contains(sub.On, event) {
				return d.Errf("event %s already specified", text)
			}
			sub.On = append(sub.On, event)
		}
		if len(sub.On) == 0 {
			return d.Errf("no event follows on: write some of: %s", eventNames())
		}
		names = names[:at]
	}
	if len(names) == 0 {
		return d.ArgErr()
	}
	sub.Notifiers = names
	j.Notify = append(j.Notify, sub)
	return nil
}

func eventNames() string {
	names := make([]string, len(backup.Events))
	for i, e := range backup.Events {
		names[i] = string(e)
	}
	return strings.Join(names, ", ")
}

func (a *App) unmarshalPublicURL(d *caddyfile.Dispenser) error {
	if err := setting.OneArg(d, &a.PublicURL); err != nil {
		return err
	}
	if strings.Contains(a.PublicURL, "{") {
		return nil // a placeholder, known later
	}
	return wrap(d, checkPublicURL(a.PublicURL))
}

func checkPublicURL(text string) error {
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return errBadPublicURL
	}
	return nil
}
