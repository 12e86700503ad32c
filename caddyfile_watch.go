package caddybackup

import (
	"errors"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-backup/caddy-backup/internal/setting"
)

// never is a duration that is written as off.
const never = caddy.Duration(-1)

var errBadInterval = errors.New("must be more than 0, or off")

// unmarshalDurationOrOff reads a duration that may be switched off.
func unmarshalDurationOrOff(d *caddyfile.Dispenser, value *caddy.Duration) error {
	word, text := d.Val(), ""
	if *value != 0 {
		return d.Errf("%s already specified", word)
	}
	if err := setting.OneArg(d, &text); err != nil {
		return err
	}
	if text == "off" {
		*value = never
		return nil
	}
	duration, err := caddy.ParseDuration(text)
	if err == nil && duration <= 0 {
		err = errBadInterval
	}
	if err != nil {
		return d.Errf("bad %s value '%s': %v", word, text, err)
	}
	*value = caddy.Duration(duration)
	return nil
}
