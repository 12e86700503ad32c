package dump

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/caddy-backup/caddy-backup/backup"
)

// connectTimeout bounds the questions that are asked before a dump or a restore.
const connectTimeout = 15 * time.Second

// pgDatabase is a database that we were told of.
type pgDatabase struct {
	name  string
	place string            // the server, for messages: "db.example.com:5432", "/run/postgresql"
	words map[string]string // for programs: without anything secret
	conf  *pgconn.Config    // for our own connections
}

// newPgDatabase works out everything that a DSN leaves to defaults, so that our own connection and the programs mean the
// same. What is dumped, from where and as whom, is not up to the environment.
func newPgDatabase(dsn string) (*pgDatabase, error) {
	words, err := parseDSN(dsn)
	if err != nil {
		return nil, err
	}
	service, serviceFile, err := withService(words)
	if err != nil {
		return nil, err
	}
	password := words["password"]
	delete(words, "password")
	ours := maps.Clone(words)
	maps.DeleteFunc(ours, func(word, _ string) bool { return !slices.Contains(sharedWords, word) })
	if ours["host"] == "" && words["hostaddr"] != "" {
		ours["host"] = words["hostaddr"]
	}
	if service != "" { // it would look for that itself, when the environment names one, but not everywhere
		ours["service"], ours["servicefile"] = service, serviceFile
	}
	ours["user"] = cmp.Or(ours["user"], userName())
	for word, value := range chosenWords { // else the environment would have its say
		ours[word] = cmp.Or(ours[word], value)
	}
	conf, err := pgconn.ParseConfig(joinKeywords(ours)) // without the password: its errors quote
	if err != nil {
		return nil, fmt.Errorf("dsn: %w", err)
	}
	if password != "" {
		conf.Password = password
	}
	maps.DeleteFunc(conf.RuntimeParams, func(word, _ string) bool { return ours[word] == "" })
	if conf.Database == "" {
		conf.Database = conf.User // as libpq does
	}
	delete(words, "passfile") // what was in it, conf has
	maps.Copy(words, patience(words))
	for word, value := range map[string]string{"host": conf.Host, "port": strconv.Itoa(int(conf.Port)), "user": conf.User} {
		if words[word] == "" {
			words[word] = value
		}
	}
	place := conf.Host
	if !strings.HasPrefix(place, "/") {
		place = net.JoinHostPort(conf.Host, words["port"])
	}
	return &pgDatabase{name: conf.Database, place: place, words: words, conf: conf}, nil
}

// conninfo is a connection string for programs, without the password.
func (db *pgDatabase) conninfo(name string) string {
	words := maps.Clone(db.words)
	words["dbname"] = name
	return joinKeywords(words)
}

// chosenWords say what is dumped, from where and as whom: the DSN does, or these; "" is what libpq has without an
// environment.
var chosenWords = map[string]string{"host": "", "port": "", "dbname": "", "options": "", "application_name": "caddy-backup",
	"target_session_attrs": "any"}

// patience is how long the programs wait for a server that does not answer any more: for ever would be theirs.
func patience(words map[string]string) map[string]string {
	more := map[string]string{"connect_timeout": "30", "keepalives_idle": "30", "keepalives_interval": "15", "keepalives_count": "6"}
	maps.DeleteFunc(more, func(word, _ string) bool { return words[word] != "" })
	return more
}

// safeVariables begin the names of libpq's environment variables that say how a connection is secured, and no secret.
var safeVariables = []string{"PGSSL", "PGGSS", "PGREQUIRE", "PGCHANNELBINDING", "PGKRBSRVNAME"}

// program is one of PostgreSQL's. Of libpq's environment variables it gets those that are safe.
func (db *pgDatabase) program(path string, password *os.File, args ...string) program {
	env := environ("PGPASSFILE=/dev/fd/3")
	for _, kv := range os.Environ() {
		if strings.HasPrefix(kv, "PGSSLPASSWORD=") {
			continue
		}
		if slices.ContainsFunc(safeVariables, func(name string) bool { return strings.HasPrefix(kv, name) }) {
			env = append(env, kv)
		}
	}
	return program{path: path, args: args, env: env, files: []*os.File{password}}
}

// passwordFile gives a file in the form of .pgpass, that has no name any more when it is returned: nothing is left of
// it even when we are killed. Programs read it as /dev/fd/3; it must be their first extra file.
func (db *pgDatabase) passwordFile() (*os.File, error) {
	if strings.ContainsAny(db.conf.Password, "\n\x00") {
		return nil, errors.New("dsn: the password has a line break in it, which no password file can hold")
	}
	line := ""
	if db.conf.Password != "" {
		line = "*:*:*:*:" + strings.NewReplacer(`\`, `\\`, `:`, `\:`).Replace(db.conf.Password) + "\n"
	}
	return secretFile(line)
}

// ownSession are settings of our own connections. Whoever owns the database could have our queries call functions and operators
// of his own, with our rights, by its search_path: so there is none. A backslash in quotes is one, as what we read of dumps takes
// for granted. And what is set for a role against forgotten sessions and careless statements is not meant for us: a restore that
// takes hours has a connection that is idle meanwhile, and the rows of a large table take their time to be counted.
const ownSession = `SELECT pg_catalog.set_config('search_path', '', false), pg_catalog.set_config('standard_conforming_strings', 'on', false),
		pg_catalog.set_config('default_transaction_read_only', 'off', false);
	SELECT set_config(name, '0', false) FROM pg_catalog.pg_settings WHERE name IN ('statement_timeout', 'lock_timeout', 'transaction_timeout',
		'idle_session_timeout', 'idle_in_transaction_session_timeout')`

// connect opens a connection to a database of the server, with settings of our own.
func (db *pgDatabase) connect(ctx context.Context, name string) (*pgconn.PgConn, error) {
	limit, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	conf := db.conf.Copy()
	conf.Database = name
	conn, err := pgconn.ConnectConfig(limit, conf)
	if err == nil {
		if err = conn.Exec(limit, ownSession).Close(); err != nil {
			closePg(conn)
		}
	}
	if err != nil {
		if cause := overdue(ctx); cause != nil {
			return nil, cause
		}
		return nil, db.connectError(name, err)
	}
	return conn, nil
}

// overdue is the reason for which ctx has ended. A connection has the same deadline, and may notice first that it has passed.
func overdue(ctx context.Context) error {
	if at, ok := ctx.Deadline(); ok && !time.Now().Before(at) {
		<-ctx.Done()
	}
	return context.Cause(ctx)
}

// pgLook is what is asked of a server before a dump.
type pgLook struct {
	server     pgVersion
	extensions []string // keys of their tables
	notes      []string // about what cannot be in the dump
}

// look asks for these, which also shows that the database can be reached, and sweeps the server: not everybody restores again.
func (db *pgDatabase) look(ctx context.Context, t *backup.Task) (l pgLook, err error) {
	conn, err := db.connect(ctx, db.name)
	if err != nil {
		return l, err
	}
	defer closePg(conn)
	l.server, err = parsePgVersion(conn.ParameterStatus("server_version"))
	if err == nil {
		l.extensions, err = extensionTables(ctx, conn)
	}
	if err != nil {
		return l, err
	}
	without, err := pgColumn(ctx, conn, unloggedTables)
	if len(without) > 0 {
		l.notes = []string{"the server is a standby, which has no rows of unlogged tables, so they are not in the dump: " + summed(without)}
	}
	(&building{db: db, conn: conn, maintenance: db.name}).sweep(ctx, t)
	return l, err
}

// unloggedTables are those of which a standby has no rows: pg_dump leaves them out there without a word.
const unloggedTables = `SELECT format('%I.%I', nspname, relname) FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = relnamespace
	WHERE relkind = 'r' AND relpersistence = 'u' AND pg_is_in_recovery() ORDER BY 1`

// closePg says good-bye to the server, which must not take long.
func closePg(conn *pgconn.PgConn) {
	ctx, cancel := context.WithTimeout(context.Background(), defaultGrace)
	defer cancel()
	conn.Close(ctx)
}

// newServer is the way out for who lost all of the old one.
const newServer = "on a new server make the roles first: CREATE ROLE, or restore the part with the globals --into server"

// connectError names the thing, the place and the way out. It has nothing of the DSN in it that is secret.
func (db *pgDatabase) connectError(name string, err error) error {
	user := db.conf.User
	if pg := (*pgconn.PgError)(nil); errors.As(err, &pg) {
		switch pg.Code {
		case "28P01": // invalid_password
			return fmt.Errorf("PostgreSQL at %s refuses the password of user %s; correct the dsn, or set the password with "+
				"ALTER ROLE; "+newServer+" (SQLSTATE %s)", db.place, user, pg.Code)
		case "28000": // invalid_authorization_specification
			return fmt.Errorf("PostgreSQL at %s does not let user %s in: %s; correct the dsn, or allow it in pg_hba.conf; "+
				newServer+" (SQLSTATE %s)",
				db.place, user, pg.Message, pg.Code)
		case "3D000": // invalid_catalog_name
			return fmt.Errorf("database %s %w on PostgreSQL at %s; correct the dsn, or, if it was lost, restore it as a new one (--into %s)", name, backup.ErrAbsent, db.place, name)
		}
		return fmt.Errorf("PostgreSQL at %s does not take a connection to database %s: %s (SQLSTATE %s)", db.place, name, pg.Message, pg.Code)
	}
	reason, way := "", "look whether it is running, and whether the dsn is right"
	var dns *net.DNSError
	switch {
	case errors.As(err, &dns):
		reason, way = "the name of the host is unknown", "correct the dsn, or the name service"
	case errors.Is(err, syscall.ECONNREFUSED):
		reason = "nobody listens there"
	case errors.Is(err, fs.ErrNotExist):
		reason = "there is no socket"
	case errors.Is(err, fs.ErrPermission):
		reason, way = "permission denied for user "+userName(), "let that user read the socket or key file"
	case errors.Is(err, context.DeadlineExceeded):
		reason = "no answer in " + connectTimeout.String()
	default:
		var inner *pgconn.ConnectError
		if errors.As(err, &inner) && inner.Unwrap() != nil {
			err = inner.Unwrap()
		}
		reason = strings.Join(strings.Fields(err.Error()), " ")
	}
	return fmt.Errorf("cannot reach PostgreSQL at %s: %s; %s", db.place, reason, way)
}

const wayOfOwners = "restore as a superuser, or dump in format custom, of which everybody can restore all as their own"

// Ways out in which spell puts the user.
const (
	letRead   = "let a superuser run: GRANT pg_read_all_data TO …, or dump as the owner"
	letCreate = "let a superuser run: ALTER ROLE … CREATEDB"
)

// spell puts the user into a way out in place of "…", so that it can be typed as it is.
func (db *pgDatabase) spell(way string) string {
	user := quoteName(db.conf.User)
	return strings.NewReplacer("ROLE …", "ROLE "+user, "TO …", "TO "+user).Replace(way)
}

// hints are ways out of what PostgreSQL's programs say.
var hints = []struct{ words, way string }{
	{"permission denied for large object", "dump as the owner or a superuser, or GRANT SELECT ON LARGE OBJECT …: pg_read_all_data does not reach them"},
	{"permission denied for", letRead},
	{"permission denied to create database", letCreate},
	{"must be member of role", wayOfOwners},
	{"must be able to SET ROLE", wayOfOwners},
	{`role "`, "create the roles first: the part with the globals brings them back, or pg_dumpall --globals-only on the old server shows them"},
	{"unsupported version", "the dump was made by a newer pg_dump: install a postgresql-client as new"},
	{"row-level security policy", "let the user see all rows: ALTER ROLE … BYPASSRLS, or dump as the owner"},
	{`parameter "default_tablespace"`, "create the tablespaces first: the part with the globals brings them back"},
	{`" is not available`, "install the extension's package on the server's machine"},
	{"conflict with recovery", "dump the primary server, or set hot_standby_feedback or a longer max_standby_streaming_delay on the standby"},
	{"No space left on device", "make room on the server's disk"},
	{"must be superuser", wayOfOwners},
	{"permission denied to create extension", "restore as a superuser, or create the database and its extensions as one"},
	{"LOCK TABLE", "somebody holds a lock on the table, see pg_locks: wait for them, or set a longer lock_timeout"},
	{"no matching", "correct `tables` or `schemas`: each pattern must match something"},
	{"out of shared memory", "raise max_locks_per_transaction on the server"},
	{"invalid locale name", "install the locale on the server's machine and restart the server"},
	{"invalid LC_COLLATE locale name", "install the locale on the server's machine and restart the server"},
}

// explain names the database, and the way out where we know one: by what the error says, or by what the program said.
func (db *pgDatabase) explain(what string, err error) error {
	text := err.Error() + "\n" + backup.OutputOf(err)
	for _, h := range hints {
		if strings.Contains(text, h.words) {
			if way := db.spell(h.way); !strings.Contains(text, way) { // else it was told further in
				err = fmt.Errorf("%w; %s", err, way)
			}
			break
		}
	}
	return fmt.Errorf("%s of database %s on %s: %w", what, db.name, db.place, err)
}
