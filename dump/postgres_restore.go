package dump

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/caddy-backup/caddy-backup/backup"
)

const (
	archiveMagic = "PGDMP"
	archiveHead  = 64 << 10 // the beginning, in which the properties of the database stand
	maxNameBytes = 63       // of a database; the server would cut a longer one silently
)

// Restore makes a new database, with the properties of the dumped one, and restores the dump into it. It gets its name
// when that is done; after any failure it is dropped again. What belongs to no database, roles and tablespaces, goes
// into the place "server".
//
// A superuser restores owners too, so the roles must exist. For everyone else all objects of an archive belong to the
// user of the DSN; privileges are restored in both cases. The new database belongs to the owner of the one that the
// source dumps, or of the one that was dumped, when we may give it away; else to the user of the DSN. An archive brings
// back what was set for the database itself; a script does not have that.
func (p *Postgres) Restore(ctx context.Context, part backup.Part, r io.Reader, place string, t *backup.Task) (err error) {
	if err := checkDatabaseName(place); err != nil {
		return err
	}
	db, err := p.database(part)
	if err != nil {
		return err
	}
	dump, err := openDump(r)
	if err != nil {
		return err
	}
	if dump.roles {
		return p.restoreGlobals(ctx, db, dump, place, t)
	}
	b, err := db.begin(ctx, newBuildName(), t)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.close()) }()
	if there, err := b.exists(ctx, place); err != nil || there {
		return errors.Join(err, db.conflict(place))
	}
	if err := fits(dump.server, b.server, t); err != nil {
		return err
	}
	if err := b.fill(ctx, p, dump, t); err != nil {
		return db.explain("restore into the new database "+place, err)
	}
	if err := b.bringBack(ctx, dump.contents, t); err != nil {
		return err
	}
	if err := b.tellSubscriptions(ctx, t); err != nil {
		return err
	}
	return b.rename(ctx, place)
}

func checkDatabaseName(place string) error {
	if place == "" || len(place) > maxNameBytes || strings.Contains(place, "\x00") {
		return fmt.Errorf("%w: '%s' cannot be the name of a database: 1 to %d bytes", backup.ErrInvalid, place, maxNameBytes)
	}
	if ours(place) {
		return fmt.Errorf("%w: names that begin like %s are for databases that are dropped again", backup.ErrInvalid, place)
	}
	return nil
}

// connectAny connects to a database in which nothing will change: the server's own, else the one of the source.
func (db *pgDatabase) connectAny(ctx context.Context) (conn *pgconn.PgConn, name string, err error) {
	return db.connectFirst(ctx, "postgres", "template1", db.conf.Database)
}

// connectBeside is connectAny for one that gets another name meanwhile, which may be the server's own. From template1
// nobody can make databases while we are there: it comes last.
func (db *pgDatabase) connectBeside(ctx context.Context) (conn *pgconn.PgConn, name string, err error) {
	if db.name != "postgres" {
		return db.connectAny(ctx)
	}
	if db.conf.Database != db.name {
		return db.connectFirst(ctx, db.conf.Database, "template1")
	}
	return db.connectFirst(ctx, "template1", "postgres")
}

func (db *pgDatabase) connectFirst(ctx context.Context, names ...string) (conn *pgconn.PgConn, name string, err error) {
	for _, name = range names {
		if conn, err = db.connect(ctx, name); err == nil {
			return conn, name, nil
		}
		if ctx.Err() != nil {
			return nil, "", err
		}
	}
	return nil, "", err
}

// drop takes a database that we made away, also when the run was cancelled. Its error says what is left.
func (db *pgDatabase) drop(maintenance, name string) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	conn, err := db.connect(ctx, maintenance)
	if err == nil {
		defer closePg(conn)
		err = db.release(ctx, conn, name)
	}
	if err == nil {
		sql := "DROP DATABASE IF EXISTS " + quoteName(name)
		if version, _ := parsePgVersion(conn.ParameterStatus("server_version")); version.major >= 13 {
			sql += " WITH (FORCE)"
		}
		err = conn.Exec(ctx, sql).Close()
	}
	if err != nil {
		return fmt.Errorf("database %s is left behind on %s, incomplete: drop it (%w)", name, db.place, err)
	}
	return nil
}

// pgValue is the first column of the first row, "" when there is none.
func pgValue(ctx context.Context, conn *pgconn.PgConn, sql string, args ...string) (string, error) {
	values := make([][]byte, len(args))
	for i, arg := range args {
		values[i] = []byte(arg)
	}
	result := conn.ExecParams(ctx, sql, values, nil, nil, nil).Read()
	if result.Err != nil || len(result.Rows) == 0 {
		return "", result.Err
	}
	return string(result.Rows[0][0]), nil
}
