package dump

import (
	"context"

	"github.com/caddy-backup/caddy-backup/backup"
)

// myDefined are those who defined something in a database, which is to be given four times.
const myDefined = `(SELECT definer FROM information_schema.views WHERE table_schema = ? UNION SELECT definer FROM information_schema.triggers WHERE trigger_schema = ?
	UNION SELECT definer FROM information_schema.routines WHERE routine_schema = ? UNION SELECT definer FROM information_schema.events WHERE event_schema = ?) d`

// strangers are those who defined something in a database and that the server does not know; none when we may not look.
func (c *myConn) strangers(ctx context.Context, database string) ([]string, error) {
	return c.list(ctx, "SELECT definer FROM "+myDefined+`
		WHERE definer <> '' AND NOT EXISTS (SELECT 1 FROM mysql.user u WHERE BINARY d.definer = BINARY concat(u.user, '@', u.host) OR u.host = '' AND BINARY d.definer = BINARY u.user) ORDER BY 1`,
		database, database, database, database)
}

// warnStrangers tells of them: what they defined cannot be used.
func (c *myConn) warnStrangers(ctx context.Context, database string, t *backup.Task) {
	names, err := c.strangers(ctx, database)
	switch {
	case err != nil:
		t.Log.Info("cannot look whether the server knows all who defined views, triggers, routines and events", "database", database, "error", err)
	case len(names) > 0:
		t.Log.Warn("the server does not know all who defined views, triggers, routines or events of the restored database, which cannot be used "+
			"until they are there: create these users", "database", database, "definers", summed(names))
	}
}
