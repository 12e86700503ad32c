package dump

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/go-sql-driver/mysql"

	"github.com/caddy-backup/caddy-backup/backup"
)

// Live is the name of the database.
func (m *MySQL) Live(d backup.Stored) string {
	s, err := parseMyDSN(m.dsn)
	if err != nil {
		return "?"
	}
	if name := m.databaseOf(d.Part, &myServer{mySettings: s}); name != "" {
		return name
	}
	return "the users of " + s.place()
}

// Ready compares versions and tries whether databases can be made.
func (m *MySQL) Ready(ctx context.Context, d backup.Stored, o backup.Over, t *backup.Task) error {
	s, err := newMyServer(m.dsn)
	if err != nil {
		return err
	}
	if m.databaseOf(d.Part, s) == "" {
		return fmt.Errorf("%w: users are not restored by themselves; restore the part as a file, and read it before you run it", backup.ErrInvalid)
	}
	conn, server, err := s.session(ctx, "")
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := suits(server, d.Facts.Engine, o, t); err != nil {
		return err
	}
	if _, err := m.dumper(ctx, server); err != nil {
		return err
	}
	x := m.newSwitch(s, conn, m.databaseOf(d.Part, s), false, t)
	if err := x.others(ctx); err != nil {
		return err
	}
	if err := s.space(ctx, conn, d.Size); err != nil {
		return err
	}
	probe := x.New
	if _, err := conn.ExecContext(ctx, "CREATE DATABASE "+quoteMyName(probe)); err != nil {
		return fmt.Errorf("the dump is restored beside the live database first, and user %s may not make one: %w; %s",
			s.user, err, conn.grant(ctx, probe))
	}
	if err := errors.Join(conn.definable(ctx, x.Live, probe), s.drop(probe)); err != nil {
		return err
	}
	return s.absent(ctx, x.Live)
}

// absent is ErrAbsent of a database that the server does not have. To who may not know, it does not say that.
func (s *myServer) absent(ctx context.Context, database string) error {
	conn, err := s.connect(ctx, database)
	if err == nil {
		return conn.Close()
	}
	var refused *mysql.MySQLError
	if errors.As(err, &refused) && refused.Number == 1049 { // unknown database
		return fmt.Errorf("database %s %w on %s", database, backup.ErrAbsent, s.place())
	}
	return context.Cause(ctx)
}

// suits refuses a server that is older than the one that was dumped, or of the other make.
func suits(server myVersion, dumped string, o backup.Over, t *backup.Task) error {
	make, text, known := strings.Cut(dumped, " ")
	if !known {
		return nil
	}
	from, err := parseMyVersion(text)
	if err != nil {
		return nil
	}
	from.mariadb = make == "MariaDB"
	switch order := slices.Compare(server.numbers[:2], from.numbers[:2]); {
	case o.Force:
	case from.mariadb != server.mariadb:
		return fmt.Errorf("the dump is of %s, and the server is %s: force the restore if you know that it fits", from, server)
	case order < 0:
		return fmt.Errorf("the dump is of %s, and the server is older, %s: force the restore if you know that it fits", from, server)
	case order > 0:
		t.Log.Warn("the server is newer than the one that was dumped", "dumped", from.String(), "server", server.String())
	}
	return nil
}

// Overwrite restores the dump into a database beside the live one, and when that went well moves the tables of both, in one
// statement; views, triggers, routines and events are made anew. The old tables stay when some of them are in no dump. No
// transaction covers that: if it fails, the old ones are moved back, and ErrIncomplete says that even this failed. If we are
// killed, the next run of the source that looks brings it to an end, see mend.
func (m *MySQL) Overwrite(ctx context.Context, d backup.Stored, r io.Reader, o backup.Over, t *backup.Task) error {
	s, err := newMyServer(m.dsn)
	if err != nil {
		return err
	}
	conn, server, err := s.session(ctx, "")
	if err != nil {
		return err
	}
	tool, err := m.dumper(ctx, server)
	if err == nil {
		err = m.mend(ctx, s, conn, m.databaseOf(d.Part, s), t)
	}
	if err != nil {
		conn.Close()
		return err
	}
	leavesOut := len(m.ExcludeTables) > 0
	x := m.newSwitch(s, conn, m.databaseOf(d.Part, s), o.Aside || leavesOut, t)
	x.tool = tool
	defer func() { x.conn.Close() }()
	if err := x.hold(ctx, 0); err != nil {
		return err
	}
	if err := x.others(ctx); err != nil {
		return err
	}
	if err := conn.create(ctx, x.New, x.Live, s); err != nil {
		return err
	}
	if err := x.fill(ctx, r); err != nil {
		return err
	}
	if err = x.do(ctx); err == nil && x.Keep {
		if leavesOut {
			t.Log.Warn("the source leaves out tables, which no snapshot holds, so the old ones stay")
		}
		t.Log.Warn("the tables as they were are kept; drop the database when nobody misses them", "database", x.Old)
	}
	if err == nil {
		x.conn.warnStrangers(ctx, x.Live, t)
	}
	if errors.Is(err, backup.ErrIncomplete) {
		return fmt.Errorf("%w; the old tables are in database %s, the new ones in %s, or where they were moved to: the next backup or "+
			"restore of this source tries again to bring that to an end", err, x.Old, x.New)
	}
	return errors.Join(err, x.clean(err == nil))
}

// others refuses to replace tables to which those of other databases refer: their foreign keys would go with the old ones.
func (x *mySwitch) others(ctx context.Context) error {
	keys, err := x.conn.list(ctx, "SELECT concat(constraint_schema, '.', table_name, ' (', constraint_name, ')') FROM information_schema.referential_constraints "+
		"WHERE unique_constraint_schema = ? AND constraint_schema <> ? ORDER BY 1", x.Live, x.Live)
	if err != nil {
		return fmt.Errorf("looking which tables refer to database %s: %w", x.Live, err)
	}
	if len(keys) > 0 {
		return fmt.Errorf("%w: tables of other databases have foreign keys to database %s, which would go with its old tables: %s; "+
			"drop these keys (ALTER TABLE … DROP FOREIGN KEY …), restore, and add them again", backup.ErrConflict, x.Live, summed(keys))
	}
	return nil
}

var _ backup.Overwriter = (*MySQL)(nil)
