package dump

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/go-sql-driver/mysql"
)

// myTables sees whether tables are altered between the moment of which a dump is and their turn in it. No transaction covers that.
// Often the server refuses to go on (error 1412), but a table that has taken the place of another, lost a partition or got its
// columns in another order is read as it is, with the rows of the old moment: a dump of what never was.
//
// It knows a table by when it was made or altered, to the second, and those with partitions also by their numbers, if our user may
// see them (the right PROCESS): nothing else tells that a partition was exchanged. Tables of engines without transactions are of
// no moment anyway.
type myTables struct {
	conn     *myConn // for nothing else
	database string
	before   map[string]string
	current  string // is being read
}

// lookTables asks what is known of the tables of a database, or of one.
const lookTables = `SELECT t.table_name, concat_ws(' ', t.engine, t.create_time), t.create_options LIKE '%partitioned%'
	FROM information_schema.tables t JOIN information_schema.engines e ON e.engine = t.engine
	WHERE t.table_schema = ? AND t.table_type IN ('BASE TABLE', 'SYSTEM VERSIONED') AND t.create_time IS NOT NULL`

// lookPartitions asks for the numbers of the partitions of a table, by names as those of files.
const lookPartitions = `SELECT group_concat(concat(name, '=', table_id) ORDER BY name) FROM information_schema.innodb_sys_tables
	WHERE locate(concat(convert(convert(? USING filename) USING binary), '/', convert(convert(? USING filename) USING binary), '#P#'), name) = 1`

// tablesBefore looks at the tables of a database. Its connection is then for this only.
func (c *myConn) tablesBefore(ctx context.Context, database string, patience time.Duration) (*myTables, error) {
	x := &myTables{conn: c, database: database}
	err := c.waitForLocks(ctx, patience)
	if err != nil {
		return nil, err
	}
	x.before, err = x.look(ctx, lookTables+" AND e.transactions = 'YES'", database)
	if err != nil {
		return nil, fmt.Errorf("cannot look when the tables of database %s were altered: %w", database, err)
	}
	// What is locked now is not waited for: it was read already.
	return x, c.waitForLocks(ctx, time.Second)
}

// look asks, and gives what is known by the names of tables.
func (x *myTables) look(ctx context.Context, query string, args ...any) (map[string]string, error) {
	rows, err := x.conn.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	tables, partitioned := map[string]string{}, []string(nil)
	for rows.Next() {
		var name, known string
		var parts bool
		if err := rows.Scan(&name, &known, &parts); err != nil {
			return nil, err
		}
		if tables[name] = known; parts {
			partitioned = append(partitioned, name)
		}
	}
	if err := rows.Err(); err != nil {
		return nil, err
	}
	for _, name := range partitioned {
		numbers, err := x.conn.value(ctx, lookPartitions, x.database, name)
		var refused *mysql.MySQLError
		if err != nil && !errors.As(err, &refused) {
			return nil, err
		}
		tables[name] += " " + numbers
	}
	return tables, nil
}

// see is shown each statement of the dump, and looks at a table when the next one begins: by then it was read to its end.
func (x *myTables) see(ctx context.Context, stmt []byte) error {
	m := created.FindSubmatch(stmt[:min(len(stmt), insertHead)])
	if m == nil {
		return nil
	}
	err := x.same(ctx)
	x.current = strings.ReplaceAll(string(m[1]), "``", "`")
	return err
}

// same is an error when the table that was read last is not what it was before the dump.
func (x *myTables) same(ctx context.Context) error {
	was, known := x.before[x.current]
	if !known {
		return nil
	}
	now, err := x.look(ctx, lookTables+" AND t.table_name = ?", x.database, x.current)
	if err != nil {
		return fmt.Errorf("cannot look whether table %s was altered during the dump: %w", x.current, err)
	}
	is, known := now[x.current]
	if known && is != was {
		return fmt.Errorf("table %s was altered, or another one took its place, during the dump, which is of no one moment so: back up again", x.current)
	}
	return nil
}
