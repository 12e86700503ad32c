package dump

import (
	"errors"
	"fmt"
	"io"
	"path"
	"path/filepath"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-backup/caddy-backup/backup"
	"github.com/caddy-backup/caddy-backup/internal/setting"
)

func init() { caddy.RegisterModule(new(Postgres)) }

// Postgres dumps PostgreSQL with pg_dump, uncompressed, so that the repository can compress and deduplicate it: one
// database, or all of a server, each a part of its own. An archive is read to its end beside the dump, its
// contents by pg_restore; a script must have its last line; if there is fault with them, there is no backup. Both are
// counted: the manifest has the number of rows of each table.
//
// The programs are taken from PATH and from where packages put each version of them; they must not be older than the
// server. They get the password in a file that has no name, and of the environment variables that libpq knows only those
// that say how a connection is secured (PGSSLMODE …): what is dumped, from where and as whom is up to the DSN alone.
type Postgres struct {
	// DSN says where the database is and who we are there, as libpq takes it: postgres://user:password@host:5432/name,
	// host=/run/postgresql dbname=…, or service=… of a pg_service.conf. Placeholders are replaced.
	DSN string `json:"dsn,omitempty"`
	// AllDatabases dumps every database of the server that takes connections, but for template0 and template1. Each is of a
	// moment of its own.
	AllDatabases bool `json:"all_databases,omitempty"`
	// ExcludeDatabases are left out of all: names, or patterns with * and ?.
	ExcludeDatabases []string `json:"exclude_databases,omitempty"`
	// Globals adds a part with the server's roles and tablespaces, which belong to no database. Default: with all
	// databases.
	Globals *bool `json:"globals,omitempty"`
	// Format is "custom", an archive for pg_restore, or "plain", a script for psql; default custom.
	Format string `json:"format,omitempty"`
	// Schemas and Tables are all that is dumped, if there are any: patterns as pg_dump takes them, each of which must
	// match something. The others are left out, the last only with their rows.
	Schemas          []string `json:"schemas,omitempty"`
	Tables           []string `json:"tables,omitempty"`
	ExcludeSchemas   []string `json:"exclude_schemas,omitempty"`
	ExcludeTables    []string `json:"exclude_tables,omitempty"`
	ExcludeTableData []string `json:"exclude_table_data,omitempty"`
	// LockTimeout is how long a dump waits for a table that somebody has locked exclusively; default 5 minutes.
	LockTimeout caddy.Duration `json:"lock_timeout,omitempty"`
	// Programs is the folder in which pg_dump, pg_dumpall, pg_restore and psql are, when they are not to be looked for.
	Programs string `json:"programs,omitempty"`

	dsn     string   // resolved: secret
	layouts []string // for tests: where versions of the programs are, instead of pgLayouts
}

const (
	formatCustom, formatPlain = "custom", "plain"

	// defaultLockTimeout outlasts a migration, and ends before the night does.
	defaultLockTimeout = 5 * time.Minute
)

// CaddyModule tells Caddy about the source.
func (*Postgres) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: namespace + "postgres", New: func() caddy.Module { return new(Postgres) }}
}

// Provision replaces the placeholders.
func (p *Postgres) Provision(caddy.Context) (err error) {
	p.dsn, err = setting.Resolve("dsn", p.DSN)
	p.dsn = strings.TrimSpace(p.dsn)
	return err
}

// Validate checks the settings; nobody is asked.
func (p *Postgres) Validate() error {
	if p.dsn == "" {
		return errors.New("postgres is missing its dsn")
	}
	if _, err := parseDSN(p.dsn); err != nil {
		return err
	}
	switch {
	case p.Format != "" && p.Format != formatCustom && p.Format != formatPlain:
		return fmt.Errorf("bad format value '%s': must be custom or plain", p.Format)
	case p.AllDatabases && len(p.Schemas)+len(p.Tables) > 0:
		return errors.New("schemas and tables are of one database: leave out all_databases, or them")
	case len(p.ExcludeDatabases) > 0 && !p.AllDatabases:
		return errors.New("exclude_databases needs all_databases")
	case p.LockTimeout < 0:
		return errors.New("bad lock_timeout value: must not be negative")
	case p.Programs != "" && !filepath.IsAbs(p.Programs):
		return fmt.Errorf("programs '%s' is not an absolute path", p.Programs)
	}
	for _, pattern := range p.ExcludeDatabases {
		if _, err := path.Match(pattern, ""); err != nil {
			return fmt.Errorf("bad exclude_databases value '%s': %w", pattern, err)
		}
	}
	return nil
}

func (p *Postgres) withGlobals() bool {
	if p.Globals != nil {
		return *p.Globals
	}
	return p.AllDatabases
}

func (p *Postgres) lockTimeout() time.Duration {
	if p.LockTimeout > 0 {
		return time.Duration(p.LockTimeout)
	}
	return defaultLockTimeout
}

// Interface guards
var (
	_ backup.Source         = (*Postgres)(nil)
	_ caddy.Provisioner     = (*Postgres)(nil)
	_ caddy.Validator       = (*Postgres)(nil)
	_ caddyfile.Unmarshaler = (*Postgres)(nil)
	_ io.ReaderFrom         = (*teeWriter)(nil)
)
