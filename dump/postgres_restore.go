package dump

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"regexp"
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

// Restore creates a new database, with the properties of the dumped one, and restores the dump into it in one
// transaction. After any failure the new database is dropped again.
//
// A superuser restores owners too, so the roles must exist. For everyone else all objects belong to the user of the
// DSN; privileges are restored in both cases. The new database belongs to the owner of the one that the source dumps,
// when that is still there and we may give it away; else to the user of the DSN.
func (p *Postgres) Restore(ctx context.Context, _ backup.Part, r io.Reader, place string, t *backup.Task) error {
	if place == "" || len(place) > maxNameBytes || strings.Contains(place, "\x00") {
		return fmt.Errorf("%w: '%s' cannot be the name of a database: 1 to %d bytes", backup.ErrInvalid, place, maxNameBytes)
	}
	db, err := newPgDatabase(p.dsn)
	if err != nil {
		return err
	}
	in := bufio.NewReaderSize(r, archiveHead)
	head, err := in.Peek(archiveHead)
	if err != nil && err != io.EOF {
		return err
	}
	if !bytes.HasPrefix(head, []byte(archiveMagic)) {
		return fmt.Errorf("%w: this is no archive of pg_dump in its custom format", backup.ErrInvalid)
	}
	conn, maintenance, err := db.connectAny(ctx)
	if err != nil {
		return err
	}
	defer func() { closePg(conn) }()
	args, err := p.restoreArgs(ctx, conn)
	if err != nil {
		return err
	}
	if err := db.create(ctx, conn, place, databaseProperties(head), t); err != nil {
		return err
	}
	err = db.restore(ctx, args, in, place, t)
	if err != nil {
		err = errors.Join(db.explain("restore into the new database "+place, err), db.drop(maintenance, place))
	}
	return err
}

// restoreArgs chooses the program for the server that conn is connected to, and its arguments but for the place.
func (p *Postgres) restoreArgs(ctx context.Context, conn *pgconn.PgConn) ([]string, error) {
	server, err := parsePgVersion(conn.ParameterStatus("server_version"))
	if err != nil {
		return nil, err
	}
	tools, err := p.tools(ctx, server)
	if err != nil {
		return nil, err
	}
	args := []string{tools.restore, "--exit-on-error", "--single-transaction", "--no-password"}
	if conn.ParameterStatus("is_superuser") != "on" {
		args = append(args, "--no-owner")
	}
	return args, nil
}

func (db *pgDatabase) restore(ctx context.Context, args []string, in io.Reader, place string, t *backup.Task) error {
	password, err := db.passwordFile()
	if err != nil {
		return err
	}
	defer password.Close()
	p := db.program(args[0], password, append(args[1:], "--dbname="+db.conninfo(place))...)
	_, err = p.run(ctx, t, in, io.Discard)
	return err
}

// connectAny connects to a database in which nothing will change: the server's own, else the one of the source.
func (db *pgDatabase) connectAny(ctx context.Context) (conn *pgconn.PgConn, name string, err error) {
	for _, name = range []string{"postgres", "template1", db.name} {
		if conn, err = db.connect(ctx, name); err == nil {
			return conn, name, nil
		}
		if ctx.Err() != nil {
			return nil, "", err
		}
	}
	return nil, "", err
}

// create makes the new database. Once begun, it is not cancelled: nobody would know whether it is there.
func (db *pgDatabase) create(ctx context.Context, conn *pgconn.PgConn, place, properties string, t *backup.Task) error {
	exists, err := pgValue(ctx, conn, "SELECT 1 FROM pg_database WHERE datname = $1", place)
	if err != nil {
		return db.explain("creating "+place+" for a restore", err)
	}
	conflict := fmt.Errorf("%w: database %s exists on %s; restore to another name, or rename or drop it first",
		backup.ErrConflict, place, db.place)
	if exists != "" {
		return conflict
	}
	owner, err := pgValue(ctx, conn, `SELECT quote_ident(pg_get_userbyid(datdba)) FROM pg_database
		WHERE datname = $1 AND pg_has_role(datdba, 'MEMBER')`, db.name)
	if err != nil {
		return db.explain("creating "+place+" for a restore", err)
	}
	sql := "CREATE DATABASE " + quoteName(place) + " TEMPLATE template0" + properties
	if owner != "" {
		sql += " OWNER " + owner
	} else {
		t.Log.Info(fmt.Sprintf("database %s will belong to user %s; change that with ALTER DATABASE … OWNER TO", place, db.conf.User))
	}
	if err := context.Cause(ctx); err != nil {
		return err
	}
	bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
	defer cancel()
	err = conn.Exec(bounded, sql).Close()
	if pg := (*pgconn.PgError)(nil); errors.As(err, &pg) && pg.Code == "42P04" { // duplicate_database: made meanwhile
		return conflict
	}
	if err != nil {
		return db.explain("creating "+place+" for a restore", err)
	}
	return nil
}

// drop takes the new database away, also when the run was cancelled. Its error says what is left.
func (db *pgDatabase) drop(maintenance, place string) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	conn, err := db.connect(ctx, maintenance)
	if err == nil {
		defer closePg(conn)
		sql := "DROP DATABASE IF EXISTS " + quoteName(place)
		if version, _ := parsePgVersion(conn.ParameterStatus("server_version")); version.major >= 13 {
			sql += " WITH (FORCE)"
		}
		err = conn.Exec(ctx, sql).Close()
	}
	if err != nil {
		return fmt.Errorf("the new database %s is left behind on %s, incomplete: drop it (%w)", place, db.place, err)
	}
	return nil
}

// createStatement is how pg_dump writes down the properties of a database, in the beginning of every archive. Nothing
// but these words and quoted values is taken from it.
var createStatement = regexp.MustCompile(`CREATE DATABASE (?:"(?:[^"]|"")+"|[^" ]+) WITH TEMPLATE = template0` +
	`((?: (?:ENCODING|LOCALE_PROVIDER|LOCALE|LC_COLLATE|LC_CTYPE|ICU_LOCALE|ICU_RULES|BUILTIN_LOCALE) = (?:'[^']*'|[a-z]+))+);`)

// databaseProperties finds the encoding and the locale of the dumped database in the beginning of its archive, as they
// stand in CREATE DATABASE; "" when they are not there: then the server's defaults are taken.
func databaseProperties(head []byte) string {
	m := createStatement.FindSubmatch(head)
	if m == nil {
		return ""
	}
	return string(m[1])
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
