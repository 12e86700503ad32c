package dump

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/caddy-backup/caddy-backup/backup"
)

// buildPrefix begins the name of a database that is not done. It gets the name that it is for when it is whole, so
// nobody ever finds half of one, even when we are killed.
const buildPrefix = "caddy_backup_restore_"

func newBuildName() string {
	random := make([]byte, 8)
	rand.Read(random) // never fails
	return buildPrefix + hex.EncodeToString(random)
}

// ours reports whether a database is one that we make for a while.
func ours(name string) bool {
	return strings.HasPrefix(name, buildPrefix) || strings.HasPrefix(name, backup.ScratchPrefix)
}

// building is a database into which a dump is restored.
type building struct {
	db          *pgDatabase    // whose dump it is
	conn        *pgconn.PgConn // to a database in which nothing changes; it holds the name's lock
	maintenance string         // that database
	server      pgVersion
	name        string
	made        bool // and not renamed
	scratch     bool // it never gets another name
}

// begin connects for a building, and removes those that killed restores left behind. Nothing is made yet.
func (db *pgDatabase) begin(ctx context.Context, name string, t *backup.Task) (*building, error) {
	return db.beginFrom(ctx, db.connectAny, name, t)
}

func (db *pgDatabase) beginFrom(ctx context.Context, connect func(context.Context) (*pgconn.PgConn, string, error), name string, t *backup.Task) (*building, error) {
	conn, maintenance, err := connect(ctx)
	if err != nil {
		return nil, err
	}
	b := &building{db: db, conn: conn, maintenance: maintenance, name: name}
	if b.server, err = parsePgVersion(conn.ParameterStatus("server_version")); err == nil {
		err = errors.Join(db.primary(ctx, conn), b.hold(ctx))
	}
	if err != nil {
		b.close()
		return nil, err
	}
	b.sweep(ctx, t)
	return b, nil
}

// hold takes the lock by which others know that the building is not left behind. It goes with the connection.
func (b *building) hold(ctx context.Context) error {
	var got string
	err := awaitParting(func() (there bool, err error) {
		got, err = pgValue(ctx, b.conn, "SELECT pg_try_advisory_lock(hashtext($1)) OR NULL", b.name)
		return got == "", err
	})
	if err == nil && got == "" {
		err = fmt.Errorf("%w: database %s is being made by somebody else", backup.ErrConflict, b.name)
	}
	return err
}

// sweep drops buildings whose restore was killed: nobody is connected to them, and nobody holds their locks, from whichever database
// of the server: to take such a lock is no question to those who hold it from another one.
func (b *building) sweep(ctx context.Context, t *backup.Task) {
	left, err := pgColumn(ctx, b.conn, `SELECT datname FROM pg_catalog.pg_database d WHERE datname ~ '^`+buildPrefix+`[0-9a-f]{16}$'
		AND NOT pg_is_in_recovery() AND NOT EXISTS (SELECT FROM pg_catalog.pg_stat_activity a WHERE a.datid = d.oid AND `+inTheWay+`)
		AND NOT EXISTS (SELECT FROM pg_catalog.pg_locks l WHERE locktype = 'advisory' AND objsubid = 1
			AND objid::bigint = hashtext(datname)::bigint & 4294967295)
		AND (pg_has_role(datdba, 'MEMBER') OR (SELECT rolsuper FROM pg_catalog.pg_roles WHERE rolname = current_user))`)
	if err != nil {
		t.Log.Warn("cannot look for what killed restores left behind", "error", err)
		return
	}
	for _, name := range left {
		if got, err := pgValue(ctx, b.conn, "SELECT pg_try_advisory_lock(hashtext($1)) OR NULL", name); err != nil || got == "" || name == b.name {
			continue
		}
		if err := b.db.drop(b.maintenance, name); err != nil {
			t.Log.Warn("a killed restore left something behind", "error", err)
		} else {
			t.Log.Info(fmt.Sprintf("dropped database %s, which a killed restore had left behind", name))
		}
		pgValue(ctx, b.conn, "SELECT pg_advisory_unlock(hashtext($1))::text", name)
	}
}

// close gives the connection and the lock up. A building that has not got its name is dropped; the error says when it
// could not be.
func (b *building) close() error {
	closePg(b.conn)
	if !b.made {
		return nil
	}
	return b.db.drop(b.maintenance, b.name)
}

// fill makes the database and restores the dump into it. Not in one transaction: nobody sees the database before it is
// whole, and one transaction can hold no more locks than the server has room for, which ten thousand large objects, or
// tables, exceed.
func (b *building) fill(ctx context.Context, p *Postgres, dump *pgStream, t *backup.Task) error {
	run, in, err := b.filler(ctx, p, dump)
	if err != nil {
		return err
	}
	if err := b.create(ctx, dump, t); err != nil {
		return err
	}
	b.made = true
	password, err := b.db.passwordFile()
	if err != nil {
		return err
	}
	defer password.Close()
	filler, err := b.filling(ctx)
	if err != nil {
		return err
	}
	program := b.db.program(run[0], password, append(run[1:], "--dbname="+filler.conninfo(b.name))...)
	// Whether each of its many statements is on disk matters to nobody before the database has its name.
	if err := b.set(ctx, "SET synchronous_commit = off"); err != nil {
		return err
	}
	if _, err := program.run(ctx, t, in, io.Discard); err != nil {
		return err
	}
	if err := b.set(ctx, "RESET synchronous_commit"); err != nil || b.scratch {
		return err
	}
	b.vacate(ctx, t)
	return b.open(ctx)
}

// vacate ends the sessions in the building: no database gets another name while somebody is in it, and a pooler keeps the one that we
// had for others.
func (b *building) vacate(ctx context.Context, t *backup.Task) {
	_, err := pgValue(ctx, b.conn, "SELECT count(pg_terminate_backend(pid)) FROM pg_catalog.pg_stat_activity a WHERE datname = $1 AND "+inTheWay, b.name)
	if err != nil {
		t.Log.Warn("somebody is in the database that is being restored", "error", err)
	}
}

// filling is how a program connects that fills the building: without what the server or our role have set against sessions that
// are idle or write. Options are added where they are needed only, since some poolers refuse them.
func (b *building) filling(ctx context.Context) (*pgDatabase, error) {
	options, err := pgValue(ctx, b.conn, `SELECT string_agg(format('-c %s=%s', name, wanted), ' ') FROM pg_catalog.pg_settings JOIN
		(VALUES ('default_transaction_read_only', 'off'), ('idle_session_timeout', '0')) AS own (setting_name, wanted) ON name = setting_name
		WHERE reset_val <> wanted`)
	if err != nil || options == "" {
		return b.db, err
	}
	db := *b.db
	db.words = maps.Clone(db.words)
	db.words["options"] = strings.TrimSpace(db.words["options"] + " " + options)
	return &db, nil
}

// open lets others than superusers in.
func (b *building) open(ctx context.Context) error { return b.set(ctx, "CONNECTION LIMIT = -1") }

// set changes a setting of the database for connections to come.
func (b *building) set(ctx context.Context, change string) error {
	return b.conn.Exec(ctx, "ALTER DATABASE "+quoteName(b.name)+" "+change).Close()
}

// filler chooses the program for a dump, and its arguments but for the place.
func (b *building) filler(ctx context.Context, p *Postgres, dump *pgStream) (run []string, in io.Reader, err error) {
	if dump.script != "" {
		psql, err := p.psql(ctx)
		return append([]string{psql}, psqlArgs...), restricted(dump.text()), err
	}
	tools, err := p.restorer(ctx, b.server, dump.head)
	if err != nil {
		return nil, nil, err
	}
	run = []string{tools.restore, "--exit-on-error", "--no-password"}
	if b.conn.ParameterStatus("is_superuser") != "on" {
		run = append(run, "--no-owner")
	}
	if b.scratch {
		run = append(run, "--no-subscriptions")
	}
	return run, dump.archive(), nil
}

// create makes the database, with the properties of the dumped one: those in the archive, else those of the live one,
// else the server's defaults. It belongs to the owner of the live one, or of the dumped one, when we may give it away. While a
// superuser restores, nobody else gets in: an owner could give a table of his a trigger before its rows come, and the superuser
// would run it.
// Once begun, making it is not cancelled: nobody would know whether it is there.
func (b *building) create(ctx context.Context, dump *pgStream, t *backup.Task) error {
	properties := databaseProperties(dump.contents)
	live, err := b.live(ctx)
	if err == nil && live.owner == "" {
		live.owner, err = b.ownerAs(ctx, dump.contents.owner())
	}
	if err != nil {
		return b.db.explain("making a database for a restore", err)
	}
	if properties == "" {
		properties = live.properties
	}
	if live.owner == "" {
		t.Log.Info(fmt.Sprintf("the restored database belongs to user %s; change that with ALTER DATABASE … OWNER TO", b.db.conf.User))
	}
	sql := "CREATE DATABASE " + quoteName(b.name) + " TEMPLATE template0" + properties + live.tablespace + live.owner
	if b.conn.ParameterStatus("is_superuser") == "on" {
		sql += " CONNECTION LIMIT 0"
	}
	if err := context.Cause(ctx); err != nil {
		return err
	}
	bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
	defer cancel()
	if err := b.conn.Exec(bounded, sql).Close(); err != nil {
		return b.db.explain("making a database for a restore", err)
	}
	return nil
}

// liveOne is how a database that is there was made, in words of CREATE DATABASE; all "" when there is none.
type liveOne struct{ properties, tablespace, owner string }

// live asks for that of the database whose dump it is. What came with later versions is read by name, since older ones
// do not have it.
func (b *building) live(ctx context.Context) (l liveOne, err error) {
	result := b.conn.ExecParams(ctx, `SELECT format(' ENCODING %L LC_COLLATE %L LC_CTYPE %L', pg_encoding_to_char(encoding), datcollate, datctype) ||
			CASE to_jsonb(d)->>'datlocprovider'
			WHEN 'i' THEN format(' LOCALE_PROVIDER icu ICU_LOCALE %L', coalesce(to_jsonb(d)->>'daticulocale', to_jsonb(d)->>'datlocale'))
			WHEN 'b' THEN format(' LOCALE_PROVIDER builtin BUILTIN_LOCALE %L', to_jsonb(d)->>'datlocale')
			WHEN 'c' THEN ' LOCALE_PROVIDER libc'
			ELSE '' END,
		CASE spcname WHEN 'pg_default' THEN '' ELSE ' TABLESPACE ' || quote_ident(spcname) END,
		CASE WHEN pg_has_role(datdba, 'MEMBER') THEN ' OWNER ' || quote_ident(pg_get_userbyid(datdba)) ELSE '' END
		FROM pg_catalog.pg_database d JOIN pg_catalog.pg_tablespace s ON s.oid = dattablespace WHERE datname = $1`,
		[][]byte{[]byte(b.db.name)}, nil, nil, nil).Read()
	if result.Err == nil && len(result.Rows) == 1 {
		row := result.Rows[0]
		l = liveOne{properties: string(row[0]), tablespace: string(row[1]), owner: string(row[2])}
	}
	return l, result.Err
}

// ownerAs is the owner of the dumped database in words of CREATE DATABASE, "" when there is no such role, or we may not
// give the database to it.
func (b *building) ownerAs(ctx context.Context, role string) (string, error) {
	return pgValue(ctx, b.conn, `SELECT ' OWNER ' || quote_ident(rolname) FROM pg_catalog.pg_roles
		WHERE rolname = $1 AND pg_has_role(oid, 'MEMBER')`, role)
}

// exists reports whether there is a database of a name.
func (b *building) exists(ctx context.Context, name string) (bool, error) {
	found, err := pgValue(ctx, b.conn, "SELECT 1 FROM pg_database WHERE datname = $1", name)
	return found != "", err
}

// rename gives the database the name that it is for. Once begun, that is not cancelled.
func (b *building) rename(ctx context.Context, place string) error {
	if err := context.Cause(ctx); err != nil {
		return err
	}
	bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
	defer cancel()
	err := b.conn.Exec(bounded, "ALTER DATABASE "+quoteName(b.name)+" RENAME TO "+quoteName(place)).Close()
	if pg := (*pgconn.PgError)(nil); errors.As(err, &pg) && pg.Code == "42P04" { // duplicate_database: made meanwhile
		return b.db.conflict(place)
	}
	if err != nil {
		return b.db.explain("naming the restored database "+place, err)
	}
	b.made = false
	return nil
}

func (db *pgDatabase) conflict(place string) error {
	return fmt.Errorf("%w: database %s exists on %s; restore to another name, or rename or drop it first",
		backup.ErrConflict, place, db.place)
}
