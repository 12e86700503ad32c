package dump

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-backup/caddy-backup/backup"
	"github.com/caddy-backup/caddy-backup/dump/dumptest"
	"github.com/caddy-backup/caddy-backup/internal/realtest"
)

// myShop has one of everything that a dump may lose.
const myShop = `
	CREATE TABLE product (id int AUTO_INCREMENT PRIMARY KEY, name varchar(100) UNIQUE, price decimal(10,2) CHECK (price >= 0),
		gross decimal(12,2) AS (price * 1.19) STORED, data json, picture blob, at timestamp(6) NULL, size enum('S','M','L'), flags bit(3)) CHARSET utf8mb4;
	CREATE TABLE sale (id int AUTO_INCREMENT PRIMARY KEY, product int, day date NOT NULL, FOREIGN KEY (product) REFERENCES product (id));
	CREATE TABLE parted (id int, day date) PARTITION BY RANGE (year(day)) (PARTITION a VALUES LESS THAN (2025), PARTITION b VALUES LESS THAN MAXVALUE);
	CREATE TABLE ` + "`odd ``na'me`" + ` (` + "`a b`" + ` text) CHARSET utf8mb4;
	CREATE TABLE loose (a int) ENGINE=MyISAM;
	CREATE SEQUENCE numbers START WITH 5;
	CREATE VIEW cheap AS SELECT name FROM product WHERE price < 10;
	DELIMITER //
	CREATE TRIGGER told AFTER INSERT ON sale FOR EACH ROW BEGIN INSERT INTO loose VALUES (1); -- don't; stop
	END//
	CREATE PROCEDURE p(IN n int) BEGIN /* a; comment */ SELECT 'it''s; a "string" \\'; SELECT n; END//
	CREATE FUNCTION f() RETURNS int DETERMINISTIC RETURN 1//
	CREATE EVENT e ON SCHEDULE EVERY 1 DAY DO DELETE FROM loose//
	DELIMITER ;
	INSERT INTO product (name, price, data, picture, at, size, flags) SELECT concat('product ', seq), seq, json_object('i', seq),
		unhex(md5(seq)), from_unixtime(1700000000 + seq * 3601), 'M', b'101' FROM seq_1_to_3000;
	INSERT INTO product (name, picture) VALUES ('tab\tline\nquote'' back\\ (x), (y); -- ü🦊', repeat(char(0, 39, 92), 100));
	INSERT INTO sale (product, day) SELECT seq, date '2025-03-30' + interval seq day FROM seq_1_to_500;
	INSERT INTO parted SELECT seq, date '2024-06-01' + interval seq day FROM seq_1_to_400;
	INSERT INTO ` + "`odd ``na'me`" + ` VALUES ('),('), (NULL), ('');
	SELECT nextval(numbers);`

func mySource(t testing.TB, dsn string) *MySQL {
	t.Helper()
	t.Setenv("DUMP_TEST_DSN", dsn)
	m := &MySQL{DSN: "{env.DUMP_TEST_DSN}", LockTimeout: caddy.Duration(time.Second), AllDatabases: strings.HasSuffix(dsn, "/")}
	if err := provision(m); err != nil {
		t.Fatal(err)
	}
	return m
}

// myState is everything about a database that a restore must bring back.
func myState(t testing.TB, my *realtest.MariaDB, database string) map[string]string {
	t.Helper()
	state := my.Digests(t, database)
	state["properties"] = my.SQL(t, "", "SELECT default_character_set_name, default_collation_name FROM information_schema.schemata WHERE schema_name = '"+database+"'")
	var schema bytes.Buffer
	s, _ := newMyServer(my.DSN(database))
	tool := myTool{path: realtest.Need(t, "mariadb-dump"), version: myVersion{mariadb: true}}
	p, settings, err := s.program(tool, "--no-data", "--skip-dump-date", "--routines", "--events", database)
	if err != nil {
		t.Fatal(err)
	}
	defer settings.Close()
	if _, err := p.run(t.Context(), dumptest.Task(t), nil, &schema); err != nil {
		t.Fatal(err)
	}
	state["schema"] = strings.ReplaceAll(schema.String(), database, "DATABASE")
	return state
}

func myExists(t testing.TB, my *realtest.MariaDB, database string) bool {
	return my.SQL(t, "", "SELECT 1 FROM information_schema.schemata WHERE schema_name = '"+database+"'") != ""
}

func TestMySQL(t *testing.T) {
	my := realtest.StartMariaDB(t)
	my.SQL(t, "", "CREATE DATABASE `the shop` CHARACTER SET latin1 COLLATE latin1_german2_ci; CREATE DATABASE big")
	my.SQL(t, "the shop", myShop)
	my.SQL(t, "big", "CREATE TABLE a AS SELECT seq AS i, repeat(md5(seq), 10) AS text FROM seq_1_to_30000")
	for name, test := range map[string]func(*testing.T, *realtest.MariaDB){
		"contract": testMySQLContract, "facts": testMySQLFacts, "all": testMySQLAll, "privileges": testMySQLPrivileges, "locked": testMySQLLocked,
		"secrets": testMySQLSecrets, "messages": testMySQLMessages, "faulty programs": testMySQLFaultyPrograms, "hostile": testMySQLHostile, "names its database": testMySQLNamesItsDatabase,
		"fixture": testMySQLFixture, "drill": testMySQLDrill, "overwrite": testMySQLOverwrite, "while written to": testMySQLWhileWrittenTo,
	} {
		t.Run(name, func(t *testing.T) { test(t, my) })
	}
	t.Run("server stops", func(t *testing.T) { testMySQLServerStops(t, my) }) // the last one: it stays stopped
}

func testMySQLContract(t *testing.T, my *realtest.MariaDB) {
	n := 0
	want := myState(t, my, "the shop")
	dumptest.Run(t, dumptest.Kit{
		Source: mySource(t, my.DSN("the shop")), Name: "db", Secrets: []string{my.Password},
		NewPlace: func(testing.TB) string { n++; return "restored`" + strconv.Itoa(n) },
		Exists:   func(t testing.TB, place string) bool { return myExists(t, my, place) },
		Equal:    func(t testing.TB, place string) { samePgState(t, myState(t, my, place), want) },
	})
}

func testMySQLFacts(t *testing.T, my *realtest.MariaDB) {
	m := mySource(t, my.DSN("the shop"))
	var first, second bytes.Buffer
	facts, err := m.Dump(t.Context(), backup.Part{}, &first, dumptest.Task(t))
	if err != nil {
		t.Fatal(err)
	}
	if fmt.Sprint(facts.Rows) != "map[loose:500 odd `na'me:3 parted:400 product:3001 sale:500]" || !strings.HasPrefix(facts.Engine, "MariaDB 1") ||
		!strings.HasPrefix(facts.Tool, "mariadb-dump ") || !strings.HasPrefix(facts.Source, "database the shop on 127.0.0.1:") ||
		len(facts.Notes) != 1 || !strings.HasSuffix(facts.Notes[0], ": loose") {
		t.Errorf("facts = %+v", facts)
	}
	if _, err := m.Dump(t.Context(), backup.Part{}, &second, dumptest.Task(t)); err != nil || !bytes.Equal(first.Bytes(), second.Bytes()) {
		t.Errorf("the same database was dumped otherwise, or %v", err)
	}
	verified, err := m.Verify(t.Context(), backup.Part{}, bytes.NewReader(first.Bytes()), dumptest.Task(t))
	if err != nil || fmt.Sprint(verified.Rows) != fmt.Sprint(facts.Rows) {
		t.Errorf("%+v, %v", verified, err)
	}
	for _, n := range []int{0, 1, first.Len() / 2, first.Len() - 20} {
		if _, err := m.Verify(t.Context(), backup.Part{}, bytes.NewReader(first.Bytes()[:n]), dumptest.Task(t)); !errors.Is(err, errCutOff) {
			t.Errorf("a dump cut off at %d: %v", n, err)
		}
	}
	m.ExcludeTables = []string{"product", "sale"}
	if facts, err = m.Dump(t.Context(), backup.Part{}, io.Discard, dumptest.Task(t)); err != nil || len(facts.Rows) != 3 {
		t.Errorf("%+v, %v", facts, err)
	}
}

func testMySQLAll(t *testing.T, my *realtest.MariaDB) {
	my.SQL(t, "", "CREATE DATABASE users; CREATE DATABASE `a.b/c`; CREATE USER 'reader'@'%' IDENTIFIED BY 'x'; GRANT SELECT ON `a.b/c`.* TO reader")
	my.SQL(t, "a.b/c", "CREATE TABLE t (a int); INSERT INTO t VALUES (1), (2)")
	m := mySource(t, my.DSN(""))
	parts, err := m.Parts(t.Context(), "db.1")
	if err != nil {
		t.Fatal(err)
	}
	dumps := map[string]string{}
	for _, p := range parts {
		var b bytes.Buffer
		facts, err := m.Dump(t.Context(), p, &b, dumptest.Task(t))
		if err != nil {
			t.Fatalf("%s: %v", p.Name, err)
		}
		dumps[p.Name] = facts.Source + b.String()
	}
	for part, word := range map[string]string{"db.1.globals-only.sql": "CREATE USER", "db.1.users.sql": "database users on", "db.1.a%2Eb%2Fc.sql": "(1),\n(2)", "db.1.big.sql": "md5"} {
		if !strings.Contains(dumps[part], word) && part != "db.1.big.sql" || dumps[part] == "" {
			t.Errorf("%s: %.300s", part, dumps[part])
		}
	}
	if err := m.Restore(t.Context(), backup.Part{Name: "db.1.globals-only.sql"}, strings.NewReader(""), "x", dumptest.Task(t)); !errors.Is(err, backup.ErrInvalid) {
		t.Error(err)
	}
	for grant, want := range map[string]string{"SELECT ON big.*": "GRANT SHOW DATABASES", "SHOW DATABASES ON *.*": "GRANT SELECT ON mysql.*"} {
		my.SQL(t, "", "CREATE OR REPLACE USER blind@'127.0.0.1' IDENTIFIED BY 'x'; GRANT "+grant+" TO blind@'127.0.0.1'")
		blind := mySource(t, my.UserDSN("blind", "x", ""))
		_, err := blind.Parts(t.Context(), "db")
		if err == nil {
			_, err = blind.Dump(t.Context(), backup.Part{Name: "db.globals-only.sql"}, io.Discard, dumptest.Task(t))
		}
		text := fmt.Sprint(blind.Examine(t.Context(), dumptest.Task(t)))
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(text, want) {
			t.Errorf("%s: %v; examined: %s", grant, err, text)
		}
	}
	my.SQL(t, "", "DROP DATABASE users; DROP DATABASE `a.b/c`")
}

// What a user may not see, a dump program leaves out without a word.
func testMySQLPrivileges(t *testing.T, my *realtest.MariaDB) {
	for i, tc := range []struct{ grant, missing string }{
		{"ALL PRIVILEGES ON `the shop`.*", "GRANT SELECT ON mysql.proc"}, // others made the routines
		{"SELECT, SHOW VIEW, TRIGGER, EVENT ON *.*", ""},
		{"SELECT, SHOW VIEW, EVENT, EXECUTE ON `the shop`.*", "GRANT TRIGGER ON"},
		{"SELECT, SHOW VIEW, EVENT, TRIGGER ON `the shop`.*", "GRANT EXECUTE ON"},
		{"SELECT ON `the shop`.product", "GRANT SELECT, SHOW VIEW"},
	} {
		user := "u" + strconv.Itoa(i)
		my.SQL(t, "", "CREATE USER "+user+"@'127.0.0.1' IDENTIFIED BY 'pa\"ss\\\\''# word'; GRANT "+tc.grant+" TO "+user+"@'127.0.0.1'")
		m := mySource(t, my.UserDSN(user, `pa"ss\'# word`, "the shop"))
		_, err := m.Dump(t.Context(), backup.Part{}, io.Discard, dumptest.Task(t))
		if tc.missing == "" && err != nil || tc.missing != "" && (err == nil || !strings.Contains(err.Error(), tc.missing)) {
			t.Errorf("%s: %v", tc.grant, err)
		}
		list := m.Examine(t.Context(), dumptest.Task(t))
		if worst := list[len(list)-1].Level; (worst == backup.LevelError) != (tc.missing != "") {
			t.Errorf("%s: %+v", tc.grant, list)
		}
	}
}

func testMySQLLocked(t *testing.T, my *realtest.MariaDB) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	held := make(chan struct{})
	go func() {
		defer close(held)
		my.TrySQL(ctx, "the shop", "LOCK TABLES product WRITE; SELECT sleep(30)")
	}()
	for my.SQL(t, "", "SELECT count(*) FROM information_schema.processlist WHERE info LIKE 'SELECT sleep(30)%'") != "1\n" {
		time.Sleep(20 * time.Millisecond)
	}
	_, err := mySource(t, my.DSN("the shop")).Dump(t.Context(), backup.Part{}, io.Discard, dumptest.Task(t))
	if err == nil || !strings.Contains(err.Error(), "lock_timeout (1s)") {
		t.Error(err)
	}
	if n := my.SQL(t, "", "SELECT count(*) FROM information_schema.processlist WHERE state LIKE 'Waiting for table%'"); n != "0\n" {
		t.Errorf("%s still wait", n)
	}
	cancel()
	<-held
	my.TrySQL(t.Context(), "", "EXECUTE IMMEDIATE concat('KILL ', (SELECT id FROM information_schema.processlist WHERE info LIKE 'SELECT sleep(30)%'))")
	for my.SQL(t, "", "SELECT count(*) FROM information_schema.processlist WHERE info LIKE 'SELECT sleep(30)%'") != "0\n" {
		time.Sleep(20 * time.Millisecond)
	}
}

func testMySQLSecrets(t *testing.T, my *realtest.MariaDB) {
	m := mySource(t, my.DSN("big"))
	looked := false
	_, err := m.Dump(t.Context(), backup.Part{}, writerFunc(func(p []byte) (int, error) {
		if !looked {
			looked = true
			for _, found := range realtest.Leftovers(my.Password) {
				t.Errorf("the password can be read at %s", found)
			}
		}
		return len(p), nil
	}), dumptest.Task(t))
	if err != nil || !looked {
		t.Error(err)
	}
}

func testMySQLMessages(t *testing.T, my *realtest.MariaDB) {
	for dsn, want := range map[string]string{
		my.UserDSN("root", "wrong", "the shop"):               "correct user or password",
		my.DSN("nowhere"):                                     "there is no database nowhere",
		"mysql://root:canary@127.0.0.1:1/x":                   "see whether it is running there",
		"mysql://root:canary@localhost/x?socket=/tmp/no/sock": "/tmp/no/sock",
	} {
		_, err := mySource(t, dsn).Dump(t.Context(), backup.Part{}, io.Discard, dumptest.Task(t))
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "canary") {
			t.Errorf("%v, want %q", err, want)
		}
	}
	m := mySource(t, "mysql://root:"+my.Password+"@localhost/big?socket="+my.Socket())
	if facts, err := m.Dump(t.Context(), backup.Part{}, io.Discard, dumptest.Task(t)); err != nil || facts.Source != "database big on "+my.Socket() {
		t.Errorf("%+v, %v", facts, err)
	}
}

func testMySQLFaultyPrograms(t *testing.T, my *realtest.MariaDB) {
	version := "#!/bin/sh\nif [ \"$1\" = --version ]; then echo 'mysqldump  Ver 10.19 Distrib 10.11.19-MariaDB, for x'; exit; fi\n"
	for name, tc := range map[string]struct{ script, want string }{
		"prints and fails":      {"echo 'CREATE TABLE a (b int);'; echo 'mysqldump: Error 2013: Lost connection' >&2; exit 3", "ended with status 3"},
		"prints nothing":        {"exit 0", "cut off"},
		"ends early":            {"echo 'CREATE TABLE a (b int);'", "cut off"},
		"in mid-value":          {"echo \"INSERT INTO a VALUES ('x\"; echo '-- Dump completed'", "cut off"},
		"hangs, deaf to TERM":   {"trap '' TERM; echo 'SELECT 1;'; while :; do sleep 1; done", "was stopped"},
		"does not say what":     {"", ""},
		"names another program": {"echo '\\! touch /tmp/pwned'; echo '-- Dump completed'", "not SQL"},
	} {
		t.Run(name, func(t *testing.T) {
			m := mySource(t, my.DSN("big"))
			dir := t.TempDir()
			script := version + tc.script
			if tc.script == "" {
				script, tc.want = "#!/bin/sh\necho hello\n", "does not say its version"
			}
			for _, program := range myDumpers {
				if err := os.WriteFile(filepath.Join(dir, program), []byte(script), 0o755); err != nil {
					t.Fatal(err)
				}
			}
			t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
			ctx := t.Context()
			if strings.Contains(tc.script, "TERM") {
				var cancel context.CancelFunc
				ctx, cancel = context.WithTimeout(ctx, 300*time.Millisecond)
				defer cancel()
			}
			_, err := m.Dump(ctx, backup.Part{}, io.Discard, dumptest.Task(t))
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("%v, want %q", err, tc.want)
			}
			if left := realtest.Leftovers(dir); len(left) > 0 {
				t.Error(left)
			}
		})
	}
}

// A dump from who knows where runs no program, reads no file, and turns to no other database.
func testMySQLHostile(t *testing.T, my *realtest.MariaDB) {
	m := mySource(t, my.DSN("the shop"))
	for script, want := range map[string]string{
		"\\! touch x\n-- Dump completed\n":                                      "not SQL",
		"SELECT 1;\nsystem touch x;\n-- Dump completed\n":                       "not SQL",
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

// Every dump keeps the sum that every transaction keeps.
func testMySQLWhileWrittenTo(t *testing.T, my *realtest.MariaDB) {
	my.SQL(t, "", "CREATE DATABASE bank")
	my.SQL(t, "bank", "CREATE TABLE account (id int PRIMARY KEY, balance int NOT NULL); INSERT INTO account SELECT seq, 100 FROM seq_0_to_999")
	ctx, cancel := context.WithCancel(t.Context())
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		for i := 0; ctx.Err() == nil; i++ {
			my.TrySQL(ctx, "bank", strings.Repeat(fmt.Sprintf("START TRANSACTION; UPDATE account SET balance = balance - 5 WHERE id = %d; "+
				"UPDATE account SET balance = balance + 5 WHERE id = %d; COMMIT;", i%1000, (i*7+1)%1000), 20))
		}
	}()
	m := mySource(t, my.DSN("bank"))
	for i := range 3 {
		var b bytes.Buffer
		if _, err := m.Dump(t.Context(), backup.Part{}, &b, dumptest.Task(t)); err != nil {
			t.Fatal(err)
		}
		place := fmt.Sprintf("bank%d", i)
		if err := m.Restore(t.Context(), backup.Part{}, &b, place, dumptest.Task(t)); err != nil {
			t.Fatal(err)
		}
		if sum := my.SQL(t, place, "SELECT sum(balance), count(*) FROM account"); sum != "100000\t1000\n" {
			t.Errorf("dump %d: %s", i, sum)
		}
	}
	cancel()
	<-stopped
}

func dumped(t *testing.T, s backup.Source) (backup.Stored, []byte) {
	t.Helper()
	var b bytes.Buffer
	part := firstPart(t, s)
	facts, err := s.Dump(t.Context(), part, &b, dumptest.Task(t))
	if err != nil {
		t.Fatal(err)
	}
	return backup.Stored{Part: part, Facts: facts, Size: int64(b.Len())}, b.Bytes()
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
	my.SQL(t, at.Name, "CREATE TABLE a (b int); CREATE EVENT `odd``e` ON SCHEDULE EVERY 1 DAY DO DELETE FROM a; CREATE EVENT f ON SCHEDULE EVERY 1 DAY DO DO 1")
	server, err := newMyServer(my.DSN(""))
	if err != nil {
		t.Fatal(err)
	}
	conn, err := server.connect(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.dropEvents(t.Context(), at.Name); err != nil {
		t.Error(err)
	}
	if left := my.SQL(t, "", "SELECT event_schema, event_name FROM information_schema.events WHERE event_schema LIKE 'caddy%'"); left != "" {
		t.Errorf("the server goes on with %s", left)
	}
	my.SQL(t, "", "DROP DATABASE "+at.Name)
}

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
	testMySQLGoesBack(t, m, dump)
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
	stored.Facts.Engine = ""
	if err := m.Overwrite(t.Context(), stored, bytes.NewReader(dump), backup.Over{}, dumptest.Task(t)); err != nil {
		t.Fatal(err)
	}
	if got := my.Digests(t, "live"); got["sale"] != was["sale"] {
		t.Error(got)
	}
	my.SQL(t, "", "CREATE USER poor@'127.0.0.1' IDENTIFIED BY 'x'; GRANT ALL ON live.* TO poor@'127.0.0.1'")
	if err := mySource(t, my.UserDSN("poor", "x", "live")).Ready(t.Context(), stored, backup.Over{}, dumptest.Task(t)); err == nil || !strings.Contains(err.Error(), "GRANT ALL ON `caddy") {
		t.Error(err)
	}
	my.SQL(t, "", "DROP DATABASE live")
}

// What fails behind the point of no return is undone.
func testMySQLGoesBack(t *testing.T, m *MySQL, dump []byte) {
	s, err := newMyServer(m.dsn)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := s.connect(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	x := &mySwitch{MySQL: m, s: s, conn: conn, t: dumptest.Task(t), live: "live", fresh: besideName(), old: besideName()}
	x.tool, err = m.dumper(t.Context(), myVersion{mariadb: true})
	if err = errors.Join(err, conn.create(t.Context(), x.fresh, "live", s), conn.create(t.Context(), x.old, "live", s)); err != nil {
		t.Fatal(err)
	}
	if err := s.fill(t.Context(), bytes.NewReader(dump), x.fresh); err != nil {
		t.Fatal(err)
	}
	before, err := x.definitions(t.Context(), "live")
	if err != nil {
		t.Fatal(err)
	}
	after := []byte("CREATE VIEW fine AS SELECT 1 AS one;\nCREATE VIEW wrong AS SELECT * FROM nowhere;\n-- Dump completed\n")
	if err := x.swap(t.Context(), before, after); err == nil || errors.Is(err, backup.ErrIncomplete) || !strings.Contains(err.Error(), "nowhere") {
		t.Error(err)
	}
	if err := errors.Join(s.drop(x.fresh), s.drop(x.old)); err != nil {
		t.Error(err)
	}
}

func testMySQLServerStops(t *testing.T, my *realtest.MariaDB) {
	m := mySource(t, my.DSN("big"))
	stopped := false
	_, err := m.Dump(t.Context(), backup.Part{}, writerFunc(func(p []byte) (int, error) {
		if !stopped {
			stopped = true
			my.Stop(t)
		}
		return len(p), nil
	}), dumptest.Task(t))
	if err == nil {
		t.Error("a dump of which the server stopped in the middle is no dump")
	}
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
