package dump

import (
	"context"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/caddy-backup/caddy-backup/backup"
)

const (
	placeServer = "server" // where roles and tablespaces are restored to
	maxGlobals  = 64 << 20 // bytes; a script of a hundred thousand roles
)

// restoreGlobals makes the roles and tablespaces that are not there. Those that are stay as they are, with their passwords
// and rights. The roles come in one transaction; each tablespace by itself, since a server makes none in a transaction.
func (p *Postgres) restoreGlobals(ctx context.Context, db *pgDatabase, dump *pgStream, place string, t *backup.Task) error {
	if place != placeServer {
		return fmt.Errorf("%w: roles and tablespaces belong to no database: restore them into the place %q", backup.ErrInvalid, placeServer)
	}
	text, err := io.ReadAll(io.LimitReader(&contextReader{ctx, dump.in}, maxGlobals+1))
	if err != nil {
		return err
	}
	if len(text) > maxGlobals {
		return fmt.Errorf("%w: this is longer than any script of roles", backup.ErrInvalid)
	}
	watch := newScriptWatch(dump.script)
	watch.Write(text)
	if err := watch.whole(); err != nil {
		return err
	}
	statements, err := splitStatements(string(text))
	if err != nil {
		return err
	}
	conn, _, err := db.connectAny(ctx)
	if err != nil {
		return err
	}
	defer closePg(conn)
	g := &globals{conn: conn, task: t}
	if err := g.plan(ctx, statements); err != nil {
		return err
	}
	if err := g.run(ctx); err != nil {
		return fmt.Errorf("restore of the roles and tablespaces of %s: %w", db.place, err)
	}
	return nil
}

// globals is what is to be done about roles and tablespaces.
type globals struct {
	conn   *pgconn.PgConn
	task   *backup.Task
	roles  []string // before
	spaces []string // before

	first   []string // statements for one transaction
	alone   []string // statements that make tablespaces
	skipped []string // names
}

const sqlName = `("(?:[^"]|"")+"|[^\s";,]+)`

// globalForms are the statements that pg_dumpall writes, and what is named in them.
var globalForms = []struct {
	form  *regexp.Regexp
	space bool // names are of tablespaces, not of roles
	make  bool
}{
	{regexp.MustCompile(`^CREATE ROLE ` + sqlName + `$`), false, true},
	{regexp.MustCompile(`^ALTER ROLE ` + sqlName + ` (?:WITH|SET) [^;]*`), false, false},
	{regexp.MustCompile(`^COMMENT ON ROLE ` + sqlName + ` IS `), false, false},
	{regexp.MustCompile(`^GRANT ` + sqlName + ` TO ` + sqlName + `(?: |$)`), false, false},
	{regexp.MustCompile(`^GRANT (?:SET|ALTER SYSTEM|ALL|SET, ALTER SYSTEM) ON PARAMETER \S+ TO ` + sqlName + `(?: |$)`), false, false},
	{regexp.MustCompile(`^CREATE TABLESPACE ` + sqlName + ` `), true, true},
	{regexp.MustCompile(`^ALTER TABLESPACE ` + sqlName + ` `), true, false},
	{regexp.MustCompile(`^COMMENT ON TABLESPACE ` + sqlName + ` IS `), true, false},
	{regexp.MustCompile(`^(?:GRANT|REVOKE) [A-Z ]+ ON TABLESPACE ` + sqlName + ` (?:TO|FROM) `), true, false},
}

var (
	sessionForm  = regexp.MustCompile(`^SET (?:default_transaction_read_only = off|client_encoding = '[A-Za-z0-9_]+'|standard_conforming_strings = on)$`)
	databaseForm = regexp.MustCompile(`^ALTER ROLE ` + sqlName + ` IN DATABASE `)
)

// plan decides what is to be done, and refuses a script that does anything else.
func (g *globals) plan(ctx context.Context, statements []string) (err error) {
	if g.roles, err = pgColumn(ctx, g.conn, "SELECT rolname FROM pg_catalog.pg_roles"); err != nil {
		return err
	}
	if g.spaces, err = pgColumn(ctx, g.conn, "SELECT spcname FROM pg_catalog.pg_tablespace"); err != nil {
		return err
	}
	for _, s := range statements {
		if err := g.consider(s); err != nil {
			return err
		}
	}
	return nil
}

func (g *globals) consider(statement string) error {
	if sessionForm.MatchString(statement) {
		g.first = append(g.first, statement)
		return nil
	}
	if databaseForm.MatchString(statement) {
		g.task.Log.Warn("a setting of a role in one database is left out: " + statement)
		return nil
	}
	for _, f := range globalForms {
		m := f.form.FindStringSubmatch(statement)
		if m == nil {
			continue
		}
		there := g.roles
		if f.space {
			there = g.spaces
		}
		known := !slices.ContainsFunc(m[1:], func(name string) bool { return !slices.Contains(there, unquoteName(name)) })
		switch {
		case known && f.make:
			g.skipped = append(g.skipped, unquoteName(m[1]))
		case known:
		case f.space:
			g.alone = append(g.alone, statement)
		default:
			g.first = append(g.first, statement)
			if strings.HasPrefix(statement, "ALTER ROLE") && strings.Contains(statement, " LOGIN ") && !strings.Contains(statement, " PASSWORD '") {
				g.task.Log.Warn("role " + m[1] + " gets no password: the dump has none")
			}
		}
		return nil
	}
	return fmt.Errorf("%w: the script does what no script of roles and tablespaces does: %.60s…", backup.ErrInvalid, statement)
}

// run does it.
func (g *globals) run(ctx context.Context) error {
	if len(g.skipped) > 0 {
		g.task.Log.Info("left as they are, since they exist: " + strings.Join(g.skipped, ", "))
	}
	for _, s := range slices.Concat([]string{"BEGIN"}, g.first, []string{"COMMIT"}) {
		if err := g.one(ctx, s); err != nil { // the connection is closed by us: that takes all back
			return fmt.Errorf("nothing was changed: %w", err)
		}
	}
	var failed []error
	for _, s := range g.alone {
		if err := g.one(ctx, s); err != nil {
			failed = append(failed, fmt.Errorf("%s: %w", s, err))
		}
	}
	if len(failed) > 0 {
		return fmt.Errorf("the roles are there, but of the tablespaces: %w; make their folders, and restore again", errors.Join(failed...))
	}
	g.task.Log.Info(fmt.Sprintf("%d statements for roles, and %d for tablespaces, each of these by itself", len(g.first), len(g.alone)))
	return nil
}

// one runs a statement in the protocol that takes no two at once.
func (g *globals) one(ctx context.Context, statement string) error {
	return g.conn.ExecParams(ctx, statement, nil, nil, nil, nil).Read().Err
}
