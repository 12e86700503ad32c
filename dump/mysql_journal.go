package dump

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/caddy-backup/caddy-backup/backup"
)

// besidePrefix begins the names of the databases that a restore over a live one makes for the time being: …new_0123456789ab is
// built, …old_0123456789ab gets the old tables, or …kept_0123456789ab, which stays. While it lasts, a connection holds a lock of
// that number.
const besidePrefix = "caddy_backup_restore_"

// myBuilding is a name that nobody needs when nobody holds its lock.
var myBuilding = regexp.MustCompile("^" + besidePrefix + "(?:new|old)_[0-9a-f]{12}$")

// journalTable, in the database for the old tables, says from the first change to the live one to the last what has to be done
// if we are killed.
const journalTable = "caddy_backup_restore_journal"

// switchPatience is how long others wait for somebody who is at it, or for the server to notice that nobody is.
const switchPatience = 10 * time.Second

// myJournal is what it says.
type myJournal struct {
	Live, New, Old string   // databases
	Keep           bool     // the old tables
	Absent         bool     // there was no live database
	Tables, Fresh  []string // names of the live tables, and of the new ones
	Before, After  []byte   // definitions of what is no table
	Events         []string // that run in what was dumped
}

func (m *MySQL) newSwitch(s *myServer, conn *myConn, live string, keep bool, t *backup.Task) *mySwitch {
	random := make([]byte, 6)
	rand.Read(random) // never fails
	number, old := hex.EncodeToString(random), "old_"
	if keep {
		old = "kept_"
	}
	return &mySwitch{source: m, s: s, conn: conn, t: t, myJournal: myJournal{
		Live: live, New: besidePrefix + "new_" + number, Old: besidePrefix + old + number, Keep: keep}}
}

// lockOf is the name of the lock of one of our databases.
func lockOf(database string) string {
	return "caddy_backup_" + database[strings.LastIndexByte(database, '_')+1:]
}

// holdTime is when a server gives a lock back of which the connection is silent, as one is on whose way nobody forwards anything
// any more; in seconds, more than switchTime. Those of ours that wait are asked by pulse.
const holdTime = 20 * 60

// take takes the lock of one of our databases, which goes with the connection, and reports whether it got it.
func (c *myConn) take(ctx context.Context, database string, patience time.Duration) (bool, error) {
	if _, err := c.ExecContext(ctx, fmt.Sprintf("SET wait_timeout = %d", holdTime)); err != nil {
		return false, err
	}
	got, err := c.value(ctx, "SELECT GET_LOCK(?, ?)", lockOf(database), int(patience.Seconds()))
	return got == "1", err
}

// holder says who has a lock, behind a message.
func (c *myConn) holder(ctx context.Context, database string) string {
	id, err := c.value(ctx, "SELECT IS_USED_LOCK(?)", lockOf(database))
	if err != nil || id == "" {
		return ""
	}
	return fmt.Sprintf(", over connection %s of the server; if that is left over from a broken network, wait %d minutes, or KILL %s", id, holdTime/60, id)
}

// hold takes the lock of a switch.
func (x *mySwitch) hold(ctx context.Context, patience time.Duration) error {
	got, err := x.conn.take(ctx, x.New, patience)
	if err == nil && !got {
		err = fmt.Errorf("%w: somebody else is at work at database %s", backup.ErrConflict, x.New)
	}
	return err
}

// write writes the journal down, durably as the server commits.
func (x *mySwitch) write(ctx context.Context) error {
	text, err := json.Marshal(x.myJournal)
	if err != nil {
		return err
	}
	table := quoteMyName(x.Old) + "." + journalTable
	if _, err := x.conn.ExecContext(ctx, "CREATE TABLE "+table+" (journal longblob NOT NULL) ENGINE=InnoDB"); err != nil {
		return err
	}
	_, err = x.conn.ExecContext(ctx, "INSERT INTO "+table+" VALUES (?)", text)
	return err
}

// clean removes what is not needed any more; done: the tables were switched. The journal goes first, by itself: a server that dies
// while it drops a database leaves half of the tables, and beside a journal that would look like a switch that has to go back.
func (x *mySwitch) clean(done bool) error {
	if err := x.s.dropJournal(x.Old); err != nil {
		return err
	}
	if done && x.Keep {
		return x.s.drop(x.New)
	}
	return errors.Join(x.s.drop(x.Old), x.s.drop(x.New))
}

// dropJournal takes a journal away, also when the run was cancelled.
func (s *myServer) dropJournal(database string) error {
	if err := s.tidy("DROP TABLE IF EXISTS " + quoteMyName(database) + "." + journalTable); err != nil {
		return fmt.Errorf("what a restore has made for the time being is left behind on %s; the next backup looks after it (%w)", s.place(), err)
	}
	return nil
}

// mend brings switches to an end in which we were killed: forward when the tables have changed places, else back, and drops what
// other restores have left. It is an error when that cannot be: a database of which half is gone is not to be dumped as if it were
// whole.
func (m *MySQL) mend(ctx context.Context, s *myServer, conn *myConn, database string, t *backup.Task) error {
	if follows, err := conn.follows(ctx); err != nil || follows {
		return errors.Join(err, conn.settled(ctx, database))
	}
	left, err := conn.journals(ctx)
	if err != nil {
		return fmt.Errorf("looking for restores that were killed: %w", err)
	}
	for _, database := range left {
		if err := m.mendOne(ctx, s, database, t); err != nil {
			return fmt.Errorf("a restore was ended in its midst, and what is to be done stands in table %s.%s: %w", database, journalTable, err)
		}
	}
	s.sweep(ctx, conn, t)
	return nil
}

// follows reports whether a server only follows another one. The databases of a restore there are seen here too, but not its locks;
// and what would be changed here would keep this one from following.
func (c *myConn) follows(ctx context.Context) (bool, error) {
	readOnly, err := c.value(ctx, "SELECT @@read_only")
	return err == nil && readOnly != "0" && readOnly != "OFF", err
}

// settled refuses a database of which a switch has not come to its end.
func (c *myConn) settled(ctx context.Context, database string) error {
	switched, err := c.killed(ctx)
	if err == nil && slices.Contains(switched, database) {
		err = fmt.Errorf("%w: a restore over database %s goes on, or was killed, on the server that this one follows: the next backup of it there "+
			"brings it to an end", backup.ErrConflict, database)
	}
	return err
}

// journals are the databases with journals.
func (c *myConn) journals(ctx context.Context) ([]string, error) {
	return c.list(ctx, "SELECT table_schema FROM information_schema.tables WHERE table_name = ? AND left(table_schema, ?) = ?",
		journalTable, len(besidePrefix), besidePrefix)
}

// journal is the text of the one in a database; "" when nothing was written yet.
func (c *myConn) journal(ctx context.Context, database string) (string, error) {
	return c.value(ctx, "SELECT journal FROM "+quoteMyName(database)+"."+journalTable)
}

func (m *MySQL) mendOne(ctx context.Context, s *myServer, database string, t *backup.Task) error {
	conn, err := s.connect(ctx, "")
	if err != nil {
		return err
	}
	x := &mySwitch{source: m, s: s, conn: conn, t: t}
	defer func() { x.conn.Close() }()
	if got, err := conn.take(ctx, database, switchPatience); err != nil || !got {
		return errors.Join(err, fmt.Errorf("%w: a restore over a live database goes on right now%s", backup.ErrConflict, conn.holder(ctx, database)))
	}
	text, err := conn.journal(ctx, database)
	if err != nil || text == "" { // it was killed before it had written
		return errors.Join(err, s.drop(database))
	}
	if err := json.Unmarshal([]byte(text), &x.myJournal); err != nil || x.Old != database || !myBuilding.MatchString(x.New) {
		return fmt.Errorf("%w: it cannot be read: %w", backup.ErrInvalid, err)
	}
	bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), switchTime)
	defer cancel()
	done, err := x.moved(bounded)
	if err == nil && done {
		if err := x.forward(bounded); err != nil {
			done = false
			t.Log.Warn("what a killed restore has left to do failed; going back", "database", x.Live, "error", err)
		}
	}
	if err == nil && !done {
		err = x.back(bounded)
	}
	if err != nil {
		return fmt.Errorf("%w: database %s: %w", backup.ErrIncomplete, x.Live, x.conn.withRight(ctx, err))
	}
	t.Log.Warn("brought a restore to an end that was killed in its midst", "database", x.Live, "restored", done)
	return x.clean(done)
}

// sweep drops what killed restores have left behind: nobody holds its lock, and no journal says that the live database waits for it.
func (s *myServer) sweep(ctx context.Context, conn *myConn, t *backup.Task) {
	follows, err := conn.follows(ctx)
	if follows {
		return
	}
	left, listErr := conn.list(ctx, "SELECT schema_name FROM information_schema.schemata WHERE left(schema_name, ?) = ?", len(besidePrefix), besidePrefix)
	if err = errors.Join(err, listErr); err != nil {
		t.Log.Warn("cannot look for what killed restores left behind", "error", err)
		return
	}
	for _, name := range left {
		if !myBuilding.MatchString(name) {
			continue
		}
		if err := s.sweepOne(ctx, name, t); err != nil {
			t.Log.Warn("cannot drop what a killed restore left behind", "database", name, "error", err)
		}
	}
}

func (s *myServer) sweepOne(ctx context.Context, name string, t *backup.Task) error {
	conn, err := s.connect(ctx, "") // its end gives the lock back
	if err != nil {
		return err
	}
	defer conn.Close()
	if got, err := conn.take(ctx, name, time.Second); err != nil || !got {
		return err
	}
	journals, err := conn.journals(ctx)
	if err != nil || slices.ContainsFunc(journals, func(journal string) bool { return lockOf(journal) == lockOf(name) }) {
		return err // it is for mend: the tables of the live one may be in it
	}
	t.Log.Info("dropping what a killed restore left behind", "database", name)
	return s.drop(name)
}

// space compares what a restore needs with what is free, where we can see that: the server's folder is on this machine when we
// talk to it through a socket.
func (s *myServer) space(ctx context.Context, conn *myConn, dumped int64) error {
	if s.socket == "" {
		return nil
	}
	folder, err := conn.value(ctx, "SELECT @@datadir")
	if err != nil || !isThere(folder) {
		return nil
	}
	return backup.RequireSpace(folder, dumped)
}
