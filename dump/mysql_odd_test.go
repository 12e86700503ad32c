package dump

import (
	"bytes"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/caddy-backup/caddy-backup/backup"
	"github.com/caddy-backup/caddy-backup/dump/dumptest"
	"github.com/caddy-backup/caddy-backup/internal/realtest"
)

// myOdd holds what servers have beyond plain tables, and what was made in odd ways: triggers by the name of their database,
// routines that quote in other ways, defaults that draw from a sequence, history, columns that nobody sees.
const myOdd = `
	CREATE TABLE versioned (id int PRIMARY KEY, v int) WITH SYSTEM VERSIONING;
	INSERT INTO versioned VALUES (1, 1), (2, 1); UPDATE versioned SET v = 2; DELETE FROM versioned WHERE id = 2;
	CREATE TABLE half_versioned (a int WITHOUT SYSTEM VERSIONING, b int) WITH SYSTEM VERSIONING; INSERT INTO half_versioned VALUES (1, 2);
	CREATE TABLE hidden (id int, hid int INVISIBLE DEFAULT 7, g int AS (id + 1) VIRTUAL, s int AS (id * 2) STORED); INSERT INTO hidden (id, hid) VALUES (1, 99), (2, NULL);
	CREATE TABLE aria (a int) ENGINE=Aria; INSERT INTO aria VALUES (1); CREATE TABLE isam (a int) ENGINE=MyISAM; INSERT INTO isam VALUES (1), (2);
	CREATE TABLE memory (a int) ENGINE=MEMORY; INSERT INTO memory VALUES (1);
	CREATE TABLE merged (a int) ENGINE=MERGE UNION=(isam) INSERT_METHOD=LAST;
	CREATE TABLE compressed (a text) ROW_FORMAT=COMPRESSED; INSERT INTO compressed VALUES (repeat('x', 10000));
	CREATE TABLE compressed_columns (a blob COMPRESSED, b text COMPRESSED); INSERT INTO compressed_columns VALUES (repeat('x', 1000), 'y');
	CREATE TABLE geo (g geometry NOT NULL, p point, SPATIAL INDEX (g)); INSERT INTO geo VALUES (st_geomfromtext('POLYGON((0 0,1 0,1 1,0 0))'), point(1, 2));
	CREATE TABLE bytes_ (id int PRIMARY KEY, b blob, v varbinary(300), c binary(4));
	INSERT INTO bytes_ SELECT seq, unhex(lpad(hex(seq), 2, '0')), concat('a', unhex(lpad(hex(seq), 2, '0')), 'b'), unhex(lpad(hex(seq), 2, '0')) FROM seq_0_to_255;
	CREATE TABLE times (id int PRIMARY KEY, d date, dt datetime(6), ts timestamp(6) NULL, y year, ti time(6));
	SET sql_mode = ''; INSERT INTO times VALUES (1, '0000-00-00', '0000-00-00', '0000-00-00', 0, '-838:59:59.999999'), (2, '9999-12-31', '1000-01-01 00:00:00.000001', '2025-03-30 00:59:59.999999', 2155, '838:59:59'),
		(3, '2024-00-00', '2024-02-29', '2025-10-26 00:30:00', 1901, NULL); SET sql_mode = DEFAULT;
	CREATE TABLE kinds (u uuid, i inet6, b bit(64), s set('a', 'b', 'd''e'), e enum('x', 'ü', ''), f float, d double, dc decimal(65,30), big bigint unsigned, j json, n char(3) CHARSET ucs2);
	INSERT INTO kinds VALUES ('123e4567-e89b-12d3-a456-426655440000', '::ffff:1.2.3.4', ~0, 'a,d''e', 'ü', 1.5e-30, -1.7976931348623157e308, 99999999999999999999999999999999999.000000000000000000000000000001, ~0, '{"a": "\\n\\"\\\\"}', 'äö');
	CREATE TABLE ` + "`da-sh ☃`" + ` (` + "`Ünï`" + ` int PRIMARY KEY, ` + "`select`" + ` int, ` + "`a``) b`" + ` int INVISIBLE); INSERT INTO ` + "`da-sh ☃`" + ` VALUES (1, 2), (3, NULL);
	CREATE TABLE ` + "`Case`" + ` (a int); CREATE TABLE ` + "`case`" + ` (a int); INSERT INTO ` + "`case`" + ` VALUES (1);
	CREATE TABLE latin (a varchar(10), b char(1) CHARSET utf8mb4) CHARSET latin1; INSERT INTO latin VALUES ('äöü€', '🦊');
	CREATE TABLE indexed (a int, b int CHECK (b > 0), t text, INDEX h (a) IGNORED, INDEX d (b DESC), FULLTEXT (t)) COMMENT 'it''s; -- a "comment"'; INSERT INTO indexed VALUES (1, 2, 'words');
	CREATE TABLE periods (id int, s date, e date, PERIOD FOR app (s, e), UNIQUE (id, app WITHOUT OVERLAPS)); INSERT INTO periods VALUES (1, '2025-01-01', '2025-02-01');
	CREATE TABLE listed (id int, d date) PARTITION BY LIST (id) SUBPARTITION BY HASH (month(d)) SUBPARTITIONS 2 (PARTITION p0 VALUES IN (1, 2), PARTITION p1 VALUES IN (3)); INSERT INTO listed VALUES (1, '2025-01-01'), (3, '2025-01-02');
	CREATE SEQUENCE numbers START WITH 10 CACHE 5; SELECT nextval(numbers);
	CREATE TABLE drawn (id int DEFAULT (nextval(numbers)) PRIMARY KEY, x int); INSERT INTO drawn (x) VALUES (5);
	CREATE TABLE counted (id int AUTO_INCREMENT PRIMARY KEY) AUTO_INCREMENT = 77;
	CREATE VIEW below AS SELECT * FROM aria; CREATE ALGORITHM=MERGE SQL SECURITY INVOKER VIEW above AS SELECT a FROM below WHERE a > 0 WITH CASCADED CHECK OPTION; CREATE VIEW ` + "`a first`" + ` AS SELECT * FROM above;
	SET sql_mode = 'NO_BACKSLASH_ESCAPES,ANSI_QUOTES';
	DELIMITER //
	CREATE PROCEDURE "back\"() BEGIN SELECT 'a\', "x\" FROM (SELECT 1 AS "x\") AS q; SELECT ';;', 'c:\'; END//
	SET sql_mode = ORACLE//
	CREATE PACKAGE pkg AS PROCEDURE a1; FUNCTION f1 RETURN int; END//
	CREATE PACKAGE BODY pkg AS PROCEDURE a1 AS BEGIN SELECT 1; END; FUNCTION f1 RETURN int AS BEGIN RETURN 1; END; END//
	SET sql_mode = DEFAULT//
	CREATE TRIGGER odd.qualified BEFORE INSERT ON odd.indexed FOR EACH ROW BEGIN SET @x = 'a;;b'; SET NEW.a = 5; END//
	CREATE TRIGGER second BEFORE INSERT ON indexed FOR EACH ROW FOLLOWS qualified SET @z = 1//
	CREATE FUNCTION doubled(n int) RETURNS int DETERMINISTIC COMMENT 'SONAME' RETURN n * 2//
	CREATE EVENT fires ON SCHEDULE EVERY 1 SECOND ON COMPLETION PRESERVE DO INSERT INTO isam VALUES (99)//
	CREATE EVENT resting ON SCHEDULE EVERY 1 DAY DISABLE COMMENT 'it''s ENABLE DO' DO SELECT 'ENABLE DO'//
	CREATE EVENT once ON SCHEDULE AT '2035-01-01 00:00:00' DO BEGIN SELECT 1; SELECT '; ;'; END//`

// An odd database comes back in a new place, over itself, and after it was dropped.
func testMySQLOdd(t *testing.T, my *realtest.MariaDB) {
	my.SQL(t, "", "CREATE DATABASE odd CHARACTER SET utf8mb4")
	my.SQL(t, "odd", myOdd)
	m := mySource(t, my.DSN("odd"))
	my.SQL(t, "odd", "CREATE EVENT endless ON SCHEDULE EVERY 1 DAY DISABLE DO SELECT ';;'")
	if _, err := m.Dump(t.Context(), backup.Part{}, io.Discard, dumptest.Task(t)); err == nil || !strings.Contains(err.Error(), "hang for ever") {
		t.Errorf("error = %v", err)
	}
	my.SQL(t, "odd", "DROP EVENT endless")
	stored, dump := dumped(t, m)
	if n := stored.Facts.Rows; n["versioned"] != 4 || n["da-sh ☃"] != 2 || n["merged"] != 0 || n["bytes_"] != 256 {
		t.Errorf("rows = %v", n)
	}
	if notes := strings.Join(stored.Facts.Notes, ""); !strings.HasSuffix(notes, ": aria, isam, memory and 1 more") {
		t.Error(notes)
	}
	was := myState(t, my, "odd")
	my.SQL(t, "", "SET GLOBAL event_scheduler = ON")
	defer my.SQL(t, "", "SET GLOBAL event_scheduler = OFF")
	my.SQL(t, "odd", "ALTER EVENT fires DISABLE") // the live one's, which it has fired by now
	my.SQL(t, "odd", "TRUNCATE isam; INSERT INTO isam VALUES (1), (2)")

	at := backup.Scratch{Name: backup.ScratchPrefix + "20261122t010203z_abcd_01234569"}
	facts, err := m.Drill(t.Context(), stored, bytes.NewReader(dump), at, dumptest.Task(t))
	if err != nil {
		t.Fatal(err)
	}
	for table, n := range stored.Facts.Rows {
		if facts.Rows[table] != n {
			t.Errorf("drilled: %s has %d rows, dumped were %d", table, facts.Rows[table], n)
		}
	}
	if err := m.Restore(t.Context(), stored.Part, bytes.NewReader(dump), "odd again", dumptest.Task(t)); err != nil {
		t.Fatal(err)
	}
	again := myState(t, my, "odd again")
	for table := range was {
		if table != "schema" && again[table] != was[table] {
			t.Errorf("%s: %s, want %s", table, again[table], was[table])
		}
	}
	if got := my.SQL(t, "odd again", "INSERT INTO drawn (x) VALUES (6); SELECT max(id) FROM drawn; SELECT `odd again`.doubled(4); SET sql_mode = ORACLE; CALL pkg.a1(); SET sql_mode = DEFAULT; INSERT INTO indexed (b) VALUES (3); SELECT max(a) FROM indexed; "+
		"SELECT count(*) FROM versioned FOR SYSTEM_TIME ALL; INSERT INTO counted VALUES (); SELECT max(id) FROM counted; SELECT * FROM `a first`; SELECT count(*) FROM merged"); got != "15\n8\n1\n5\n4\n77\n1\n2\n" {
		t.Errorf("%q", got)
	}
	if got := my.SQL(t, "", "SELECT group_concat(event_name, status ORDER BY 1) FROM information_schema.events WHERE event_schema = 'odd again'"); got != "firesDISABLED,onceDISABLED,restingDISABLED\n" {
		t.Error(got)
	}
	my.SQL(t, "", "DROP DATABASE `odd again`")

	my.SQL(t, "odd", "DROP TABLE bytes_; DELETE FROM geo; DROP TRIGGER second; DROP VIEW above; SET sql_mode = ORACLE; DROP PACKAGE pkg")
	if err := m.Overwrite(t.Context(), stored, bytes.NewReader(dump), backup.Over{}, dumptest.Task(t)); err != nil {
		t.Fatal(err)
	}
	requireOdd := func(schema bool) {
		t.Helper()
		if got := my.SQL(t, "", "SELECT group_concat(event_name, status ORDER BY 1) FROM information_schema.events WHERE event_schema = 'odd'"); got != "firesENABLED,onceENABLED,restingDISABLED\n" {
			t.Error(got)
		}
		if got := my.SQL(t, "odd", "SELECT nextval(numbers) = (SELECT max(id) FROM drawn) + 4; SHOW CREATE TABLE drawn"); !strings.HasPrefix(got, "1\n") || !strings.Contains(got, "nextval(`odd`.`numbers`)") {
			t.Error(got)
		}
		my.SQL(t, "odd", "ALTER EVENT fires DISABLE; SELECT setval(numbers, 14)")
		got, want := map[string]string(nil), was
		for deadline := time.Now().Add(time.Minute); got == nil || got["isam"] != want["isam"] && time.Now().Before(deadline); {
			my.SQL(t, "odd", "DELETE FROM isam WHERE a = 99") // which the event may be about to insert once more
			got = myState(t, my, "odd")
		}
		for key := range want {
			if key != "schema" && got[key] != want[key] {
				t.Errorf("%s: %s, want %s", key, got[key], want[key])
			}
		}
		unqualified := strings.NewReplacer("DATABASE.qualified", "qualified", "DATABASE.indexed", "indexed", ", 15, 0)", ", 20, 0)").Replace(want["schema"])
		is := strings.Split(got["schema"], "\n")
		for i, line := range strings.Split(unqualified, "\n") {
			if schema && (i >= len(is) || is[i] != line) {
				t.Errorf("the schema differs: %q, want %q", is[min(i, len(is)-1)], line)
				break
			}
		}
	}
	requireOdd(true)
	my.SQL(t, "", "DROP DATABASE odd")
	if err := m.Restore(t.Context(), stored.Part, bytes.NewReader(dump), "odd", dumptest.Task(t)); err != nil {
		t.Fatal(err)
	}
	my.SQL(t, "", "ALTER DATABASE odd CHARACTER SET utf8mb4")
	requireOdd(false) // nobody knows any more which collation it had
	my.SQL(t, "", "DROP DATABASE odd")
}
