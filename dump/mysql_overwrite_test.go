package dump

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/caddy-backup/caddy-backup/backup"
	"github.com/caddy-backup/caddy-backup/dump/dumptest"
	"github.com/caddy-backup/caddy-backup/internal/realtest"
)

func testMySQLOverwrite(t *testing.T, my *realtest.MariaDB) {
	my.SQL(t, "", "CREATE DATABASE live")
	my.SQL(t, "live", myShop)
	m := mySource(t, my.DSN("live"))
	stored, dump := dumped(t, m)
	was := myState(t, my, "live")
	my.SQL(t, "live", "DELETE FROM sale WHERE id > 10; CREATE TABLE newer (a int); CREATE VIEW later AS SELECT 1; DROP PROCEDURE p; ALTER TABLE product ADD COLUMN more int")
	is := myState(t, my, "live")
	requireNothingBeside := func() {
		t.Helper()
		if left := my.SQL(t, "", "SHOW DATABASES LIKE 'caddy%'"); left != "" {
			t.Errorf("left behind: %s", left)
		}
	}
	if m.Live(stored) != "live" {
		t.Error(m.Live(stored))
	}
	for name, r := range map[string]io.Reader{
		"half a dump":     bytes.NewReader(dump[:len(dump)/2]),
		"nothing":         strings.NewReader(""),
		"a failing read":  io.MultiReader(bytes.NewReader(dump), iotest.ErrReader(errors.New("injected"))),
		"something else":  strings.NewReader("DROP TABLE nothing;\n-- Dump completed\n"),
		"the wrong words": strings.NewReader("USE live;\nDROP TABLE sale;\n-- Dump completed\n"),
	} {
		if err := m.Overwrite(t.Context(), stored, r, backup.Over{}, dumptest.Task(t)); err == nil || errors.Is(err, backup.ErrIncomplete) {
			t.Errorf("%s: %v", name, err)
		}
		requireNothingBeside()
	}
	samePgState(t, myState(t, my, "live"), is)
	testMySQLGoesBack(t, m, dump, "live")
	samePgState(t, myState(t, my, "live"), is)
	requireNothingBeside()

	if err := m.Ready(t.Context(), stored, backup.Over{}, dumptest.Task(t)); err != nil {
		t.Fatal(err)
	}
	if err := m.Overwrite(t.Context(), stored, bytes.NewReader(dump), backup.Over{}, dumptest.Task(t)); err != nil {
		t.Fatal(err)
	}
	samePgState(t, myState(t, my, "live"), was)
	requireNothingBeside()

	m.ExcludeTables = []string{"sale"} // of which there is no dump: it is not to be lost
	some, partial := dumped(t, m)
	if err := m.Overwrite(t.Context(), some, bytes.NewReader(partial), backup.Over{}, dumptest.Task(t)); err != nil {
		t.Fatal(err)
	}
	kept := strings.TrimSpace(my.SQL(t, "", "SHOW DATABASES LIKE 'caddy%'"))
	if kept == "" || my.Digests(t, kept)["sale"] != was["sale"] || my.Digests(t, "live")["sale"] != "" {
		t.Errorf("the table that is left out is gone: %q", kept)
	}
	my.SQL(t, "", "DROP DATABASE "+kept)
	m.ExcludeTables = nil

	stored.Facts.Engine = "MariaDB 99.1.0"
	if err := m.Ready(t.Context(), stored, backup.Over{}, dumptest.Task(t)); err == nil || !strings.Contains(err.Error(), "the server is older") {
		t.Error(err)
	}
	my.SQL(t, "", "DROP DATABASE live")
	testMySQLGoesBack(t, m, dump, "live")
	if left := my.SQL(t, "", "SHOW DATABASES LIKE 'live'"); left != "" {
		t.Error("what was lost is there again, and empty")
	}
	requireNothingBeside()
	stored.Facts.Engine = ""
	if err := m.Overwrite(t.Context(), stored, bytes.NewReader(dump), backup.Over{}, dumptest.Task(t)); err != nil {
		t.Fatal(err)
	}
	if got := my.Digests(t, "live"); got["sale"] != was["sale"] {
		t.Error(got)
	}
	my.SQL(t, "", "CREATE USER poor@'127.0.0.1' IDENTIFIED BY 'x'; GRANT ALL ON live.* TO poor@'127.0.0.1'")
	poor, grant := mySource(t, my.UserDSN("poor", "x", "live")), "GRANT ALL ON `caddy\\_backup\\_%`.* TO 'poor'@'127.0.0.1'"
	if err := poor.Ready(t.Context(), stored, backup.Over{}, dumptest.Task(t)); err == nil || !strings.Contains(err.Error(), grant) {
		t.Error(err)
	}
	at := backup.Scratch{Name: backup.ScratchPrefix + "20261122t010203z_abcd_01234566"}
	if _, err := poor.Drill(t.Context(), stored, bytes.NewReader(dump), at, dumptest.Task(t)); err == nil || !strings.Contains(err.Error(), grant) {
		t.Error(err)
	}
	my.SQL(t, "", grant)
	if _, err := poor.Drill(t.Context(), stored, bytes.NewReader(dump), at, dumptest.Task(t)); err == nil || !strings.Contains(err.Error(), "GRANT SET USER ON *.* TO 'poor'@'127.0.0.1'") {
		t.Error("with what it told to grant, but triggers of others: ", err)
	}
	my.SQL(t, "", "DROP DATABASE live")
}

// What fails behind the point of no return is undone.
func testMySQLGoesBack(t *testing.T, m *MySQL, dump []byte, live string) {
	s, err := newMyServer(m.dsn)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := s.connect(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	x := m.newSwitch(s, conn, live, false, dumptest.Task(t))
	x.tool, err = m.dumper(t.Context(), myVersion{mariadb: true})
	if err = errors.Join(err, conn.create(t.Context(), x.New, live, s)); err != nil {
		t.Fatal(err)
	}
	if err := x.fill(t.Context(), bytes.NewReader(dump)); err != nil {
		t.Fatal(err)
	}
	if err := x.prepare(t.Context()); err != nil {
		t.Fatal(err)
	}
	if x.Absent {
		if err := conn.create(t.Context(), live, x.New, s); err != nil {
			t.Fatal(err)
		}
	}
	x.After = []byte("CREATE VIEW fine AS SELECT 1 AS one;\nCREATE VIEW wrong AS SELECT * FROM nowhere;\n-- Dump completed\n")
	err = x.swap(t.Context())
	if err == nil {
		t.Fatal("no error")
	}
	if err := x.undo(err); errors.Is(err, backup.ErrIncomplete) || !strings.Contains(err.Error(), "nowhere") {
		t.Error(err)
	}
	if err := errors.Join(x.clean(false), x.conn.Close()); err != nil {
		t.Error(err)
	}
}
