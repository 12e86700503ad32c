package dump

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/caddy-backup/caddy-backup/backup"
	"github.com/caddy-backup/caddy-backup/dump/dumptest"
	"github.com/caddy-backup/caddy-backup/internal/realtest"
)

// overwriteMySQL restores over a live database in a process of its own, says "ready" where it is to be killed, and waits for that:
// when so many hundredths of the dump were read, or behind a step of the switch.
func overwriteMySQL(path string) {
	dump, err := os.ReadFile(path)
	exitOn(err)
	m := &MySQL{DSN: "{env.DUMP_TEST_DSN}"}
	exitOn(provision(m))
	ready := func() {
		fmt.Println("ready")
		time.Sleep(time.Minute) // until killed
	}
	step := os.Getenv("DUMP_TEST_STEP")
	t, ctx := dumptest.Task(&testing.T{}), context.Background()
	if percent, err := strconv.Atoi(strings.TrimPrefix(step, "new ")); err == nil {
		hang := readerFunc(func([]byte) (int, error) { ready(); return 0, io.EOF })
		some := io.MultiReader(bytes.NewReader(dump[:len(dump)*percent/100]), hang)
		if strings.HasPrefix(step, "new ") {
			exitOn(m.Restore(ctx, backup.Part{}, some, "halved", t))
		}
		exitOn(m.Overwrite(ctx, backup.Stored{Part: backup.Part{Name: "db.sql"}}, some, backup.Over{}, t))
	}
	s, err := newMyServer(m.dsn)
	exitOn(err)
	conn, server, err := s.session(ctx, "")
	exitOn(err)
	x := m.newSwitch(s, conn, s.database, strings.HasSuffix(step, "kept"), t)
	x.tool, err = m.dumper(ctx, server)
	exitOn(errors.Join(err, x.hold(ctx, 0), conn.create(ctx, x.New, x.Live, s)))
	exitOn(x.fill(ctx, bytes.NewReader(dump)))
	exitOn(errors.Join(x.prepare(ctx), x.set(ctx)))
	half := len(x.Tables) / 2
	for _, name := range strings.Fields(step) {
		switch name {
		case "made": // of a live one that was lost
			exitOn(conn.create(ctx, x.Live, x.New, s))
		case "stripped":
			exitOn(errors.Join(x.strip(ctx, x.Live), x.strip(ctx, x.New)))
		case "half": // as a server that died in the midst may leave it
			exitOn(x.rename(ctx, append(moves(x.Tables[:half], x.Live, x.Old), moves(x.Fresh[:1], x.New, x.Live)...)))
		case "moved":
			exitOn(x.rename(ctx, append(moves(x.Tables, x.Live, x.Old), moves(x.Fresh, x.New, x.Live)...)))
		case "defined":
			exitOn(x.define(ctx, x.Live, x.After, nil))
		case "dropping": // as a server that died in the midst may leave it
			exitOn(s.dropJournal(x.Old))
			exitOn(s.tidy("DROP TABLE " + quoteMyName(x.Old) + "." + quoteMyName(x.Tables[0])))
		}
	}
	ready()
}

// killRestoring kills a process in a step of a restore, and waits until the server has seen that: it holds the locks of that process.
func killRestoring(t *testing.T, my *realtest.MariaDB, file, step string) {
	t.Helper()
	before := strings.TrimSpace(my.SQL(t, "", "SELECT connection_id()"))
	killWhenReady(t, "overwriteMySQL", file, step)
	eventually(t, my, "", "SELECT count(*) FROM information_schema.processlist WHERE id <> connection_id() AND user = 'root' AND id > "+before, "0")
}

// A restore that is killed with SIGKILL, at any point, leaves the live database as it was, or the next run of the source brings to
// an end what was begun; and it takes away what is left.
func testMySQLKilledOverwrite(t *testing.T, my *realtest.MariaDB) {
	my.SQL(t, "", "CREATE DATABASE killed")
	my.SQL(t, "killed", myShop)
	m := mySource(t, my.DSN("killed"))
	stored, dump := dumped(t, m)
	was := myState(t, my, "killed")
	change := "DELETE FROM sale WHERE id > 10; CREATE TABLE newer (a int); CREATE VIEW later AS SELECT 1; DROP PROCEDURE p; CREATE PROCEDURE q() SELECT 1"
	my.SQL(t, "killed", change)
	is := myState(t, my, "killed")
	file := filepath.Join(t.TempDir(), "db.sql")
	if err := os.WriteFile(file, dump, 0o600); err != nil {
		t.Fatal(err)
	}
	left := func() string { return my.SQL(t, "", "SHOW DATABASES LIKE 'caddy%'") }
	for _, c := range []struct {
		step     string
		restored bool // by the next run
		often    bool // tried in short runs too
	}{
		{"10", false, false}, {"50", false, false}, {"90", false, true}, {"prepared", false, false}, {"stripped", false, false}, {"stripped half", false, true},
		{"stripped moved", true, true}, {"stripped moved defined", true, false}, {"stripped moved kept", true, false},
		{"stripped moved defined dropping", true, false},
	} {
		if !c.often && !realtest.Soak() {
			continue
		}
		t.Run(c.step, func(t *testing.T) {
			sweep := func() {
				if err := m.SweepDrills(t.Context(), func(string) bool { return false }, dumptest.Task(t)); err != nil {
					t.Fatal(err)
				}
			}
			killRestoring(t, my, file, "DUMP_TEST_STEP="+c.step)
			if len(c.step) == 2 { // nothing was touched, and a dump does not mind
				samePgState(t, myState(t, my, "killed"), is)
			}
			sweep() // a drill comes first, and takes nothing away that is still needed
			if told := fmt.Sprint(m.Examine(t.Context(), dumptest.Task(t))); strings.Contains(told, "was killed: killed;") != (len(c.step) != 2 && !strings.HasSuffix(c.step, "dropping")) {
				t.Error(told)
			}
			if _, err := m.Dump(t.Context(), stored.Part, io.Discard, dumptest.Task(t)); err != nil {
				t.Fatal(err)
			}
			want := is
			if c.restored {
				want = was
			}
			samePgState(t, myState(t, my, "killed"), want)
			sweep()
			switch names := left(); {
			case strings.HasSuffix(c.step, "kept") && strings.HasPrefix(names, besidePrefix+"kept_"):
				if got := my.Digests(t, strings.TrimSpace(names)); got["sale"] != is["sale"] || len(got) != 6 {
					t.Errorf("kept is %v", got)
				}
				my.SQL(t, "", "DROP DATABASE "+names)
			case names != "":
				t.Errorf("left behind: %s", names)
			}
			if c.restored {
				my.SQL(t, "killed", change)
				is = myState(t, my, "killed")
			}
		})
	}
	if realtest.Soak() {
		my.SQL(t, "", "DROP DATABASE killed")
		killRestoring(t, my, file, "DUMP_TEST_STEP=made")
		if _, err := m.Dump(t.Context(), stored.Part, io.Discard, dumptest.Task(t)); err == nil || !strings.Contains(err.Error(), "there is no database killed") || myExists(t, my, "killed") {
			t.Errorf("of a database that is lost: %v", err)
		}
	}
	if err := m.Overwrite(t.Context(), stored, bytes.NewReader(dump), backup.Over{}, dumptest.Task(t)); err != nil {
		t.Fatal(err)
	}
	samePgState(t, myState(t, my, "killed"), was)
	for _, percent := range []string{"10", "60", "90"} {
		if percent == "60" || realtest.Soak() {
			t.Run("new "+percent, func(t *testing.T) { testMySQLHalved(t, my, percent, file, stored, dump, was) })
		}
	}
	my.SQL(t, "", "DROP DATABASE killed")
}

// What a restore into a new database leaves half filled when it is killed is no database that is backed up, and no hindrance.
func testMySQLHalved(t *testing.T, my *realtest.MariaDB, percent, file string, stored backup.Stored, dump []byte, want map[string]string) {
	m := mySource(t, my.DSN("killed"))
	killRestoring(t, my, file, "DUMP_TEST_STEP=new "+percent)
	half := mySource(t, my.DSN("halved"))
	_, err := half.Dump(t.Context(), backup.Part{}, io.Discard, dumptest.Task(t))
	if told := fmt.Sprint(half.Examine(t.Context(), dumptest.Task(t))); err == nil || !strings.Contains(err.Error(), "only half restored") || !strings.Contains(told, "only half restored") {
		t.Errorf("%v; %s", err, told)
	}
	meanwhile := io.MultiReader(bytes.NewReader(dump[:len(dump)/2]), readerFunc(func([]byte) (int, error) {
		if err := m.Restore(t.Context(), stored.Part, bytes.NewReader(dump), "halved", dumptest.Task(t)); !errors.Is(err, backup.ErrConflict) {
			t.Errorf("a second restore at once: %v", err)
		}
		return 0, io.EOF
	}), bytes.NewReader(dump[len(dump)/2:]))
	if err := m.Restore(t.Context(), stored.Part, meanwhile, "halved", dumptest.Task(t)); err != nil {
		t.Fatal(err)
	}
	for table, is := range my.Digests(t, "halved") {
		if is != want[table] {
			t.Errorf("%s: %s, want %s", table, is, want[table])
		}
	}
	if _, err := half.Dump(t.Context(), backup.Part{}, io.Discard, dumptest.Task(t)); err != nil {
		t.Error(err)
	}
	my.SQL(t, "", "DROP DATABASE halved")
}

// A server that only follows another one has the databases of a restore that goes on there: nothing is done to them.
func testMySQLFollows(t *testing.T, my *realtest.MariaDB) {
	m := mySource(t, my.DSN("followed"))
	ours := []string{besidePrefix + "old_0123456789ab", besidePrefix + "new_0123456789ab", besidePrefix + "new_ba9876543210"}
	my.SQL(t, "", "CREATE DATABASE followed; CREATE DATABASE "+strings.Join(ours, "; CREATE DATABASE "))
	my.SQL(t, ours[0], "CREATE TABLE a (a int); CREATE TABLE "+journalTable+" (journal longblob); INSERT INTO "+journalTable+" VALUES ('')")
	journal := func(live string) {
		text, err := json.Marshal(myJournal{Live: live, Old: ours[0], New: ours[1], Tables: []string{"a"}, Before: []byte(lastComment + "\n")})
		if err != nil {
			t.Fatal(err)
		}
		my.SQL(t, ours[0], fmt.Sprintf("UPDATE %s SET journal = '%s'", journalTable, text))
	}
	dump := func() error {
		if err := m.SweepDrills(t.Context(), func(string) bool { return false }, dumptest.Task(t)); err != nil {
			t.Error(err)
		}
		_, err := m.Dump(t.Context(), backup.Part{}, io.Discard, dumptest.Task(t))
		return err
	}
	my.SQL(t, "", "SET GLOBAL read_only = 1")
	defer my.SQL(t, "", "SET GLOBAL read_only = 0")
	journal("another")
	if err := dump(); err != nil {
		t.Error(err)
	}
	journal("followed")
	if err := dump(); !errors.Is(err, backup.ErrConflict) || !strings.Contains(err.Error(), "follows") {
		t.Error(err)
	}
	for _, name := range ours {
		if !myExists(t, my, name) {
			t.Errorf("database %s is gone", name)
		}
	}
	my.SQL(t, "", "SET GLOBAL read_only = 0")
	if err := dump(); err != nil || my.SQL(t, "followed", "SHOW TABLES") != "a\n" {
		t.Error(err)
	}
	for _, name := range ours {
		if myExists(t, my, name) {
			t.Errorf("database %s is left", name)
		}
	}
	my.SQL(t, "", "DROP DATABASE followed")
}

// Tables of other databases that refer to the live ones would go with the old ones: that is told before anything is done.
func testMySQLForeignKeys(t *testing.T, my *realtest.MariaDB) {
	my.SQL(t, "", "CREATE DATABASE referred; CREATE DATABASE refers; CREATE TABLE referred.a (id int PRIMARY KEY); "+
		"CREATE TABLE refers.b (id int, CONSTRAINT `to a` FOREIGN KEY (id) REFERENCES referred.a (id)); CREATE TABLE referred.c (id int, FOREIGN KEY (id) REFERENCES a (id))")
	m := mySource(t, my.DSN("referred"))
	stored, dump := dumped(t, m)
	before := my.SQL(t, "refers", "SHOW CREATE TABLE b")
	for _, err := range []error{
		m.Ready(t.Context(), stored, backup.Over{}, dumptest.Task(t)),
		m.Overwrite(t.Context(), stored, bytes.NewReader(dump), backup.Over{}, dumptest.Task(t)),
	} {
		if !errors.Is(err, backup.ErrConflict) || !strings.Contains(err.Error(), "refers.b (to a)") {
			t.Errorf("error = %v", err)
		}
	}
	if got := my.SQL(t, "refers", "SHOW CREATE TABLE b"); got != before {
		t.Error(got)
	}
	my.SQL(t, "", "DROP DATABASE refers")
	if err := m.Overwrite(t.Context(), stored, bytes.NewReader(dump), backup.Over{}, dumptest.Task(t)); err != nil {
		t.Error(err)
	}
	if got := my.SQL(t, "referred", "SHOW CREATE TABLE c"); !strings.Contains(got, "REFERENCES `a`") {
		t.Error(got)
	}
	my.SQL(t, "", "DROP DATABASE referred")
}
