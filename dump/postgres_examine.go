package dump

import (
	"context"
	"fmt"
	"os/exec"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/caddy-backup/caddy-backup/backup"
)

// Examine connects to the databases, looks for programs that are new enough for their server, whether our user may read
// all tables and roles, and whether dumps could be tried out on the server.
func (p *Postgres) Examine(ctx context.Context, _ *backup.Task) []backup.Diagnosis {
	db, err := newPgDatabase(p.dsn)
	if err != nil {
		return failing(err)
	}
	databases := []string{db.name}
	if p.AllDatabases {
		if databases, err = p.databases(ctx); err != nil {
			return failing(err)
		}
	}
	list := p.examineLeftOut(ctx, db)
	for i, name := range databases {
		of := *db
		of.name = name
		conn, err := of.connect(ctx, name)
		if err != nil {
			list = append(list, failing(err)...)
			continue
		}
		if i == 0 {
			list = append(list, p.examineServer(ctx, &of, conn)...)
		}
		list = append(list, of.examineTables(ctx, conn)...)
		closePg(conn)
	}
	return list
}

// examineLeftOut names databases that no dump of all can have in it.
func (p *Postgres) examineLeftOut(ctx context.Context, db *pgDatabase) (list []backup.Diagnosis) {
	if !p.AllDatabases {
		return nil
	}
	conn, _, err := db.connectAny(ctx)
	if err != nil {
		return nil // which is told of each database
	}
	defer closePg(conn)
	for _, c := range []struct{ which, text string }{
		{halfDropped, "since their removal was interrupted and nobody can connect to them: %s; DROP DATABASE ends it"},
		{"NOT datallowconn AND NOT " + serversOwn + " AND NOT " + halfDropped, "since they take no connections: %s; " +
			"ALTER DATABASE … ALLOW_CONNECTIONS true, or exclude_databases if that is meant"},
	} {
		names, err := pgColumn(ctx, conn, "SELECT datname FROM pg_catalog.pg_database WHERE "+c.which+" ORDER BY 1")
		names = slices.DeleteFunc(names, func(name string) bool { return ours(name) || p.excluded(name) })
		if err == nil && len(names) > 0 {
			list = append(list, diagnosis(backup.LevelWarning, "not dumped, "+c.text, summed(names)))
		}
	}
	return list
}

// examineServer looks at what is the same for all databases.
func (p *Postgres) examineServer(ctx context.Context, db *pgDatabase, conn *pgconn.PgConn) []backup.Diagnosis {
	server, err := parsePgVersion(conn.ParameterStatus("server_version"))
	if err != nil {
		return failing(err)
	}
	list := []backup.Diagnosis{diagnosis(backup.LevelOK, "PostgreSQL %s lets user %s into database %s on %s", server.text, db.conf.User, db.name, db.place)}
	now, err := pgValue(ctx, conn, "SELECT extract(epoch FROM clock_timestamp())")
	list = append(list, serverClock("PostgreSQL on "+db.place, now, err)...)
	tools, err := p.tools(ctx, server)
	if err != nil {
		return append(list, failing(err)...)
	}
	list = append(list, diagnosis(backup.LevelOK, "pg_dump %s and pg_restore are there, %s", tools.version.text, tools.dump))
	if p.withGlobals() {
		list = append(list, examineGlobals(tools, conn, db)...)
	}
	if p.Format == formatPlain {
		if _, err := p.psql(ctx); err != nil {
			list = append(list, diagnosis(backup.LevelWarning, "scripts can be dumped, but not restored: %v", err))
		}
	}
	return append(list, db.examineScratch(ctx, conn)...)
}

func examineGlobals(tools pgTools, conn *pgconn.PgConn, db *pgDatabase) []backup.Diagnosis {
	path := tools.beside("pg_dumpall")
	if _, err := exec.LookPath(path); err != nil {
		return failing(notFound(path, err))
	}
	if conn.ParameterStatus("is_superuser") != "on" {
		return []backup.Diagnosis{diagnosis(backup.LevelWarning, "user %s is no superuser: roles are saved without their passwords", db.conf.User)}
	}
	return []backup.Diagnosis{diagnosis(backup.LevelOK, "user %s may read the roles with their passwords", db.conf.User)}
}

// examineTables looks at one database.
func (db *pgDatabase) examineTables(ctx context.Context, conn *pgconn.PgConn) []backup.Diagnosis {
	closed, err := unreadableTables(ctx, conn)
	switch {
	case err != nil:
		return []backup.Diagnosis{diagnosis(backup.LevelError, "database %s on %s: %v", db.name, db.place, err)}
	case len(closed) > 0:
		return []backup.Diagnosis{diagnosis(backup.LevelError, "user %s may not read all of database %s, and pg_dump would fail: %s; %s; with row level "+
			"security also %s, and for large objects GRANT SELECT ON LARGE OBJECT …", db.conf.User, db.name, summed(closed), db.spell(letRead),
			db.spell("ALTER ROLE … BYPASSRLS"))}
	}
	return []backup.Diagnosis{diagnosis(backup.LevelOK, "user %s may read all tables of database %s", db.conf.User, db.name)}
}

// examineScratch says what keeps a dump from being tried out, or restored to a new database, as far as that can be known:
// the size of what is dumped stands for that of the dump.
func (db *pgDatabase) examineScratch(ctx context.Context, conn *pgconn.PgConn) []backup.Diagnosis {
	if err := db.primary(ctx, conn); err != nil {
		return []backup.Diagnosis{diagnosis(backup.LevelNote, "%v", err)}
	}
	allowed, err := pgValue(ctx, conn, "SELECT 1 FROM pg_catalog.pg_roles WHERE rolname = current_user AND (rolsuper OR rolcreatedb)")
	if err != nil {
		return failing(fmt.Errorf("database %s on %s: %w", db.name, db.place, err))
	}
	if allowed == "" {
		return []backup.Diagnosis{diagnosis(backup.LevelNote, "user %s may not create databases: for drills and restores, %s", db.conf.User, db.spell(letCreate))}
	}
	var size int64
	if text, err := pgValue(ctx, conn, "SELECT pg_database_size(current_database())"); err == nil {
		fmt.Sscan(text, &size)
	}
	if err := db.space(ctx, conn, size); err != nil {
		return []backup.Diagnosis{diagnosis(backup.LevelWarning, "no space for a drill or a restore beside the live database: %v", err)}
	}
	return nil
}

// unreadable finds what pg_dump would read and our user may not: tables, sequences and large objects without the right, and tables
// of which row level security hides rows. What belongs to extensions is not dumped.
const unreadable = `
select format('%I.%I', n.nspname, c.relname)
from pg_catalog.pg_class c
join pg_catalog.pg_namespace n on n.oid = c.relnamespace
where c.relkind in ('r', 'p', 'S')
  and n.nspname <> 'information_schema' and n.nspname not like 'pg\_%'
  and not exists (select from pg_catalog.pg_depend d where d.classid = 'pg_catalog.pg_class'::regclass
    and d.objid = c.oid and d.deptype = 'e')
  and (not has_schema_privilege(n.oid, 'usage')
    or case when c.relkind = 'S' then not has_sequence_privilege(c.oid, 'select')
       else not has_table_privilege(c.oid, 'select') or row_security_active(c.oid) end)
union all
select 'large object ' || oid from pg_catalog.pg_largeobject_metadata
where not pg_has_role(lomowner, 'usage') and current_setting('lo_compat_privileges') = 'off' and not exists (
  select from aclexplode(lomacl) a where a.privilege_type = 'SELECT' and (a.grantee = 0 or pg_has_role(a.grantee, 'usage')))
order by 1 limit 1000`

func unreadableTables(ctx context.Context, conn *pgconn.PgConn) (names []string, err error) {
	results, err := conn.Exec(ctx, unreadable).ReadAll()
	if err != nil {
		return nil, fmt.Errorf("cannot look which tables may be read: %w", err)
	}
	for _, r := range results {
		for _, row := range r.Rows {
			names = append(names, string(row[0]))
		}
	}
	return names, nil
}

// summed names the first few.
func summed(names []string) string {
	if few := 3; len(names) > few {
		return fmt.Sprintf("%s and %d more", strings.Join(names[:few], ", "), len(names)-few)
	}
	return strings.Join(names, ", ")
}
