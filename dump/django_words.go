package dump

import (
	"strconv"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-backup/caddy-backup/internal/setting"
)

// UnmarshalCaddyfile reads
//
//	django <manage.py> {
//		engine       dumpdata|native
//		apps         <app...>
//		exclude      <app...>
//		format       json|jsonl|xml|yaml
//		indent       <spaces>
//		natural_keys [on|off]
//		merge        [on|off]
//		database     <alias>
//		media        [on|off]
//		python       <interpreter>
//		virtualenv   <folder>
//		settings     <module>
//		user         <name>
//		env          <name> <value>
//	}
//
// apps, exclude and env may stand more than once.
func (j *Django) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // the module's name
	if !d.AllArgs(&j.Manage) {
		return d.ArgErr()
	}
	for d.NextBlock(0) {
		if err := j.word(d); err != nil {
			return err
		}
	}
	return nil
}

func (j *Django) word(d *caddyfile.Dispenser) error {
	switch word := d.Val(); word {
	case "engine":
		return setting.OneArg(d, &j.Engine)
	case "apps":
		return moreArgs(d, &j.Apps)
	case "exclude":
		return moreArgs(d, &j.Exclude)
	case "format":
		return setting.OneArg(d, &j.Format)
	case "indent":
		return j.indentWord(d)
	case "natural_keys":
		return setOnOff(d, &j.NaturalKeys)
	case "merge":
		return setOnOff(d, &j.Merge)
	case "database":
		return setting.OneArg(d, &j.Database)
	case "media":
		return setOnOff(d, &j.Media)
	case "python":
		return setting.OneArg(d, &j.Python)
	case "virtualenv":
		return setting.OneArg(d, &j.Virtualenv)
	case "settings":
		return setting.OneArg(d, &j.Settings)
	case "user":
		return setting.OneArg(d, &j.User)
	case "env":
		return envArgs(d, &j.Env)
	default:
		return d.Errf("unrecognized subdirective '%s'", word)
	}
}

func (j *Django) indentWord(d *caddyfile.Dispenser) error {
	var text string
	if j.Indent != nil {
		return d.Err("indent already specified")
	}
	if !d.AllArgs(&text) {
		return d.ArgErr()
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		return d.Errf("bad indent value '%s': must be a number", text)
	}
	j.Indent = &n
	return nil
}
