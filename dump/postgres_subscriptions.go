package dump

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/caddy-backup/caddy-backup/backup"
)

// A subscription pulls rows from another server, and keeps a slot there that only one may use. pg_dump writes them down
// so that they do nothing until somebody enables them; that is how they come back. A database that has some cannot be
// dropped, and to drop one would remove the slot on the other server: so they are taken off it first.

const enableAgain = "look at what was published since, then ALTER SUBSCRIPTION … ENABLE and … REFRESH PUBLICATION"

// subscriptionsOf are the names of the subscriptions of a database, which only its own connections can change.
const subscriptionsOf = `SELECT subname FROM pg_catalog.pg_subscription s JOIN pg_catalog.pg_database d ON d.oid = s.subdbid
	WHERE datname = $1 ORDER BY 1`

func subscriptions(ctx context.Context, conn *pgconn.PgConn, database string) ([]string, error) {
	if version, _ := parsePgVersion(conn.ParameterStatus("server_version")); version.major < 10 {
		return nil, nil
	}
	result := conn.ExecParams(ctx, subscriptionsOf, [][]byte{[]byte(database)}, nil, nil, nil).Read()
	var names []string
	for _, row := range result.Rows {
		names = append(names, string(row[0]))
	}
	return names, result.Err
}

// release makes sure that a database of ours can be dropped: no template, and without subscriptions. What they pull from
// is left alone.
func (db *pgDatabase) release(ctx context.Context, conn *pgconn.PgConn, name string) error {
	template, err := pgValue(ctx, conn, "SELECT 1 FROM pg_catalog.pg_database WHERE datname = $1 AND datistemplate", name)
	if err == nil && template != "" {
		err = conn.Exec(ctx, "ALTER DATABASE "+quoteName(name)+" IS_TEMPLATE false").Close()
	}
	names, lookErr := subscriptions(ctx, conn, name)
	if err = errors.Join(err, lookErr); err != nil || len(names) == 0 {
		return err
	}
	return db.detach(ctx, name, names, "DROP SUBSCRIPTION %s")
}

// detach takes subscriptions of a database off their slots, and does something more to each.
func (db *pgDatabase) detach(ctx context.Context, database string, names []string, more string) error {
	own, err := db.connect(ctx, database)
	if err != nil {
		return err
	}
	defer closePg(own)
	for _, name := range names {
		quoted := quoteName(name)
		for _, sql := range []string{"ALTER SUBSCRIPTION %s DISABLE", "ALTER SUBSCRIPTION %s SET (slot_name = NONE)", more} {
			if sql == "" {
				continue
			}
			if err := own.Exec(ctx, fmt.Sprintf(sql, quoted)).Close(); err != nil {
				return fmt.Errorf("subscription %s of database %s: %w", name, database, err)
			}
		}
	}
	return nil
}

// tellSubscriptions says that what came back with the dump does nothing yet. In a copy beside the live database they lose
// their slots, which are those of the live one.
func (b *building) tellSubscriptions(ctx context.Context, t *backup.Task) error {
	names, err := subscriptions(ctx, b.conn, b.name)
	if err != nil || len(names) == 0 {
		return err
	}
	theirs, err := subscriptions(ctx, b.conn, b.db.name)
	if err != nil {
		return err
	}
	if len(theirs) > 0 {
		if err := b.db.detach(ctx, b.name, names, ""); err != nil {
			return err
		}
		t.Log.Warn("subscriptions are disabled in the copy, and without a slot: " + strings.Join(names, ", "))
		return nil
	}
	t.Log.Warn("subscriptions came back disabled: " + strings.Join(names, ", ") +
		"; their rows are those of the dump: " + enableAgain)
	return nil
}

// retire takes the subscriptions off the database that was the live one and is kept, and tells what is lost with one
// that is not.
func (b *building) retire(ctx context.Context, old string, kept bool, t *backup.Task) {
	names, err := subscriptions(ctx, b.conn, old)
	if err == nil && len(names) > 0 {
		t.Log.Warn("subscriptions are disabled in the restored database: " + strings.Join(names, ", ") +
			"; their rows are those of the dump: " + enableAgain)
		if kept {
			err = b.db.detach(ctx, old, names, "")
		}
	}
	if err != nil {
		t.Log.Warn(fmt.Sprintf("cannot disable the subscriptions of the old database, %s", old), "error", err)
	}
	if kept {
		return
	}
	slots, err := pgValue(ctx, b.conn, `SELECT string_agg(slot_name, ', ' ORDER BY slot_name) FROM pg_catalog.pg_replication_slots WHERE database = $1`, old)
	if err == nil && slots != "" {
		t.Log.Warn("replication slots go with the old database, so their subscribers must be set up anew: " + slots)
	}
}
