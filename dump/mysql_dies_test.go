package dump

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/caddy-backup/caddy-backup/backup"
	"github.com/caddy-backup/caddy-backup/backup/backuptest"
	"github.com/caddy-backup/caddy-backup/dump/dumptest"
	"github.com/caddy-backup/caddy-backup/internal/realtest"
)

// myMortal is what a server may be killed with: all of it is as it was after that.
const myMortal = `
	CREATE TABLE product (id int PRIMARY KEY, name varchar(100) UNIQUE, data longtext) CHARSET utf8mb4;
	CREATE TABLE sale (id int PRIMARY KEY, product int, FOREIGN KEY (product) REFERENCES product (id));
	CREATE TABLE told (id int); CREATE VIEW cheap AS SELECT name FROM product;
	CREATE TRIGGER tells AFTER INSERT ON sale FOR EACH ROW INSERT INTO told VALUES (NEW.id);
	CREATE PROCEDURE p() SELECT 1; CREATE EVENT e ON SCHEDULE EVERY 1 DAY DO DELETE FROM told;
	INSERT INTO product SELECT seq, concat('product ', seq), repeat(md5(seq), 5) FROM seq_1_to_2000; INSERT INTO sale SELECT seq, seq FROM seq_1_to_300`

// dying is a source of which the server dies when half of the dump has been read.
type dying struct {
	*MySQL
	die func()
}

func (d dying) half(r io.Reader, size int64) io.Reader {
	return io.MultiReader(io.LimitReader(r, size/2), readerFunc(func([]byte) (int, error) { d.die(); return 0, io.EOF }), r)
}

func (d dying) Overwrite(ctx context.Context, s backup.Stored, r io.Reader, o backup.Over, t *backup.Task) error {
	return d.MySQL.Overwrite(ctx, s, d.half(r, s.Size), o, t)
}

// A server that is killed in the middle of a restore has lost nothing of the live database when it is back; the run says one thing,
// and the next backup is good and takes away what was left.
func testMySQLServerDies(t *testing.T, my *realtest.MariaDB, start func()) {
	my.SQL(t, "", "SET GLOBAL innodb_flush_log_at_trx_commit = 1; CREATE DATABASE mortal") // what was committed is there after a crash
	my.SQL(t, "mortal", myMortal)
	m := mySource(t, my.DSN("mortal"))
	told := new(post)
	e := backuptest.New(t, func(c *backup.Config) {
		c.Notifiers = []backup.NamedNotifier{{Name: "ops", Kind: "post", Notifier: told}}
		c.Jobs[0].Notify = []backup.Subscription{{Notifiers: []string{"ops"}, On: []backup.Event{backup.EventFailure}}}
		c.Jobs[0].Sources = []backup.NamedSource{{Name: "db", Kind: "mysql", Source: dying{m, my.Crash}}}
	})
	first := e.Backed(t, "shop")
	stored, dump := dumped(t, m)
	was := myState(t, my, "mortal")
	my.SQL(t, "mortal", "DELETE FROM sale WHERE id > 10; DROP PROCEDURE p; CREATE VIEW later AS SELECT 1")
	is := myState(t, my, "mortal")
	restart := func() {
		t.Helper()
		start()
		my.SQL(t, "", "SET GLOBAL innodb_flush_log_at_trx_commit = 1")
	}
	nothingLeft := func() {
		t.Helper()
		if left := my.SQL(t, "", "SHOW DATABASES LIKE 'caddy%'"); left != "" {
			t.Errorf("left behind: %s", left)
		}
	}

	run, err := e.Restore(t.Context(), "alice", backup.RestoreRequest{Snapshot: first.ID, Path: "db.sql", Overwrite: true, Confirm: "mortal"})
	if err != nil {
		t.Fatal(err)
	}
	run = e.Wait(t, run.ID)
	t.Log(run.Error)
	if run.State != backup.StateFailed || run.Safety == "" || !strings.Contains(run.Error, "as it was before") || strings.Contains(run.Error, my.Password) {
		t.Errorf("%s: %s; safety snapshot %s, undo %s", run.State, run.Error, run.Safety, run.Undo)
	}
	restart()
	samePgState(t, myState(t, my, "mortal"), is)
	e.Backed(t, "shop")
	nothingLeft()
	if mail := told.wait(); len(mail) > 0 && mail[0].Run != run.ID || len(mail) > 1 {
		t.Errorf("told: %+v", mail)
	}
	testMySQLDiesInSwitch(t, my, m, dump, restart)
	samePgState(t, myState(t, my, "mortal"), is)
	nothingLeft()
	if !realtest.Soak() {
		return
	}
	t.Run("new", func(t *testing.T) {
		in := dying{m, my.Crash}.half(bytes.NewReader(dump), stored.Size)
		if err := m.Restore(t.Context(), stored.Part, in, "newborn", dumptest.Task(t)); err == nil || !strings.Contains(err.Error(), "newborn is left behind") {
			t.Error(err)
		}
		restart()
		e.Backed(t, "shop")
		if err := m.Restore(t.Context(), stored.Part, bytes.NewReader(dump), "newborn", dumptest.Task(t)); err != nil {
			t.Error(err)
		}
		if got := my.Digests(t, "newborn"); got["sale"] != was["sale"] {
			t.Error(got)
		}
		my.SQL(t, "", "DROP DATABASE newborn")
	})
	for i := range 8 { // at any moment from the journal to the end
		var err error
		over := make(chan struct{})
		go func() {
			defer close(over)
			err = m.Overwrite(t.Context(), stored, bytes.NewReader(dump), backup.Over{}, dumptest.Task(t))
		}()
		awaitJournal(t, my, over)
		time.Sleep(time.Duration(i) * 20 * time.Millisecond)
		my.Crash()
		restart()
		<-over
		if _, failed := m.Dump(t.Context(), stored.Part, io.Discard, dumptest.Task(t)); failed != nil {
			t.Fatal("the next backup: ", failed)
		}
		nothingLeft()
		got := myState(t, my, "mortal")
		switch {
		case got["sale"] == was["sale"]:
			t.Logf("%d: restored, %v", i, err)
			samePgState(t, got, was)
			my.SQL(t, "mortal", "DELETE FROM sale WHERE id > 10; DROP PROCEDURE p; CREATE VIEW later AS SELECT 1")
		case err == nil:
			t.Error("it is said to be restored, and is not")
		default:
			t.Logf("%d: as before, %v", i, err)
			samePgState(t, got, is)
		}
		is = myState(t, my, "mortal")
	}
}

// awaitJournal waits until a restore has written its journal, or is over.
func awaitJournal(t *testing.T, my *realtest.MariaDB, over <-chan struct{}) {
	for {
		there, _ := my.TrySQL(t.Context(), "", "SELECT 1 FROM information_schema.tables WHERE table_name = '"+journalTable+"'")
		select {
		case <-over:
			return
		default:
			if there != "" {
				return
			}
		}
	}
}

// A server that dies in the middle of a switch and is back soon finds all as it was before.
func testMySQLDiesInSwitch(t *testing.T, my *realtest.MariaDB, m *MySQL, dump []byte, restart func()) {
	s, err := newMyServer(m.dsn)
	if err != nil {
		t.Fatal(err)
	}
	conn, server, err := s.session(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	x := m.newSwitch(s, conn, "mortal", false, dumptest.Task(t))
	x.tool, err = m.dumper(t.Context(), server)
	if err = errors.Join(err, x.hold(t.Context(), 0), conn.create(t.Context(), x.New, "mortal", s)); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(x.fill(t.Context(), bytes.NewReader(dump)), x.prepare(t.Context()), x.set(t.Context()), x.strip(t.Context(), x.Live)); err != nil {
		t.Fatal(err)
	}
	my.Crash()
	undone := make(chan error, 1)
	go func() { undone <- x.undo(x.swap(t.Context())) }()
	restart()
	if err := <-undone; errors.Is(err, backup.ErrIncomplete) {
		t.Error(err)
	}
	if err := errors.Join(x.clean(false), x.conn.Close()); err != nil {
		t.Error(err)
	}
}
