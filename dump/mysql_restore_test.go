package dump

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/caddy-backup/caddy-backup/backup"
	"github.com/caddy-backup/caddy-backup/dump/dumptest"
	"github.com/caddy-backup/caddy-backup/internal/realtest"
)

// A dump from who knows where runs no program, reads no file, and turns to no other database.
func testMySQLHostile(t *testing.T, my *realtest.MariaDB) {
	m := mySource(t, my.DSN("the shop"))
	for script, want := range map[string]string{
		"\\! touch x\n-- Dump completed\n":                                      "not SQL",
		"SET NAMES utf8mb4;\nsystem touch x;\n-- Dump completed\n":              "not SQL",
		"source /etc/passwd;\n":                                                 "not SQL",
		"USE `the shop`;\nDROP TABLE product;\n":                                "several databases",
		"/*!50003 use `the shop`*/;\n":                                          "several databases",
		"CREATE TABLE a (b int);\nCREATE TABLE a (b int);\n-- Dump completed\n": "statement 2, at line 2",
		"CREATE TABLE a (b int);\n":                                             "cut off",
	} {
		err := m.Restore(t.Context(), backup.Part{}, strings.NewReader(script), "hostile", dumptest.Task(t))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", script, err, want)
		}
		if myExists(t, my, "hostile") {
			t.Fatalf("%q left a database behind", script)
		}
	}
}

func testMySQLFixture(t *testing.T, my *realtest.MariaDB) {
	path, ok := realtest.Shared(t, "fixtures/data/Chinook_MySql.sql")
	if !ok {
		t.Log("without Chinook: the shared fixtures are not here")
		return
	}
	my.LoadFile(t, "", path)
	var b bytes.Buffer
	m := mySource(t, my.DSN("Chinook"))
	if _, err := m.Dump(t.Context(), backup.Part{}, &b, dumptest.Task(t)); err != nil {
		t.Fatal(err)
	}
	want := myState(t, my, "Chinook")
	my.SQL(t, "", "DROP DATABASE Chinook") // the day on which backups are for
	if err := m.Restore(t.Context(), backup.Part{}, &b, "Chinook", dumptest.Task(t)); err != nil {
		t.Fatal(err)
	}
	got := myState(t, my, "Chinook")
	delete(got, "properties") // nobody knows any more
	delete(want, "properties")
	samePgState(t, got, want)
}

// testMySQLNamesItsDatabase restores a dump with a routine from before the database got another collation: around such a one
// the programs write ALTER DATABASE with the name of what was dumped, which is the live one.
func testMySQLNamesItsDatabase(t *testing.T, my *realtest.MariaDB) {
	my.SQL(t, "", "CREATE DATABASE grown CHARACTER SET latin1 COLLATE latin1_swedish_ci")
	my.SQL(t, "grown", "CREATE TABLE a (b int); CREATE PROCEDURE p() SELECT 1; CREATE TRIGGER told AFTER INSERT ON a FOR EACH ROW SET @x = 1; "+
		"CREATE EVENT e ON SCHEDULE EVERY 1 DAY DO DELETE FROM a; ALTER DATABASE grown CHARACTER SET utf8mb4 COLLATE utf8mb4_bin")
	m := mySource(t, my.DSN("grown"))
	stored, dump := dumped(t, m)
	if !bytes.Contains(dump, []byte("ALTER DATABASE `grown`")) {
		t.Fatalf("this dump tries nothing: %s", dump)
	}
	was := myState(t, my, "grown")
	my.SQL(t, "", "ALTER DATABASE grown CHARACTER SET latin2")
	is := myState(t, my, "grown")
	at := backup.Scratch{Name: backup.ScratchPrefix + "20261122t010203z_abcd_01234568"}
	if _, err := m.Drill(t.Context(), stored, bytes.NewReader(dump), at, dumptest.Task(t)); err != nil {
		t.Error(err)
	}
	samePgState(t, myState(t, my, "grown"), is)
	my.SQL(t, "", "ALTER DATABASE grown CHARACTER SET utf8mb4 COLLATE utf8mb4_bin")
	if err := m.Overwrite(t.Context(), stored, bytes.NewReader(dump), backup.Over{}, dumptest.Task(t)); err != nil {
		t.Error(err)
	}
	samePgState(t, myState(t, my, "grown"), was)
	my.SQL(t, "", "DROP DATABASE grown")
	if err := m.Restore(t.Context(), stored.Part, bytes.NewReader(dump), "regrown", dumptest.Task(t)); err != nil {
		t.Error("with the database gone: ", err)
	}
	my.SQL(t, "", "DROP DATABASE IF EXISTS regrown")
}

func testMySQLDrill(t *testing.T, my *realtest.MariaDB) {
	m := mySource(t, my.DSN("the shop"))
	stored, dump := dumped(t, m)
	at := backup.Scratch{Name: backup.ScratchPrefix + "20261122t010203z_abcd_01234567"}
	facts, err := m.Drill(t.Context(), stored, bytes.NewReader(dump), at, dumptest.Task(t))
	if err != nil || fmt.Sprint(facts.Rows) != fmt.Sprint(stored.Facts.Rows) {
		t.Errorf("%+v, %v; dumped: %+v", facts, err, stored.Facts)
	}
	if _, err := m.Drill(t.Context(), stored, bytes.NewReader(dump[:len(dump)/2]), at, dumptest.Task(t)); err == nil {
		t.Error("half a dump can be restored")
	}
	if myExists(t, my, at.Name) {
		t.Error("the scratch database is left behind")
	}
	left := backup.ScratchPrefix + "left"
	my.SQL(t, "", "CREATE DATABASE "+left+"; CREATE DATABASE "+at.Name)
	if err := m.SweepDrills(t.Context(), func(name string) bool { return name == left }, dumptest.Task(t)); err != nil {
		t.Fatal(err)
	}
	if myExists(t, my, left) || !myExists(t, my, at.Name) {
		t.Error("not those were swept that should be")
	}
	my.SQL(t, "", "DROP DATABASE "+at.Name)
}
