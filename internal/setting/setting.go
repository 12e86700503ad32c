// Package setting reads single settings of a configuration, for the app and for the guests: words of the Caddyfile, and the
// placeholders in them.
package setting

import (
	"fmt"
	"regexp"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

// Resolve replaces the placeholders in a value. An unknown or empty one is an error, since half a password, or an empty name,
// would look like any other. The error names the setting, but not its value: it may hold a secret.
func Resolve(name, value string) (string, error) {
	resolved, err := caddy.NewReplacer().ReplaceOrErr(value, true, true)
	switch {
	case err == nil:
		return resolved, nil
	case !placeholders.MatchString(err.Error()):
		return "", fmt.Errorf("%s: there is no such placeholder as begins in it; write \\{ for a brace that begins none", name)
	}
	return "", fmt.Errorf("%s: %w; set the variable for the process that runs Caddy, or write the file, "+
		"so that its user can read it", name, err)
}

// placeholders are those that an error may name. What is in other braces may be a part of a secret, such as a password or JSON.
var placeholders = regexp.MustCompile(`placeholder \{[a-z]+\.[^{}"]*\}`)

// ResolveAll is Resolve for each of a list.
func ResolveAll(name string, values []string) (resolved []string, err error) {
	for _, value := range values {
		if value, err = Resolve(name, value); err != nil {
			return nil, err
		}
		resolved = append(resolved, value)
	}
	return resolved, nil
}

// OneArg reads the only argument of a subdirective. It may stand once and may not be empty.
func OneArg(d *caddyfile.Dispenser, to *string) error {
	word := d.Val()
	if *to != "" {
		return d.Errf("%s already specified", word)
	}
	if !d.AllArgs(to) {
		return d.ArgErr()
	}
	if *to == "" {
		return d.Errf("bad %s value: must not be empty", word)
	}
	return nil
}
