package dump

import (
	"context"
	"crypto/sha1"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/caddy-backup/caddy-backup/backup"
)

// unfinishedTable stands in a new database under the name that it is to have while a restore fills it. If we are killed it says
// that half is missing: no dump is made of that, and a restore to that name begins anew.
const unfinishedTable = "caddy_backup_restore_unfinished"

// begin makes a new database for a restore, and marks it. The lock that it takes goes with the connection.
func (c *myConn) begin(ctx context.Context, place, like string, s *myServer, t *backup.Task) error {
	number := sha1.Sum([]byte(place))
	lock := "restore_" + hex.EncodeToString(number[:6])
	got, err := c.take(ctx, lock, time.Second)
	if err == nil && !got {
		err = fmt.Errorf("%w: another restore into database %s goes on%s", backup.ErrConflict, place, c.holder(ctx, lock))
	}
	if err != nil {
		return err
	}
	half, err := c.unfinished(ctx, place)
	if err != nil {
		return err
	}
	if half {
		t.Log.Warn("dropping a database that a killed restore has left behind half filled", "database", place)
		if err := s.drop(place); err != nil {
			return err
		}
	}
	if err := c.create(ctx, place, like, s); err != nil {
		return err
	}
	_, err = c.ExecContext(ctx, "CREATE TABLE "+quoteMyName(place)+"."+unfinishedTable+" (a int)")
	if err != nil {
		return errors.Join(s.explain("restore into the new database "+place, err), s.drop(place))
	}
	return nil
}

// unfinished reports whether a restore into the database was killed, or goes on.
func (c *myConn) unfinished(ctx context.Context, database string) (bool, error) {
	found, err := c.value(ctx, "SELECT 1 FROM information_schema.tables WHERE table_schema = ? AND table_name = ?", database, unfinishedTable)
	return found != "", err
}

// whole refuses a database that a restore has left half filled.
func (c *myConn) whole(ctx context.Context, database string) error {
	half, err := c.unfinished(ctx, database)
	if err == nil && half {
		err = fmt.Errorf("database %s is only half restored: a restore into it goes on, or was killed; restore to this name again, "+
			"or drop its table %s if you have seen to the rest yourself", database, unfinishedTable)
	}
	return err
}

// finish takes the mark of a new database away, over a connection of its own: the other one has waited for long. What cannot be
// finished is dropped.
func (s *myServer) finish(ctx context.Context, place string) error {
	bounded, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	conn, err := s.connect(bounded, place)
	if err == nil {
		defer conn.Close()
		_, err = conn.ExecContext(bounded, "DROP TABLE "+unfinishedTable)
	}
	if err != nil {
		return errors.Join(s.explain("restore into the new database "+place, err), s.drop(place))
	}
	return nil
}

// killed are the live databases of switches that wait for their end, or go on.
func (c *myConn) killed(ctx context.Context) (databases []string, err error) {
	left, err := c.journals(ctx)
	if err != nil {
		return nil, err
	}
	for _, database := range left {
		text, err := c.journal(ctx, database)
		if err != nil {
			return nil, err
		}
		var j myJournal
		if json.Unmarshal([]byte(text), &j) == nil {
			databases = append(databases, j.Live)
		}
	}
	return databases, nil
}
