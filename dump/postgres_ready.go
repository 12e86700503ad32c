package dump

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/caddy-backup/caddy-backup/backup"
)

// Ready looks for the right to make and rename databases, for the versions, for who is connected, and for space where
// the server is on this machine.
func (p *Postgres) Ready(ctx context.Context, s backup.Stored, o backup.Over, t *backup.Task) error {
	db, err := p.overwritable(s)
	if err != nil {
		return err
	}
	globals := p.meaning(s.Part).globals
	conn, maintenance, err := db.connectBeside(ctx)
	if err != nil {
		return err
	}
	defer closePg(conn)
	if maintenance == db.name && !globals {
		return fmt.Errorf("%w: database %s cannot be replaced from a connection to itself, and user %s gets none to another database on %s",
			backup.ErrInvalid, db.name, db.conf.User, db.place)
	}
	if conn.ParameterStatus("is_superuser") == "on" {
		t.Log.Warn(fmt.Sprintf("user %s of the dsn is a superuser: what is in a dump can do anything on that server then, also start "+
			"programs; restore only what you trust, or take a user who owns this database and nothing else", db.conf.User))
	}
	server, err := parsePgVersion(conn.ParameterStatus("server_version"))
	if err != nil {
		return err
	}
	if err := fits(s.Facts.Engine, server, t); err != nil || globals {
		return err
	}
	if strings.HasSuffix(s.Name, ".sql") {
		_, err = p.psql(ctx)
	} else {
		_, err = p.tools(ctx, server)
	}
	if err != nil {
		return err
	}
	if err := errors.Join(db.primary(ctx, conn), db.mayReplace(ctx, conn)); err != nil {
		return err
	}
	if err := db.space(ctx, conn, s.Size); err != nil {
		return err
	}
	if err := db.unprepared(ctx, conn); err != nil {
		return err
	}
	if !o.Force {
		if err := db.unused(ctx, conn); err != nil {
			return err
		}
	}
	return db.absent(ctx, conn)
}

// absent is ErrAbsent of a database that the server does not have. A pooler may know one by a name that is its own, so the server
// has to refuse a connection to it too.
func (db *pgDatabase) absent(ctx context.Context, conn *pgconn.PgConn) error {
	found, err := pgValue(ctx, conn, "SELECT 1 FROM pg_catalog.pg_database WHERE datname = $1", db.name)
	if err != nil {
		return db.explain("looking whether it is there", err)
	}
	if found != "" {
		return nil
	}
	live, err := db.connect(ctx, db.name)
	if err == nil {
		closePg(live)
	}
	if errors.Is(err, backup.ErrAbsent) {
		return err
	}
	return context.Cause(ctx)
}

func (p *Postgres) overwritable(s backup.Stored) (*pgDatabase, error) {
	db, err := p.database(s.Part)
	if err != nil {
		return nil, err
	}
	return db, checkDatabaseName(db.name)
}

// fits compares the server that was dumped, as facts name it, with the one that is there.
func fits(engine string, server pgVersion, t *backup.Task) error {
	dumped, err := parsePgVersion(engine)
	switch {
	case err != nil: // nobody knows
	case server.major < dumped.major:
		return fmt.Errorf("%w: the dump is of %s, and the server is older, %s: restore to one that is as new", backup.ErrInvalid, engine, server.text)
	case server.major > dumped.major:
		t.Log.Warn(fmt.Sprintf("the dump is of %s, the server is newer, %s: look at its release notes", engine, server.text))
	}
	return nil
}

// mayReplace looks for the rights that are needed to make a database and to rename the live one, if that is there.
func (db *pgDatabase) mayReplace(ctx context.Context, conn *pgconn.PgConn) error {
	missing, err := pgValue(ctx, conn, `SELECT CASE
		WHEN rolsuper THEN NULL
		WHEN NOT rolcreatedb THEN 'create'
		WHEN EXISTS (SELECT FROM pg_catalog.pg_database WHERE datname = $1 AND NOT pg_has_role(datdba, 'MEMBER')) THEN 'rename'
		END FROM pg_catalog.pg_roles WHERE rolname = current_user`, db.name)
	switch {
	case err != nil:
	case missing == "create":
		err = fmt.Errorf("user %s must be allowed to create databases: %s", db.conf.User, db.spell(letCreate))
	case missing == "rename":
		err = fmt.Errorf("user %s must be allowed to rename the database: let a superuser run: ALTER DATABASE %s OWNER TO %s",
			db.conf.User, quoteName(db.name), quoteName(db.conf.User))
	}
	if err != nil {
		return db.explain("replacing", err)
	}
	return nil
}

// space compares what the new database needs beside the live one with what is free, where we can see that: the server's
// folder, or that of the database's tablespace, is on this machine when we talk to it through a socket.
func (db *pgDatabase) space(ctx context.Context, conn *pgconn.PgConn, dumped int64) error {
	if !strings.HasPrefix(db.place, "/") {
		return nil
	}
	folder, err := pgValue(ctx, conn, `SELECT coalesce((SELECT nullif(pg_tablespace_location(dattablespace), '')
		FROM pg_catalog.pg_database WHERE datname = $1), current_setting('data_directory'))`, db.name)
	if err != nil {
		return nil // not everybody may know it
	}
	if _, err := os.Stat(folder); err != nil {
		return nil
	}
	return backup.RequireSpace(folder, dumped)
}

// inTheWay are those whose sessions keep a database from getting another name: clients, and workers for subscriptions and
// of extensions. Only autovacuum makes way by itself. Servers before 10 list nobody else.
const inTheWay = `coalesce(to_jsonb(a)->>'backend_type', '') <> 'autovacuum worker'`

// awaitParting looks for half a second and more whether somebody is in the way: of sessions that were ended a moment ago, the server
// learns when its process for them comes to it.
func awaitParting(look func() (there bool, err error)) error {
	for n := 0; ; n++ {
		if there, err := look(); err != nil || !there || n == 25 {
			return err
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// unused makes sure that nobody is connected to the live one.
func (db *pgDatabase) unused(ctx context.Context, conn *pgconn.PgConn) error {
	var who string
	err := awaitParting(func() (there bool, err error) {
		who, err = db.users(ctx, conn)
		return who != "", err
	})
	if err != nil {
		return db.explain("looking who uses it", err)
	}
	if who != "" {
		return fmt.Errorf("%w: database %s on %s is in use by %s: stop these first, or force the restore: they are disconnected then, "+
			"and what they write until then is lost", backup.ErrConflict, db.name, db.place, who)
	}
	return nil
}

// users names those who are connected to the live one, "" when nobody is.
func (db *pgDatabase) users(ctx context.Context, conn *pgconn.PgConn) (string, error) {
	return pgValue(ctx, conn, `SELECT string_agg(DISTINCT format('%s%s%s', usename, ' (' || coalesce(nullif(application_name, ''), nullif(to_jsonb(a)->>'backend_type', 'client backend')) || ')',
			' from ' || coalesce(host(client_addr), 'this machine')), ', ')
		FROM pg_catalog.pg_stat_activity a WHERE datname = $1 AND pid <> pg_backend_pid() AND `+inTheWay, db.name)
}

// primary makes sure that databases can be made: a standby has those of its primary server, and no others.
func (db *pgDatabase) primary(ctx context.Context, conn *pgconn.PgConn) error {
	standby, err := pgValue(ctx, conn, "SELECT pg_is_in_recovery() OR NULL")
	if err != nil {
		return db.explain("looking whether the server is a standby of", err)
	}
	if standby != "" {
		return fmt.Errorf("%w: PostgreSQL at %s is a standby, on which no database can be made: restores and drills need a dsn of the primary server",
			backup.ErrInvalid, db.place)
	}
	return nil
}

// unprepared makes sure that no transaction waits in the live one for the second phase of its commit: it keeps the database from
// getting another name, has no session that could be ended, and is somebody's promise.
func (db *pgDatabase) unprepared(ctx context.Context, conn *pgconn.PgConn) error {
	names, err := pgValue(ctx, conn, `SELECT string_agg(quote_literal(gid), ', ' ORDER BY gid) FROM pg_catalog.pg_prepared_xacts WHERE database = $1`, db.name)
	if err != nil {
		return db.explain("looking for prepared transactions", err)
	}
	if names != "" {
		return fmt.Errorf("%w: database %s on %s has prepared transactions, %s: end them there first, with COMMIT PREPARED or ROLLBACK PREPARED",
			backup.ErrConflict, db.name, db.place, names)
	}
	return nil
}
