package dump

import (
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/caddy-backup/caddy-backup/backup"
)

// Drill restores the dump into a new database, has the server check every table, and counts the rows.
func (m *MySQL) Drill(ctx context.Context, d backup.Stored, r io.Reader, at backup.Scratch, t *backup.Task) (facts backup.Facts, err error) {
	s, err := newMyServer(m.dsn)
	if err != nil {
		return backup.Facts{}, err
	}
	database := m.databaseOf(d.Part, s)
	if database == "" {
		return m.Verify(ctx, d.Part, r, t) // users are the server's own: there is no place to try them out
	}
	conn, server, err := s.session(ctx, "")
	if err != nil {
		return backup.Facts{}, err
	}
	defer conn.Close()
	if err := s.space(ctx, conn, d.Size); err != nil {
		return backup.Facts{}, err
	}
	guard := newMyGuard(database) // by which no event runs
	guard.ours = true
	if err = conn.create(ctx, at.Name, database, s); err == nil {
		err = m.fill(ctx, s, conn, r, at.Name, guard)
	}
	if err != nil {
		return backup.Facts{}, err
	}
	defer func() {
		if dropped := s.drop(at.Name); err == nil {
			err = dropped
		}
	}()
	ctx, stop := m.pulse(ctx, conn, pulseLook, alive)
	defer stop()
	rows, err := s.checkTables(ctx, at.Name)
	if cause := context.Cause(ctx); err != nil && cause != nil {
		err = cause
	}
	if err != nil {
		return backup.Facts{}, s.explain("drill in the new database "+at.Name, err)
	}
	return backup.Facts{Engine: server.String(), Checked: "every table checked by the server, every view read", Rows: rows}, nil
}

// checkTables has the server check all tables and views of a database, and counts the rows of the tables.
func (s *myServer) checkTables(ctx context.Context, database string) (map[string]int64, error) {
	conn, err := s.connect(ctx, database)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	tables, err := conn.tables(ctx)
	if err != nil {
		return nil, err
	}
	views, err := conn.list(ctx, "SELECT table_name FROM information_schema.views WHERE table_schema = DATABASE()")
	if err != nil {
		return nil, err
	}
	for _, name := range slices.Concat(slices.Sorted(maps.Keys(tables)), views) {
		if err := conn.check(ctx, name); err != nil {
			return nil, err
		}
	}
	rows := map[string]int64{}
	for name, from := range tables {
		if from == "" {
			rows[name] = 0
			continue
		}
		var n int64
		if err := conn.QueryRowContext(ctx, "SELECT count(*) FROM "+from).Scan(&n); err != nil {
			return nil, err
		}
		rows[name] = n
	}
	return rows, nil
}

// tables are those of the database that we are connected to, and from what their rows are counted as dumps hold them: with
// their history, where they have one; "" where dumps hold none since the rows are elsewhere.
func (c *myConn) tables(ctx context.Context) (map[string]string, error) {
	list, err := c.QueryContext(ctx, "SELECT table_name, table_type, ifnull(engine, '') FROM information_schema.tables "+
		"WHERE table_schema = DATABASE() AND table_type IN ('BASE TABLE', 'SYSTEM VERSIONED')")
	if err != nil {
		return nil, err
	}
	defer list.Close()
	tables := map[string]string{}
	for list.Next() {
		var name, kind, engine string
		if err := list.Scan(&name, &kind, &engine); err != nil {
			return nil, err
		}
		switch {
		case slices.Contains(outside, strings.ToUpper(engine)):
			tables[name] = ""
		case kind == "SYSTEM VERSIONED":
			tables[name] = quoteMyName(name) + " FOR SYSTEM_TIME ALL"
		default:
			tables[name] = quoteMyName(name)
		}
	}
	return tables, list.Err()
}

// check has the server check a table or a view.
func (c *myConn) check(ctx context.Context, name string) error {
	rows, err := c.QueryContext(ctx, "CHECK TABLE "+quoteMyName(name))
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var table, op, kind, text string
		if err := rows.Scan(&table, &op, &kind, &text); err != nil {
			return err
		}
		if strings.EqualFold(kind, "error") {
			return fmt.Errorf("the server finds fault with %s: %s", name, text)
		}
	}
	return rows.Err()
}

// SweepDrills drops the databases of drills that were killed.
func (m *MySQL) SweepDrills(ctx context.Context, abandoned func(name string) bool, t *backup.Task) error {
	s, err := newMyServer(m.dsn)
	if err != nil {
		return err
	}
	conn, err := s.connect(ctx, "")
	if err != nil {
		return err
	}
	defer conn.Close()
	s.sweep(ctx, conn, t)
	left, err := conn.list(ctx, "SELECT schema_name FROM information_schema.schemata WHERE left(schema_name, ?) = ?",
		len(backup.ScratchPrefix), backup.ScratchPrefix)
	if err != nil {
		return err
	}
	for _, name := range left {
		if !abandoned(name) {
			continue
		}
		if _, err := conn.ExecContext(ctx, "DROP DATABASE IF EXISTS "+quoteMyName(name)); err != nil {
			return fmt.Errorf("cannot drop %s, which a drill left behind: %w", name, err)
		}
		t.Log.Info("dropped what a drill left behind", "database", name)
	}
	return nil
}

var (
	_ backup.Driller      = (*MySQL)(nil)
	_ backup.DrillSweeper = (*MySQL)(nil)
)
