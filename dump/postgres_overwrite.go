package dump

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/caddy-backup/caddy-backup/backup"
)

// Live is the name of the database. Roles and tablespaces are never replaced, but what is missing of them is made: so all
// parts of a snapshot can go back together.
func (p *Postgres) Live(s backup.Stored) string {
	if p.meaning(s.Part).globals {
		return "roles and tablespaces"
	}
	db, err := p.database(s.Part)
	if err != nil {
		return "a database that the dsn does not tell" // Ready and Overwrite say why
	}
	return db.name
}

// Overwrite restores into a new database beside the live one, and then has them change their names, in one transaction.
// So the new one holds what is in the dump and nothing else, the live one can be used meanwhile, and until that moment
// nothing happens to it, not even when we are killed. What is set for the database itself, its owner, grants and
// settings, is carried over. The live one is kept aside when it may hold what is in no dump.
func (p *Postgres) Overwrite(ctx context.Context, s backup.Stored, r io.Reader, o backup.Over, t *backup.Task) (err error) {
	db, err := p.overwritable(s)
	if err != nil {
		return err
	}
	dump, err := openDump(r)
	if err != nil {
		return err
	}
	if dump.roles != p.meaning(s.Part).globals {
		return fmt.Errorf("%w: the dump of a database and one of roles cannot take each other's place", backup.ErrInvalid)
	}
	if dump.roles {
		return p.restoreGlobals(ctx, db, dump, placeServer, t)
	}
	b, err := db.beginFrom(ctx, db.connectBeside, newBuildName(), t)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.close()) }()
	if err := b.fill(ctx, p, dump, t); err != nil {
		return db.explain("restore beside the live one", err)
	}
	there, err := b.exists(ctx, db.name)
	if err != nil {
		return err
	}
	if !there {
		err := errors.Join(b.bringBack(ctx, dump.contents, t), b.tellSubscriptions(ctx, t))
		if err != nil {
			return err
		}
		return b.rename(ctx, db.name)
	}
	if !o.Force {
		if err := db.unused(ctx, b.conn); err != nil { // somebody may have come meanwhile
			return err
		}
	}
	if err := b.carryOver(ctx, t); err != nil {
		return db.explain("carrying over what is set for it", err)
	}
	if p.leavesOut() {
		t.Log.Warn("the source leaves out schemas, tables or rows, which no snapshot holds, so the old database stays")
		o.Aside = true
	}
	return b.replace(ctx, o, t)
}

// leavesOut reports whether there may be something in the live database that is in no dump.
func (p *Postgres) leavesOut() bool {
	return len(p.Schemas)+len(p.Tables)+len(p.ExcludeSchemas)+len(p.ExcludeTables)+len(p.ExcludeTableData) > 0
}

// replace has the live database and the new one change their names. Once begun, that is not cancelled.
func (b *building) replace(ctx context.Context, o backup.Over, t *backup.Task) error {
	if err := context.Cause(ctx); err != nil {
		return err
	}
	live, old := b.db.name, newBuildName() // a later restore drops it, should we be killed before we do
	if o.Aside {
		old = asideName(live, time.Now())
	}
	bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
	defer cancel()
	ended := func() int { return 0 }
	if o.Force {
		ended = b.disconnect(bounded, live, t)
	}
	err := b.conn.Exec(bounded, "BEGIN; ALTER DATABASE "+quoteName(live)+" RENAME TO "+quoteName(old)+
		"; ALTER DATABASE "+quoteName(b.name)+" RENAME TO "+quoteName(live)+"; COMMIT").Close()
	sessions := ended()
	if err != nil {
		if err = b.replaced(old, err); err != nil {
			return err
		}
	}
	b.made = false
	if sessions > 0 {
		t.Log.Warn(fmt.Sprintf("%d sessions of the live database were ended: what they wrote since the safety snapshot is in no snapshot", sessions))
	}
	b.retire(bounded, old, o.Aside, t)
	if o.Aside {
		t.Log.Warn(fmt.Sprintf("the old database is kept as %s; drop it when nobody misses it", old))
	} else if err := b.db.drop(b.maintenance, old); err != nil {
		t.Log.Warn("the live database was replaced, but the old one is still there", "error", err)
	}
	return nil
}

// replaced finds out what became of a change of names that ended in an error, which may be that of a connection that
// broke behind the commit.
func (b *building) replaced(old string, err error) error {
	var pg *pgconn.PgError
	if errors.As(err, &pg) && pg.Code == "55006" { // object_in_use
		return fmt.Errorf("%w: database %s on %s is in use: %s", backup.ErrConflict, b.db.name, b.db.place, pg.Detail)
	}
	if errors.As(err, &pg) {
		return b.db.explain("replacing", err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	conn, _, lookErr := b.db.connectAny(ctx)
	if lookErr != nil {
		b.made = false // it may be the live one
		return fmt.Errorf("%w: the connection broke while databases %s and %s changed names, and nobody knows whether they did: "+
			"when there is a database %s on %s, they did (%w)", backup.ErrIncomplete, b.db.name, b.name, old, b.db.place, err)
	}
	defer closePg(conn)
	found, lookErr := pgValue(ctx, conn, "SELECT 1 FROM pg_database WHERE datname = $1", old)
	if lookErr == nil && found != "" {
		return nil
	}
	return errors.Join(b.db.explain("replacing", err), lookErr)
}

// disconnect ends everybody's session in a database, again and again until the returned func is called, which tells how many there
// were. While a database is being renamed nobody new gets in, but that waits for those who are there. Whoever comes to the one
// that gets the name afterwards is left alone.
func (b *building) disconnect(ctx context.Context, name string, t *backup.Task) (end func() int) {
	oid, err := pgValue(ctx, b.conn, "SELECT oid FROM pg_catalog.pg_database WHERE datname = $1", name)
	stop := make(chan struct{})
	done, sessions := make(chan struct{}), map[string]bool{} // by process: one may take its time to end
	go func() {
		defer close(done)
		if err == nil && oid != "" {
			err = b.endSessions(ctx, oid, stop, sessions)
		}
		if err != nil {
			t.Log.Warn("cannot disconnect those who use the database", "error", err)
		}
	}()
	return func() int { close(stop); <-done; return len(sessions) }
}

func (b *building) endSessions(ctx context.Context, oid string, stop <-chan struct{}, sessions map[string]bool) error {
	conn, err := b.db.connect(ctx, b.maintenance)
	if err != nil {
		return err
	}
	defer closePg(conn)
	for {
		pids, err := pgColumn(ctx, conn, "SELECT pid, pg_terminate_backend(pid) FROM pg_catalog.pg_stat_activity a WHERE datid = "+oid+" AND "+inTheWay)
		for _, pid := range pids {
			sessions[pid] = true
		}
		if err != nil {
			return err
		}
		select {
		case <-stop:
			return nil
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// asideName is the name under which an old database is kept.
func asideName(live string, now time.Time) string {
	suffix := now.UTC().Format("_before_restore_20060102t150405z")
	return strings.ToValidUTF8(live[:min(len(live), maxNameBytes-len(suffix))], "") + suffix
}

var _ backup.Overwriter = (*Postgres)(nil)
