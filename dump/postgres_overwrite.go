package dump

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/caddy-backup/caddy-backup/backup"
)

// Live is the name of the database. Roles and tablespaces are never replaced, but what is missing of them is made: so all
// parts of a snapshot can go back together.
func (p *Postgres) Live(s backup.Stored) string {
	if p.meaning(s.Part).globals {
		return "roles and tablespaces"
	}
	db, err := p.database(s.Part)
	if err != nil {
		return "a database that the dsn does not tell" // Ready and Overwrite say why
	}
	return db.name
}

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
		WHEN NOT rolcreatedb THEN 'create databases: ALTER ROLE … CREATEDB'
		WHEN EXISTS (SELECT FROM pg_catalog.pg_database WHERE datname = $1 AND NOT pg_has_role(datdba, 'MEMBER'))
			THEN 'rename the database: make it its owner'
		END FROM pg_catalog.pg_roles WHERE rolname = current_user`, db.name)
	if err == nil && missing != "" {
		err = fmt.Errorf("user %s must be allowed to %s", db.conf.User, missing)
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

// unused makes sure that nobody is connected to the live one.
func (db *pgDatabase) unused(ctx context.Context, conn *pgconn.PgConn) error {
	who, err := pgValue(ctx, conn, `SELECT string_agg(DISTINCT format('%s%s%s', usename, ' (' || coalesce(nullif(application_name, ''), nullif(to_jsonb(a)->>'backend_type', 'client backend')) || ')',
			' from ' || coalesce(host(client_addr), 'this machine')), ', ')
		FROM pg_catalog.pg_stat_activity a WHERE datname = $1 AND pid <> pg_backend_pid() AND `+inTheWay, db.name)
	if err != nil {
		return db.explain("looking who uses it", err)
	}
	if who != "" {
		return fmt.Errorf("%w: database %s on %s is in use by %s: stop these first, or force the restore: they are disconnected then, "+
			"and what they write until then is lost", backup.ErrConflict, db.name, db.place, who)
	}
	return nil
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

// Overwrite restores into a new database beside the live one, and then has them change their names, in one transaction.
// So the new one holds what is in the dump and nothing else, the live one can be used meanwhile, and until that moment
// nothing happens to it, not even when we are killed. What is set for the database itself, its owner, grants and
// settings, is carried over. The live one is kept aside when it may hold what is in no dump.
func (p *Postgres) Overwrite(ctx context.Context, s backup.Stored, r io.Reader, o backup.Over, t *backup.Task) (err error) {
	db, err := p.overwritable(s)
	if err != nil {
		return err
	}
	dump, err := openDump(r)
	if err != nil {
		return err
	}
	if dump.roles != p.meaning(s.Part).globals {
		return fmt.Errorf("%w: the dump of a database and one of roles cannot take each other's place", backup.ErrInvalid)
	}
	if dump.roles {
		return p.restoreGlobals(ctx, db, dump, placeServer, t)
	}
	b, err := db.beginFrom(ctx, db.connectBeside, newBuildName(), t)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.close()) }()
	if err := b.fill(ctx, p, dump, t); err != nil {
		return db.explain("restore beside the live one", err)
	}
	there, err := b.exists(ctx, db.name)
	if err != nil {
		return err
	}
	if !there {
		err := errors.Join(b.bringBack(ctx, dump.contents, t), b.tellSubscriptions(ctx, t))
		if err != nil {
			return err
		}
		return b.rename(ctx, db.name)
	}
	if !o.Force {
		if err := db.unused(ctx, b.conn); err != nil { // somebody may have come meanwhile
			return err
		}
	}
	if err := b.carryOver(ctx, t); err != nil {
		return db.explain("carrying over what is set for it", err)
	}
	if p.leavesOut() {
		t.Log.Warn("the source leaves out schemas, tables or rows, which no snapshot holds, so the old database stays")
		o.Aside = true
	}
	return b.replace(ctx, o, t)
}

// leavesOut reports whether there may be something in the live database that is in no dump.
func (p *Postgres) leavesOut() bool {
	return len(p.Schemas)+len(p.Tables)+len(p.ExcludeSchemas)+len(p.ExcludeTables)+len(p.ExcludeTableData) > 0
}

// replace has the live database and the new one change their names. Once begun, that is not cancelled.
func (b *building) replace(ctx context.Context, o backup.Over, t *backup.Task) error {
	if err := context.Cause(ctx); err != nil {
		return err
	}
	live, old := b.db.name, newBuildName() // a later restore drops it, should we be killed before we do
	if o.Aside {
		old = asideName(live, time.Now())
	}
	bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
	defer cancel()
	ended := func() {}
	if o.Force {
		ended = b.disconnect(bounded, live, t)
	}
	err := b.conn.Exec(bounded, "BEGIN; ALTER DATABASE "+quoteName(live)+" RENAME TO "+quoteName(old)+
		"; ALTER DATABASE "+quoteName(b.name)+" RENAME TO "+quoteName(live)+"; COMMIT").Close()
	ended()
	if err != nil {
		if err = b.replaced(old, err); err != nil {
			return err
		}
	}
	b.made = false
	b.retire(bounded, old, o.Aside, t)
	if o.Aside {
		t.Log.Warn(fmt.Sprintf("the old database is kept as %s; drop it when nobody misses it", old))
	} else if err := b.db.drop(b.maintenance, old); err != nil {
		t.Log.Warn("the live database was replaced, but the old one is still there", "error", err)
	}
	return nil
}

// replaced finds out what became of a change of names that ended in an error, which may be that of a connection that
// broke behind the commit.
func (b *building) replaced(old string, err error) error {
	var pg *pgconn.PgError
	if errors.As(err, &pg) && pg.Code == "55006" { // object_in_use
		return fmt.Errorf("%w: database %s on %s is in use: %s", backup.ErrConflict, b.db.name, b.db.place, pg.Detail)
	}
	if errors.As(err, &pg) {
		return b.db.explain("replacing", err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	conn, _, lookErr := b.db.connectAny(ctx)
	if lookErr != nil {
		b.made = false // it may be the live one
		return fmt.Errorf("%w: the connection broke while databases %s and %s changed names, and nobody knows whether they did: "+
			"when there is a database %s on %s, they did (%w)", backup.ErrIncomplete, b.db.name, b.name, old, b.db.place, err)
	}
	defer closePg(conn)
	found, lookErr := pgValue(ctx, conn, "SELECT 1 FROM pg_database WHERE datname = $1", old)
	if lookErr == nil && found != "" {
		return nil
	}
	return errors.Join(b.db.explain("replacing", err), lookErr)
}

// disconnect ends everybody's session in a database, again and again until the returned func is called. While a database
// is being renamed nobody new gets in, but that waits for those who are there.
func (b *building) disconnect(ctx context.Context, name string, t *backup.Task) (end func()) {
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		conn, err := b.db.connect(ctx, b.maintenance)
		if err != nil {
			if ctx.Err() == nil { // else nobody is in the way any more
				t.Log.Warn("cannot disconnect those who use the database", "error", err)
			}
			return
		}
		defer closePg(conn)
		for ctx.Err() == nil {
			_, err := pgValue(ctx, conn, "SELECT count(pg_terminate_backend(pid)) FROM pg_catalog.pg_stat_activity a WHERE datname = $1 AND "+inTheWay, name)
			if err != nil && ctx.Err() == nil {
				t.Log.Warn("cannot disconnect those who use the database", "error", err)
				return
			}
			select {
			case <-ctx.Done():
			case <-time.After(100 * time.Millisecond):
			}
		}
	}()
	return func() { cancel(); <-done }
}

// asideName is the name under which an old database is kept.
func asideName(live string, now time.Time) string {
	suffix := now.UTC().Format("_before_restore_20060102t150405z")
	return strings.ToValidUTF8(live[:min(len(live), maxNameBytes-len(suffix))], "") + suffix
}

var _ backup.Overwriter = (*Postgres)(nil)
