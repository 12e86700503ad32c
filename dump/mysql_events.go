package dump

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
)

// myEvent is what a server keeps with an event: who defined it, and how it is read.
type myEvent struct{ definer, charset, collation, databaseCollation, now string }

// enable has events run again that were made disabled while their database was not whole. ALTER EVENT would have them belong to
// us, and read as we read: they keep who defined them and how they are read.
func (c *myConn) enable(ctx context.Context, database string, events []string) error {
	for _, name := range events {
		if err := c.enableEvent(ctx, database, name); err != nil {
			return fmt.Errorf("enabling event %s of database %s: %w", name, database, err)
		}
	}
	return nil
}

func (c *myConn) enableEvent(ctx context.Context, database, name string) error {
	var e myEvent
	row := c.QueryRowContext(ctx, `SELECT definer, e.character_set_client, e.collation_connection, e.database_collation, s.default_collation_name
		FROM information_schema.events e JOIN information_schema.schemata s ON s.schema_name = e.event_schema WHERE event_schema = ? AND event_name = ?`, database, name)
	if err := row.Scan(&e.definer, &e.charset, &e.collation, &e.databaseCollation, &e.now); errors.Is(err, sql.ErrNoRows) {
		return nil // one for a time that has passed is not made any more
	} else if err != nil {
		return err
	}
	user, host := e.definer, "%"
	if i := strings.LastIndexByte(e.definer, '@'); i >= 0 {
		user, host = e.definer[:i], e.definer[i+1:]
	}
	statements := []string{
		"SET NAMES " + e.charset, "SET collation_connection = " + e.collation,
		"ALTER DEFINER = " + quoteMyName(user) + "@" + quoteMyName(host) + " EVENT " + quoteMyName(database) + "." + quoteMyName(name) + " ENABLE",
		"SET NAMES utf8mb4",
	}
	if alter := "ALTER DATABASE " + quoteMyName(database) + " COLLATE "; e.databaseCollation != e.now {
		statements = append(append([]string{alter + e.databaseCollation}, statements...), alter+e.now)
	}
	var failed []error
	for _, s := range statements {
		_, err := c.ExecContext(ctx, s)
		failed = append(failed, err)
	}
	return errors.Join(failed...)
}
