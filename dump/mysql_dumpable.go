package dump

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/go-sql-driver/mysql"
)

// dumpable refuses a database at which the dump programs fail, and says what to do.
func (c *myConn) dumpable(ctx context.Context, database string, ignored []string) error {
	if err := c.whole(ctx, database); err != nil {
		return err
	}
	broken, err := c.brokenViews(ctx, database)
	if err != nil {
		return err
	}
	broken = slices.DeleteFunc(broken, func(name string) bool { return slices.Contains(ignored, name) })
	if len(broken) > 0 {
		return fmt.Errorf("views of database %s cannot be read, and the dump would fail: %s; what they select from is gone, or who defined them "+
			"is, or may not read it: mend or drop them, or name them in exclude_tables", database, summed(broken))
	}
	return c.endless(ctx, database)
}

// brokenViews are those of which the server cannot tell the columns.
func (c *myConn) brokenViews(ctx context.Context, database string) (broken []string, err error) {
	names, err := c.list(ctx, "SELECT table_name FROM information_schema.views WHERE table_schema = ? ORDER BY 1", database)
	if err != nil {
		return nil, fmt.Errorf("cannot list the views of database %s: %w", database, err)
	}
	for _, name := range names {
		_, err := c.ExecContext(ctx, "SHOW FIELDS FROM "+quoteMyName(database)+"."+quoteMyName(name))
		var refused *mysql.MySQLError
		if errors.As(err, &refused) {
			broken = append(broken, name)
		} else if err != nil {
			return nil, err
		}
	}
	return broken, nil
}

// endless refuses a database with events that have a doubled semicolon in their text: all dump programs that there are look
// for a delimiter that is not in it by trying the same one for ever.
func (c *myConn) endless(ctx context.Context, database string) error {
	names, err := c.list(ctx, "SELECT event_name FROM information_schema.events WHERE event_schema = ? "+
		"AND concat(event_name, event_comment, event_definition) LIKE '%;;%'", database)
	if err != nil {
		return fmt.Errorf("cannot list the events of database %s: %w", database, err)
	}
	if len(names) > 0 {
		return fmt.Errorf("mariadb-dump and mysqldump hang for ever at an event that has ;; in its text, as these of database %s: %s; "+
			"write it otherwise: a string as concat(';', ';'), a comment or a name without it", database, summed(names))
	}
	return nil
}
