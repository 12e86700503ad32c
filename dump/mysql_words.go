package dump

import (
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-backup/caddy-backup/internal/setting"
)

// UnmarshalCaddyfile reads
//
//	mysql {
//		dsn                <address>
//		all_databases
//		exclude_databases  <pattern...>
//		globals            on|off
//		exclude_tables     <table...>
//		lock_timeout       <duration>
//	}
func (m *MySQL) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // the module's name
	if d.NextArg() {
		return d.ArgErr()
	}
	for d.NextBlock(0) {
		if err := m.word(d); err != nil {
			return err
		}
	}
	if m.DSN == "" {
		return d.Err("mysql is missing its dsn")
	}
	return nil
}

func (m *MySQL) word(d *caddyfile.Dispenser) error {
	switch word := d.Val(); word {
	case "dsn":
		return setting.OneArg(d, &m.DSN)
	case "all_databases":
		m.AllDatabases = true
		if d.NextArg() {
			return d.ArgErr()
		}
		return nil
	case "exclude_databases":
		return moreArgs(d, &m.ExcludeDatabases)
	case "globals":
		return onOff(d, &m.Globals)
	case "exclude_tables":
		return moreArgs(d, &m.ExcludeTables)
	case "lock_timeout":
		return durationArg(d, &m.LockTimeout)
	default:
		return d.Errf("unrecognized subdirective '%s'", word)
	}
}
