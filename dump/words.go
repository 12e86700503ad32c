package dump

import (
	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

// moreArgs appends the arguments of a subdirective that needs one at least and may be repeated.
func moreArgs(d *caddyfile.Dispenser, to *[]string) error {
	args := d.RemainingArgs()
	if len(args) == 0 {
		return d.ArgErr()
	}
	*to = append(*to, args...)
	return nil
}

// onOff reads a switch that may stand once; without an argument it is on.
func onOff(d *caddyfile.Dispenser, to **bool) error {
	word := d.Val()
	if *to != nil {
		return d.Errf("%s already specified", word)
	}
	value := "on"
	if args := d.RemainingArgs(); len(args) == 1 {
		value = args[0]
	} else if len(args) > 1 {
		return d.ArgErr()
	}
	if value != "on" && value != "off" {
		return d.Errf("bad %s value '%s': must be on or off", word, value)
	}
	on := value == "on"
	*to = &on
	return nil
}

// durationArg reads a duration above zero that may stand once.
func durationArg(d *caddyfile.Dispenser, to *caddy.Duration) error {
	word, value := d.Val(), ""
	if *to != 0 {
		return d.Errf("%s already specified", word)
	}
	if !d.AllArgs(&value) {
		return d.ArgErr()
	}
	duration, err := caddy.ParseDuration(value)
	if err != nil || duration <= 0 {
		return d.Errf("bad %s value '%s': must be a duration such as 5m", word, value)
	}
	*to = caddy.Duration(duration)
	return nil
}

// setOnOff is onOff for what is off by default.
func setOnOff(d *caddyfile.Dispenser, to *bool) error {
	var value *bool
	err := onOff(d, &value)
	*to = value != nil && *value
	return err
}

// envArgs reads a variable of a program's environment.
func envArgs(d *caddyfile.Dispenser, to *map[string]string) error {
	var key, value string
	if !d.AllArgs(&key, &value) {
		return d.ArgErr()
	}
	if _, ok := (*to)[key]; ok {
		return d.Errf("env %s already specified", key)
	}
	if *to == nil {
		*to = map[string]string{}
	}
	(*to)[key] = value
	return nil
}
