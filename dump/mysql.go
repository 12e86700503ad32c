package dump

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-backup/caddy-backup/backup"
	"github.com/caddy-backup/caddy-backup/internal/setting"
)

func init() { caddy.RegisterModule(new(MySQL)) }

// MySQL dumps databases of a MariaDB or MySQL server with mariadb-dump or mysqldump, whichever is there, in one transaction,
// with routines, triggers and events. A dump counts only with the line that the program writes last; on the way the rows of
// each table are counted. Tables of engines without transactions (MyISAM, Aria) are dumped too, but not as of one moment: the
// manifest names them.
type MySQL struct {
	// DSN says where the database is and who we are there: mysql://user:password@host:3306/name. Placeholders are replaced.
	// Without a host, or with localhost, it is the server's socket, which ?socket=/path names if it is in no usual place.
	// TLS: ?ssl_mode=required, or ?ssl_ca=/path to verify the server.
	DSN string `json:"dsn,omitempty"`

	// AllDatabases dumps every database of the server but its own, each of a moment of its own. Then the DSN names none.
	AllDatabases bool `json:"all_databases,omitempty"`

	// ExcludeDatabases are left out of all: names, or patterns with * and ?.
	ExcludeDatabases []string `json:"exclude_databases,omitempty"`

	// Globals adds a part with the server's users and their rights, of MariaDB only. Default: with all databases.
	Globals *bool `json:"globals,omitempty"`

	// ExcludeTables are left out with their rows: names, with all databases as database.table.
	ExcludeTables []string `json:"exclude_tables,omitempty"`

	// LockTimeout is how long a dump waits for a table that somebody else has locked; default 5 minutes.
	LockTimeout caddy.Duration `json:"lock_timeout,omitempty"`

	dsn     string        // resolved: secret
	silence time.Duration // for which a server may leave us without an answer; 0: serverSilence
}

// checkedMySQL is how a dump was verified.
const checkedMySQL = "script read to the line that is written last, rows counted"

// CaddyModule tells Caddy about the source.
func (*MySQL) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: namespace + "mysql", New: func() caddy.Module { return new(MySQL) }}
}

// Provision replaces the placeholders.
func (m *MySQL) Provision(caddy.Context) (err error) {
	m.dsn, err = setting.Resolve("dsn", m.DSN)
	m.dsn = strings.TrimSpace(m.dsn)
	return err
}

// Validate checks the settings; nobody is asked.
func (m *MySQL) Validate() error {
	if m.dsn == "" {
		return errors.New("mysql is missing its dsn")
	}
	s, err := parseMyDSN(m.dsn)
	switch {
	case err != nil:
		return err
	case m.AllDatabases && s.database != "":
		return errors.New("all_databases: the dsn names a database; leave either out")
	case !m.AllDatabases && s.database == "":
		return errors.New("dsn: it names no database; write mysql://user:password@host:3306/database, or all_databases")
	case len(m.ExcludeDatabases) > 0 && !m.AllDatabases:
		return errors.New("exclude_databases needs all_databases")
	case m.LockTimeout < 0:
		return fmt.Errorf("bad lock_timeout value '%s': negative", time.Duration(m.LockTimeout))
	}
	for _, table := range m.ExcludeTables {
		if table == "" || strings.ContainsAny(table, "{}\n\x00") || m.AllDatabases && !strings.Contains(table, ".") {
			return fmt.Errorf("bad exclude_tables value '%s': must be the name of a table, with all_databases database.table", table)
		}
	}
	for _, pattern := range m.ExcludeDatabases {
		if _, err := path.Match(pattern, ""); err != nil {
			return fmt.Errorf("bad exclude_databases value '%s': %w", pattern, err)
		}
	}
	return nil
}

func (m *MySQL) lockTimeout() time.Duration {
	if m.LockTimeout > 0 {
		return time.Duration(m.LockTimeout)
	}
	return defaultLockTimeout
}

// Dump runs the dump program, and reads its output along.
func (m *MySQL) Dump(ctx context.Context, p backup.Part, w io.Writer, t *backup.Task) (backup.Facts, error) {
	s, err := newMyServer(m.dsn)
	if err != nil {
		return backup.Facts{}, err
	}
	database := m.databaseOf(p, s)
	if oursInMy(database) {
		return backup.Facts{}, fmt.Errorf("%w: database %s is one that a restore or a drill made for a while", backup.ErrInvalid, database)
	}
	conn, server, err := s.session(ctx, "")
	if err != nil {
		return backup.Facts{}, err
	}
	defer conn.Close()
	if err := m.mend(ctx, s, conn, database, t); err != nil { // it may give the database back, or take it away
		return backup.Facts{}, err
	}
	if err := conn.use(ctx, s, database); err != nil {
		return backup.Facts{}, err
	}
	tool, err := m.dumper(ctx, server)
	if err != nil {
		return backup.Facts{}, err
	}
	facts := backup.Facts{
		Engine: server.String(), Tool: filepath.Base(tool.path) + " " + tool.version.text, Notes: tool.doubts(server),
		Source: fmt.Sprintf("database %s on %s", database, s.place()),
	}
	var args []string
	if database == "" {
		facts.Source, args = "users of "+s.place(), []string{"--system=users"}
		err = conn.seesUsers(ctx)
	} else {
		args = slices.Concat(tool.options(server), m.ignored(database), []string{"--", database})
		err = conn.examineTables(ctx, s, database, m.lockTimeout(), m.leftOut(database), &facts, t)
	}
	if err != nil {
		return backup.Facts{}, err
	}
	large, err := conn.oversized(ctx)
	if err != nil {
		return backup.Facts{}, err
	}
	program, settings, err := s.program(tool, args...)
	if err != nil {
		return backup.Facts{}, err
	}
	defer settings.Close()
	read, done, err := m.reader(ctx, s, database, large)
	if err != nil {
		return backup.Facts{}, err
	}
	defer done()
	ctx, stop := m.watchLocks(ctx, conn)
	defer stop()
	if facts.Rows, err = dumpAlong(ctx, t, program, w, read); err != nil {
		return backup.Facts{}, s.explain("dump of "+facts.Source, err)
	}
	if note := large.note(); note != "" {
		facts.Notes = append(facts.Notes, note)
		t.Log.Warn(note, "database", database)
	}
	facts.Checked = checkedMySQL
	return facts, nil
}

// reader gives what reads a dump along, and looks for what makes it worthless or hard to restore.
func (m *MySQL) reader(ctx context.Context, s *myServer, database string, large *oversized) (read func(io.Reader) (map[string]int64, error), done func() error, err error) {
	conn, err := s.connect(ctx, "")
	if err != nil {
		return nil, nil, err
	}
	tables, err := conn.tablesBefore(ctx, database, m.lockTimeout())
	if err != nil {
		return nil, nil, errors.Join(err, conn.Close())
	}
	return func(r io.Reader) (map[string]int64, error) {
		rows, err := readStatements(r, func(stmt []byte, mode sqlMode) error {
			large.look(stmt, mode)
			return tables.see(ctx, stmt)
		})
		if err == nil {
			err = tables.same(ctx)
		}
		return rows, err
	}, conn.Close, nil
}

// leftOut are the tables of a database that are left out.
func (m *MySQL) leftOut(database string) (tables []string) {
	for _, table := range m.ExcludeTables {
		name, ok := table, true
		if m.AllDatabases {
			name, ok = strings.CutPrefix(table, database+".")
		}
		if ok {
			tables = append(tables, name)
		}
	}
	return tables
}

// ignored are the options for the tables of a database that are left out.
func (m *MySQL) ignored(database string) (options []string) {
	for _, table := range m.leftOut(database) {
		options = append(options, "--ignore-table="+database+"."+table)
	}
	return options
}

// readScript reads a script to its end, counts the rows of its tables, and says whether it is whole.
func readScript(r io.Reader) (map[string]int64, error) {
	return readStatements(r, func([]byte, sqlMode) error { return nil })
}

// readStatements is readScript, which shows each statement on the way.
func readStatements(r io.Reader, see func(stmt []byte, mode sqlMode) error) (map[string]int64, error) {
	script, rows := newSQLScript(r), map[string]int64{}
	for {
		stmt, err := script.next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, err
		}
		countRows(stmt, rows)
		if err := see(stmt, script.mode); err != nil {
			return nil, err
		}
	}
	if !script.complete {
		return nil, fmt.Errorf("%w: it does not end with the line %q", errCutOff, lastComment)
	}
	return rows, nil
}

// Interface guards
var (
	_ backup.Source         = (*MySQL)(nil)
	_ caddy.Provisioner     = (*MySQL)(nil)
	_ caddy.Validator       = (*MySQL)(nil)
	_ caddyfile.Unmarshaler = (*MySQL)(nil)
)
