package dump

import (
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-backup/caddy-backup/internal/setting"
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
		return setting.OneArg(d, &p.DSN)
	case "format":
		return setting.OneArg(d, &p.Format)
	case "programs":
		return setting.OneArg(d, &p.Programs)
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
		return onOff(d, &p.Globals)
	case "lock_timeout":
		return durationArg(d, &p.LockTimeout)
	default:
		return d.Errf("unrecognized subdirective '%s'", word)
	}
}
