package dump

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/caddy-backup/caddy-backup/backup"
)

// Examine connects, looks for the program, and whether our user sees everything that is to be dumped.
func (m *MySQL) Examine(ctx context.Context, t *backup.Task) []backup.Diagnosis {
	s, err := newMyServer(m.dsn)
	if err != nil {
		return failing(err)
	}
	conn, server, err := s.session(ctx, s.database)
	if err != nil {
		return failing(err)
	}
	defer conn.Close()
	list := []backup.Diagnosis{diagnosis(backup.LevelOK, "%s lets user %s in on %s", server, s.user, s.place())}
	now, err := conn.value(ctx, "SELECT UNIX_TIMESTAMP(SYSDATE(6))")
	list = append(list, serverClock(fmt.Sprintf("%s on %s", server, s.place()), now, err)...)
	if tool, err := m.dumper(ctx, server); err != nil {
		list = append(list, failing(err)...)
	} else if list = append(list, diagnosis(backup.LevelOK, "%s %s is there", tool.path, tool.version.text)); true {
		for _, doubt := range tool.doubts(server) {
			list = append(list, diagnosis(backup.LevelWarning, "%s", doubt))
		}
	}
	if killed, err := conn.killed(ctx); err != nil {
		list = append(list, failing(fmt.Errorf("looking for restores that were killed: %w", err))...)
	} else if len(killed) > 0 {
		list = append(list, diagnosis(backup.LevelWarning, "a restore over a live database goes on, or was killed: %s; the next backup of this source brings it to an end",
			summed(killed)))
	}
	databases := []string{s.database}
	if m.AllDatabases {
		if databases, err = conn.databases(ctx); err != nil {
			return append(list, failing(err)...)
		}
	}
	for _, database := range slices.DeleteFunc(databases, m.excluded) {
		list = append(list, m.examineDatabase(ctx, conn, s, database, t))
		list = append(list, conn.examineScratch(ctx, database)...)
	}
	if m.withUsers(server) {
		if err := conn.seesUsers(ctx); err != nil {
			list = append(list, failing(err)...)
		}
	}
	return list
}

func (m *MySQL) examineDatabase(ctx context.Context, conn *myConn, s *myServer, database string, t *backup.Task) backup.Diagnosis {
	var facts backup.Facts
	switch err := conn.examineTables(ctx, s, database, m.lockTimeout(), m.leftOut(database), &facts, t); {
	case err != nil:
		return diagnosis(backup.LevelError, "%v", err)
	case len(facts.Notes) > 0:
		return diagnosis(backup.LevelWarning, "database %s: %s", database, strings.Join(facts.Notes, "; "))
	}
	return diagnosis(backup.LevelOK, "database %s can be read whole", database)
}

// ownDatabases are the server's.
var ownDatabases = []string{"information_schema", "performance_schema", "mysql", "sys"}

// databases are all that are there but the server's own, and what drills and restores make for the time being. A user who does not
// see all of them is refused: the others would be left out without a word.
func (c *myConn) databases(ctx context.Context) ([]string, error) {
	if err := c.seesAll(ctx); err != nil {
		return nil, err
	}
	all, err := c.list(ctx, "SELECT schema_name FROM information_schema.schemata ORDER BY 1")
	return slices.DeleteFunc(all, func(name string) bool {
		return slices.Contains(ownDatabases, strings.ToLower(name)) || oursInMy(name)
	}), err
}

func (c *myConn) seesAll(ctx context.Context) error {
	global, err := c.globalPrivileges(ctx)
	if err != nil {
		return err
	}
	if !slices.Contains(global, "SHOW DATABASES") {
		user, _ := c.value(ctx, "SELECT CURRENT_USER()")
		return fmt.Errorf("user %s may not see all databases, and those that it does not see would be left out: "+
			"GRANT SHOW DATABASES ON *.* TO %s, or name each database in a source of its own", user, c.self(ctx))
	}
	return nil
}

// seesUsers refuses a user who may not read the users of the server.
func (c *myConn) seesUsers(ctx context.Context) error {
	global, err := c.globalPrivileges(ctx)
	if err != nil || slices.Contains(global, "SELECT") {
		return err
	}
	if _, err := c.value(ctx, "SELECT 1 FROM mysql.global_priv LIMIT 1"); err != nil {
		return fmt.Errorf("the users of the server cannot be read: %w; GRANT SELECT ON mysql.* TO %s, or say globals off", err, c.self(ctx))
	}
	return nil
}

func (c *myConn) globalPrivileges(ctx context.Context) ([]string, error) {
	grantees, err := c.grantees(ctx)
	if err != nil {
		return nil, err
	}
	in := strings.TrimSuffix(strings.Repeat("?, ", len(grantees)), ", ")
	return c.list(ctx, "SELECT DISTINCT privilege_type FROM information_schema.user_privileges WHERE grantee IN ("+in+")", grantees...)
}

// examineTables refuses a database of which our user does not see everything: a dump program leaves out silently what it is not
// shown. It names the tables that no transaction covers.
func (c *myConn) examineTables(ctx context.Context, s *myServer, database string, patience time.Duration, ignored []string, facts *backup.Facts, t *backup.Task) error {
	// Views that refer to what is gone, and locked tables, would hold up information_schema.
	if err := c.waitForLocks(ctx, patience); err != nil {
		return err
	}
	missing, err := c.missingPrivileges(ctx, database)
	if err != nil {
		return fmt.Errorf("cannot look what user may read of database %s: %w", database, err)
	}
	if len(missing) > 0 {
		user, _ := c.value(ctx, "SELECT CURRENT_USER()")
		return fmt.Errorf("user %s does not see all of database %s, and what it does not see would be left out: "+
			"GRANT %s ON `%s`.* TO %s", user, database, strings.Join(missing, ", "), database, c.self(ctx))
	}
	closed, err := c.list(ctx, "SELECT routine_name FROM information_schema.routines WHERE routine_schema = ? AND routine_definition IS NULL", database)
	if err != nil {
		return fmt.Errorf("cannot list the routines of database %s: %w", database, err)
	}
	if len(closed) > 0 {
		return fmt.Errorf("user %s may not read what others wrote as routines of database %s, and the dump would fail: %s; "+
			"GRANT SELECT ON mysql.proc TO %s, or SHOW_ROUTINE with MySQL", s.user, database, summed(closed), c.self(ctx))
	}
	if err := c.dumpable(ctx, database, ignored); err != nil {
		return err
	}
	loose, err := c.list(ctx, `SELECT t.table_name FROM information_schema.tables t JOIN information_schema.engines e ON e.engine = t.engine
		WHERE t.table_schema = ? AND t.table_type IN ('BASE TABLE', 'SYSTEM VERSIONED') AND (e.transactions IS NULL OR e.transactions <> 'YES') ORDER BY 1`, database)
	if err != nil {
		return fmt.Errorf("cannot list the tables of database %s: %w", database, err)
	}
	if len(loose) > 0 {
		note := "tables without transactions, which are not as of the moment of the others: " + summed(loose)
		facts.Notes = append(facts.Notes, note)
		t.Log.Warn(note, "database", database, "tables", len(loose))
	}
	return nil
}

// missingPrivileges are those without which something of a database would silently not be dumped.
func (c *myConn) missingPrivileges(ctx context.Context, database string) (missing []string, err error) {
	grantees, err := c.grantees(ctx)
	if err != nil {
		return nil, err
	}
	in := strings.TrimSuffix(strings.Repeat("?, ", len(grantees)), ", ")
	global, err := c.globalPrivileges(ctx)
	if err != nil {
		return nil, err
	}
	local, err := c.list(ctx, "SELECT DISTINCT privilege_type FROM information_schema.schema_privileges WHERE grantee IN ("+in+") AND ? LIKE table_schema",
		append(grantees, database)...)
	if err != nil {
		return nil, err
	}
	has := func(names ...string) bool {
		return slices.ContainsFunc(names, func(name string) bool { return slices.Contains(global, name) || slices.Contains(local, name) })
	}
	for _, name := range []string{"SELECT", "SHOW VIEW", "TRIGGER", "EVENT"} {
		if !has(name) {
			missing = append(missing, name)
		}
	}
	if !slices.Contains(global, "SELECT") && !has("EXECUTE", "ALTER ROUTINE") { // who may read all reads routines too
		missing = append(missing, "EXECUTE")
	}
	return missing, nil
}

// grantees are we and our role, as information_schema writes them.
func (c *myConn) grantees(ctx context.Context) (names []any, err error) {
	user, err := c.value(ctx, "SELECT CURRENT_USER()")
	if err != nil {
		return nil, err
	}
	name, host := user, "%"
	if i := strings.LastIndexByte(user, '@'); i >= 0 {
		name, host = user[:i], user[i+1:]
	}
	names = append(names, "'"+name+"'@'"+host+"'")
	roles, err := c.value(ctx, "SELECT CURRENT_ROLE()") // servers before roles do not know the function
	if err != nil || roles == "" || roles == "NONE" {
		return names, nil
	}
	for role := range strings.SplitSeq(roles, ",") {
		role, _, _ = strings.Cut(strings.ReplaceAll(role, "`", ""), "@")
		names = append(names, "'"+role+"'@''", "'"+role+"'@'%'", role)
	}
	return names, nil
}

// explain adds what to do to an error of a program.
func (s *myServer) explain(what string, err error) error {
	text := err.Error() + backup.OutputOf(err)
	for _, h := range myHints {
		if strings.Contains(text, h.words) {
			if h.way != "" {
				err = fmt.Errorf("%w; %s", err, h.way)
			}
			return fmt.Errorf("%s: %w", what, err)
		}
	}
	if errors.Is(err, errCutOff) {
		return fmt.Errorf("%s is not whole: %w", what, err)
	}
	return fmt.Errorf("%s: %w", what, err)
}

const noRoom = "make room on the server's disk, or where its tmpdir is"

// myHints are ways out of what servers and programs say.
var myHints = []struct{ words, way string }{
	{"specified as a definer", "create that user before the restore, with the rights that it had"},
	{"lack rights to use them", "who defined a view needs rights in a database of this name: GRANT them before the restore"},
	{administratorRuns, ""}, // it is told already
	{"Access denied", "grant the user what is missing"},
	{"insufficent privileges", "let the user read routines: GRANT SELECT ON mysql.proc, or SHOW_ROUTINE"}, // as it is spelt there
	{"insufficient privileges", "let the user read routines: GRANT SELECT ON mysql.proc, or SHOW_ROUTINE"},
	{"Lost connection", "the server ended the connection; see its log"},
	{"server has gone away", "the server ended the connection; see its log"},
	{"Table definition has changed", "a table was altered during the dump: back up again"},
	{"doesn't exist (1146)", "a table or view was dropped or renamed during the dump: back up again"}, // as the dump programs write it
	{"Errcode: 28", noRoom},
	{"is full", noRoom},
	{"max_allowed_packet", "raise max_allowed_packet of the server: a row is larger than it"},
}

var _ backup.Examiner = (*MySQL)(nil)
