package dump

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"testing"
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
	// Events do not run in a database of another name.
	state["schema"] = strings.ReplaceAll(strings.ReplaceAll(schema.String(), database, "DATABASE"), "PRESERVE DISABLE", "PRESERVE ENABLE")
	return state
}

func myExists(t testing.TB, my *realtest.MariaDB, database string) bool {
	return my.SQL(t, "", "SELECT 1 FROM information_schema.schemata WHERE schema_name = '"+database+"'") != ""
}

func TestMySQL(t *testing.T) {
	options, root := myCertificate(t)
	if l, err := net.Listen("tcp", "[::1]:0"); err == nil {
		l.Close()
		options = append(options, "--bind-address=127.0.0.1,::1")
		t.Setenv("DUMP_TEST_IPV6", "1")
	}
	my := realtest.StartMariaDB(t, options...)
	t.Setenv("DUMP_TEST_ROOT", root)
	my.SQL(t, "", "CREATE DATABASE `the shop` CHARACTER SET latin1 COLLATE latin1_german2_ci; CREATE DATABASE big")
	my.SQL(t, "the shop", myShop)
	my.SQL(t, "big", "CREATE TABLE a AS SELECT seq AS i, repeat(md5(seq), 10) AS text FROM seq_1_to_30000")
	for name, test := range map[string]func(*testing.T, *realtest.MariaDB){
		"contract": testMySQLContract, "facts": testMySQLFacts, "all": testMySQLAll, "privileges": testMySQLPrivileges, "grants": testMySQLGrants, "locked": testMySQLLocked,
		"secrets": testMySQLSecrets, "messages": testMySQLMessages, "faulty programs": testMySQLFaultyPrograms, "hostile": testMySQLHostile, "hostile statements": testMySQLHostileStatements, "odd": testMySQLOdd, "killed": testMySQLKilledOverwrite, "follows": testMySQLFollows, "foreign keys": testMySQLForeignKeys, "runs": testMySQLRuns, "names its database": testMySQLNamesItsDatabase,
		"large": testMySQLLarge, "altered": testMySQLAltered, "silent": testMySQLSilent, "forms": testMySQLForms, "kinds": testMySQLKinds, "reach": testMySQLReach, "cut": testMySQLCut, "definers": testMySQLDefiners, "fixture": testMySQLFixture, "drill": testMySQLDrill, "overwrite": testMySQLOverwrite, "absent": testMySQLAbsent, "while written to": testMySQLWhileWrittenTo,
	} {
		t.Run(name, func(t *testing.T) { test(t, my) })
	}
	t.Run("server dies", func(sub *testing.T) { testMySQLServerDies(sub, my, func() { my.Start(t) }) })
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
	testMySQLOurs(t, my)
}

// testMySQLOurs has databases of names that say that they will be dropped again: they are not dumped, not even when a source names one.
func testMySQLOurs(t *testing.T, my *realtest.MariaDB) {
	for _, name := range []string{besidePrefix + "kept_0123456789ab", backup.ScratchPrefix + "mine"} {
		my.SQL(t, "", "CREATE DATABASE "+name)
		if _, err := mySource(t, my.DSN(name)).Dump(t.Context(), backup.Part{}, io.Discard, dumptest.Task(t)); !errors.Is(err, backup.ErrInvalid) || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
		parts, err := mySource(t, my.DSN("")).Parts(t.Context(), "db")
		if err != nil || strings.Contains(fmt.Sprint(parts), name) {
			t.Error(parts, err)
		}
		my.SQL(t, "", "DROP DATABASE "+name)
	}
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
