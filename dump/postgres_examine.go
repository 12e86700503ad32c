package dump

import (
	"context"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/caddy-backup/caddy-backup/backup"
)

// Examine connects to the database, looks for programs that are new enough for its server, and whether our user may read
// all tables.
func (p *Postgres) Examine(ctx context.Context, _ *backup.Task) []backup.Diagnosis {
	db, err := newPgDatabase(p.dsn)
	if err != nil {
		return failing(err)
	}
	conn, err := db.connect(ctx, db.name)
	if err != nil {
		return failing(err)
	}
	defer closePg(conn)
	server, err := parsePgVersion(conn.ParameterStatus("server_version"))
	if err != nil {
		return failing(err)
	}
	list := []backup.Diagnosis{diagnosis(backup.LevelOK, "PostgreSQL %s lets user %s into database %s on %s", server.text, db.conf.User, db.name, db.place)}
	if tools, err := p.tools(ctx, server); err != nil {
		list = append(list, failing(err)...)
	} else {
		list = append(list, diagnosis(backup.LevelOK, "pg_dump %s and pg_restore are there, %s", tools.version.text, tools.dump))
	}
	closed, err := unreadableTables(ctx, conn)
	switch {
	case err != nil:
		list = append(list, diagnosis(backup.LevelError, "database %s on %s: %v", db.name, db.place, err))
	case len(closed) > 0:
		list = append(list, diagnosis(backup.LevelError, "user %s may not read all of database %s, and pg_dump would fail: %s; let the user read "+
			"everything: GRANT pg_read_all_data TO the user, or dump as the owner; with row level security also ALTER ROLE … BYPASSRLS",
			db.conf.User, db.name, summed(closed)))
	default:
		list = append(list, diagnosis(backup.LevelOK, "user %s may read all tables", db.conf.User))
	}
	return list
}

// unreadable finds what pg_dump would read and our user may not: tables and sequences without the right, and tables of
// which row level security hides rows. What belongs to extensions is not dumped.
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
