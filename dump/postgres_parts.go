package dump

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/caddy-backup/caddy-backup/backup"
)

// How parts are named: db.dump or db.sql of one database; db.shop.dump of database shop among all; and
// db.globals-only.sql of roles and tablespaces. In the name of a database, everything that could be taken for something
// else stands as %XX, the dot among it, so that it can be told from a part's name again.
const globalsSuffix = ".globals-only.sql"

// pgPart is what a part of ours is of.
type pgPart struct {
	database string // "" for that of the DSN
	globals  bool
}

// Parts asks the server for its databases when all are wanted; else nobody is asked.
func (p *Postgres) Parts(ctx context.Context, name string) ([]backup.Part, error) {
	var parts []backup.Part
	if p.withGlobals() {
		parts = append(parts, backup.Part{Name: name + globalsSuffix, Media: mediaSQL})
	}
	if !p.AllDatabases {
		parts = append(parts, p.databasePart(name))
		return parts, checkParts(p, name, parts)
	}
	databases, err := p.databases(ctx)
	if err != nil {
		return nil, err
	}
	for _, database := range databases {
		parts = append(parts, p.databasePart(name+"."+escapeName(database)))
	}
	return parts, checkParts(p, name, parts)
}

const mediaSQL = "application/sql"

func (p *Postgres) databasePart(name string) backup.Part {
	if p.Format == formatPlain {
		return backup.Part{Name: name + ".sql", Media: mediaSQL}
	}
	return backup.Part{Name: name + ".dump"}
}

// checkParts keeps a source named "x.globals-only" from dumping roles where its database should be.
func checkParts(p *Postgres, name string, parts []backup.Part) error {
	n := 0
	for _, part := range parts {
		if p.meaning(part).globals {
			n++
		}
	}
	if n > 0 && (n > 1 || !p.withGlobals()) {
		return fmt.Errorf("%w: a source cannot be named %s: the names of its parts would mean something else", backup.ErrInvalid, name)
	}
	return nil
}

// meaning is the inverse of Parts.
func (p *Postgres) meaning(part backup.Part) pgPart {
	if strings.HasSuffix(part.Name, globalsSuffix) {
		return pgPart{globals: true}
	}
	if !p.AllDatabases {
		return pgPart{}
	}
	name := strings.TrimSuffix(part.Name, path.Ext(part.Name))
	_, database, _ := cutLast(name, ".") // none in a dump from before all were dumped
	return pgPart{database: unescapeName(database)}
}

func cutLast(s, sep string) (before, after string, found bool) {
	if i := strings.LastIndex(s, sep); i >= 0 {
		return s[:i], s[i+len(sep):], true
	}
	return s, "", false
}

// database is the one that a part is of.
func (p *Postgres) database(part backup.Part) (*pgDatabase, error) {
	db, err := newPgDatabase(p.dsn)
	if err != nil {
		return nil, err
	}
	if name := p.meaning(part).database; name != "" {
		db.name = name
	}
	return db, nil
}

var (
	unplain = regexp.MustCompile(`[^A-Za-z0-9_ -]`)
	escaped = regexp.MustCompile(`%[0-9A-F]{2}`)
)

// escapeName makes the name of a database a piece of a file's name, without dots and slashes.
func escapeName(name string) string {
	return unplain.ReplaceAllStringFunc(name, func(r string) string {
		code := ""
		for _, c := range []byte(r) {
			code += fmt.Sprintf("%%%02X", c)
		}
		return code
	})
}

func unescapeName(text string) string {
	return escaped.ReplaceAllStringFunc(text, func(code string) string {
		c, _ := hex.DecodeString(code[1:])
		return string(c)
	})
}

// halfDropped are databases whose removal was interrupted: nobody can connect to one, it can only be dropped again.
const halfDropped = "datconnlimit = -2"

// serversOwn are the templates that come with a server; others are somebody's work.
const serversOwn = "datname IN ('template0', 'template1')"

// databases lists those of the server that can be dumped and are not excluded.
func (p *Postgres) databases(ctx context.Context) ([]string, error) {
	db, err := newPgDatabase(p.dsn)
	if err != nil {
		return nil, err
	}
	conn, _, err := db.connectAny(ctx)
	if err != nil {
		return nil, err
	}
	defer closePg(conn)
	names, err := pgColumn(ctx, conn, "SELECT datname FROM pg_catalog.pg_database WHERE datallowconn AND NOT "+serversOwn+" AND NOT "+halfDropped+" ORDER BY 1")
	if err != nil {
		return nil, fmt.Errorf("listing the databases on %s: %w", db.place, err)
	}
	names = slices.DeleteFunc(names, func(name string) bool { return ours(name) || p.excluded(name) })
	if len(names) == 0 {
		return nil, errors.New("no database is left: look at exclude_databases")
	}
	return names, nil
}

func (p *Postgres) excluded(name string) bool {
	return slices.ContainsFunc(p.ExcludeDatabases, func(pattern string) bool {
		slash := strings.NewReplacer("/", "\x00") // no folder in the name of a database
		ok, _ := path.Match(slash.Replace(pattern), slash.Replace(name))
		return ok
	})
}

// pgColumn is the first column of all rows.
func pgColumn(ctx context.Context, conn *pgconn.PgConn, sql string) (values []string, err error) {
	results, err := conn.Exec(ctx, sql).ReadAll()
	if err != nil {
		return nil, err
	}
	for _, r := range results {
		for _, row := range r.Rows {
			values = append(values, string(row[0]))
		}
	}
	return values, nil
}
