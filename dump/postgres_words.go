package dump

import (
	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

// UnmarshalCaddyfile reads
//
//	postgres {
//		dsn                <connection string>
//		all_databases
//		exclude_databases  <pattern...>
//		globals            [on|off]
//		format             custom|plain
//		schemas            <pattern...>
//		tables             <pattern...>
//		exclude_schemas    <pattern...>
//		exclude_tables     <pattern...>
//		exclude_table_data <pattern...>
//		lock_timeout       <duration>
//		programs           <folder>
//	}
//
// Those with patterns may stand more than once.
func (p *Postgres) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // the module's name
	if d.NextArg() {
		return d.ArgErr()
	}
	for d.NextBlock(0) {
		if err := p.word(d); err != nil {
			return err
		}
	}
	if p.DSN == "" {
		return d.Err("postgres is missing its dsn")
	}
	return nil
}

func (p *Postgres) word(d *caddyfile.Dispenser) error {
	switch word := d.Val(); word {
	case "dsn":
		return oneArg(d, &p.DSN)
	case "format":
		return oneArg(d, &p.Format)
	case "programs":
		return oneArg(d, &p.Programs)
	case "exclude_databases":
		return moreArgs(d, &p.ExcludeDatabases)
	case "schemas":
		return moreArgs(d, &p.Schemas)
	case "tables":
		return moreArgs(d, &p.Tables)
	case "exclude_schemas":
		return moreArgs(d, &p.ExcludeSchemas)
	case "exclude_tables":
		return moreArgs(d, &p.ExcludeTables)
	case "exclude_table_data":
		return moreArgs(d, &p.ExcludeTableData)
	case "all_databases":
		p.AllDatabases = true
		if d.NextArg() {
			return d.ArgErr()
		}
		return nil
	case "globals":
		return p.globalsWord(d)
	case "lock_timeout":
		return p.lockTimeoutWord(d)
	default:
		return d.Errf("unrecognized subdirective '%s'", word)
	}
}

func (p *Postgres) globalsWord(d *caddyfile.Dispenser) error {
	if p.Globals != nil {
		return d.Err("globals already specified")
	}
	value := "on"
	if args := d.RemainingArgs(); len(args) == 1 {
		value = args[0]
	} else if len(args) > 1 {
		return d.ArgErr()
	}
	if value != "on" && value != "off" {
		return d.Errf("bad globals value '%s': must be on or off", value)
	}
	on := value == "on"
	p.Globals = &on
	return nil
}

func (p *Postgres) lockTimeoutWord(d *caddyfile.Dispenser) error {
	var value string
	if p.LockTimeout != 0 {
		return d.Err("lock_timeout already specified")
	}
	if !d.AllArgs(&value) {
		return d.ArgErr()
	}
	timeout, err := caddy.ParseDuration(value)
	if err != nil || timeout <= 0 {
		return d.Errf("bad lock_timeout value '%s': must be a duration such as 5m", value)
	}
	p.LockTimeout = caddy.Duration(timeout)
	return nil
}

// moreArgs appends the arguments of a subdirective that needs one at least and may be repeated.
func moreArgs(d *caddyfile.Dispenser, to *[]string) error {
	args := d.RemainingArgs()
	if len(args) == 0 {
		return d.ArgErr()
	}
	*to = append(*to, args...)
	return nil
}
