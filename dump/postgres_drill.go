package dump

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/caddy-backup/caddy-backup/backup"
)

// Drill restores into a database of its own on the server of the source, which makes all constraints and indexes anew,
// counts its rows, and drops it. Roles and tablespaces cannot be tried out: only one server has them; their script is read
// to its end.
func (p *Postgres) Drill(ctx context.Context, s backup.Stored, r io.Reader, at backup.Scratch, t *backup.Task) (facts backup.Facts, err error) {
	if !strings.HasPrefix(at.Name, backup.ScratchPrefix) || len(at.Name) > maxNameBytes {
		return facts, fmt.Errorf("%w: '%s' is no name for a scratch database", backup.ErrInvalid, at.Name)
	}
	db, err := p.database(s.Part)
	if err != nil {
		return facts, err
	}
	dump, err := openDump(r)
	if err != nil {
		return facts, err
	}
	if dump.roles {
		facts, err := verifyScript(ctx, dump.in, dump.script)
		facts.Checked = "script read to its end; roles and tablespaces are not tried out"
		return facts, err
	}
	b, err := db.begin(ctx, at.Name, t)
	if err != nil {
		return facts, err
	}
	b.scratch = true
	defer func() { err = errors.Join(err, b.close()) }()
	if err := db.space(ctx, b.conn, s.Size); err != nil {
		return facts, err
	}
	if err := fits(s.Facts.Engine, b.server, t); err != nil {
		return facts, err
	}
	if err := b.fill(ctx, p, dump, t); err != nil {
		return facts, db.explain("trying out the dump", err)
	}
	facts.Engine, facts.Checked = "PostgreSQL "+b.server.text, "restored without an error, constraints and indexes made anew"
	facts.Rows, err = b.countRows(ctx, s.Facts.Rows)
	return facts, err
}

// countRows counts the tables that were counted in the dump, as far as they are there.
func (b *building) countRows(ctx context.Context, counted map[string]int64) (map[string]int64, error) {
	if len(counted) == 0 {
		return nil, nil
	}
	conn, err := b.db.connect(ctx, b.name)
	if err != nil {
		return nil, err
	}
	defer closePg(conn)
	tables, err := conn.Exec(ctx, tablesWithRows).ReadAll()
	if err != nil {
		return nil, fmt.Errorf("listing the restored tables: %w", err)
	}
	rows := map[string]int64{}
	for _, table := range tables[0].Rows {
		schema, name := string(table[0]), string(table[1])
		key := tableKey(schema, name)
		if _, ok := counted[key]; !ok {
			continue
		}
		n, err := pgValue(ctx, conn, "SELECT count(*) FROM ONLY "+quoteName(schema)+"."+quoteName(name))
		if err != nil {
			return nil, fmt.Errorf("counting the rows of %s: %w", key, err)
		}
		rows[key], _ = strconv.ParseInt(n, 10, 64)
	}
	return rows, nil
}

// tablesWithRows are those whose rows pg_dump writes, all of them: extensions bring rows of their own.
const tablesWithRows = `SELECT n.nspname, c.relname FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
	WHERE c.relkind = 'r' AND c.relpersistence <> 't' AND n.nspname NOT IN ('pg_catalog', 'information_schema') AND NOT EXISTS (` + ofExtension + `)`

const ofExtension = `SELECT FROM pg_catalog.pg_depend e WHERE e.classid = 'pg_catalog.pg_class'::regclass AND e.objid = c.oid AND e.deptype = 'e'`

// extensionTables are those that belong to extensions: only some of their rows are dumped.
func extensionTables(ctx context.Context, conn *pgconn.PgConn) (keys []string, err error) {
	results, err := conn.Exec(ctx, `SELECT n.nspname, c.relname FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
		WHERE c.relkind = 'r' AND EXISTS (`+ofExtension+`)`).ReadAll()
	if err != nil {
		return nil, err
	}
	for _, row := range results[0].Rows {
		keys = append(keys, tableKey(string(row[0]), string(row[1])))
	}
	return keys, nil
}

// SweepDrills drops the scratch databases of drills that were killed.
func (p *Postgres) SweepDrills(ctx context.Context, abandoned func(name string) bool, t *backup.Task) error {
	db, err := newPgDatabase(p.dsn)
	if err != nil {
		return err
	}
	conn, maintenance, err := db.connectAny(ctx)
	if err != nil {
		return err
	}
	defer closePg(conn)
	names, err := pgColumn(ctx, conn, "SELECT datname FROM pg_catalog.pg_database WHERE datname ~ '^"+backup.ScratchPrefix+"'")
	if err != nil {
		return fmt.Errorf("listing the databases on %s: %w", db.place, err)
	}
	var failed []error
	for _, name := range names {
		if !abandoned(name) {
			continue
		}
		if err := db.drop(maintenance, name); err != nil {
			failed = append(failed, err)
			continue
		}
		t.Log.Info(fmt.Sprintf("dropped database %s, which a killed drill had left behind", name))
	}
	return errors.Join(failed...)
}

// Interface guards
var (
	_ backup.Driller      = (*Postgres)(nil)
	_ backup.DrillSweeper = (*Postgres)(nil)
)
