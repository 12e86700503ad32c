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

// myKinds are tables, beside those of myShop and myOdd, that refer to each other in a circle, are as wide as can be, are named in
// odd ways, or were made by somebody who is gone.
const myKinds = `
	SET foreign_key_checks = 0;
	CREATE TABLE egg (id int PRIMARY KEY, hen int, CONSTRAINT ` + "`laid by`" + ` FOREIGN KEY (hen) REFERENCES hen (id) ON DELETE CASCADE);
	CREATE TABLE hen (id int PRIMARY KEY, egg int, mother int, FOREIGN KEY (egg) REFERENCES egg (id), FOREIGN KEY (mother) REFERENCES hen (id));
	INSERT INTO egg VALUES (1, 1), (2, NULL); INSERT INTO hen VALUES (1, 1, 2), (2, 2, 1); SET foreign_key_checks = 1;
	CREATE TABLE zero (id int AUTO_INCREMENT PRIMARY KEY, t timestamp NOT NULL DEFAULT current_timestamp() ON UPDATE current_timestamp(), u varchar(40) DEFAULT uuid());
	SET sql_mode = 'NO_AUTO_VALUE_ON_ZERO', time_zone = '+09:30'; INSERT INTO zero VALUES (0, '2025-03-30 02:30:00', 'x'), (-5, '1970-01-01 09:30:01', 'y'), (7, '2038-01-19 12:44:07', NULL); SET sql_mode = DEFAULT, time_zone = DEFAULT;
	SET sql_mode = 'ALLOW_INVALID_DATES'; CREATE TABLE dates (d date NOT NULL DEFAULT '0000-00-00', e datetime NOT NULL DEFAULT '0000-00-00 00:00:00', f date); INSERT INTO dates VALUES (DEFAULT, DEFAULT, '2024-02-31'); SET sql_mode = DEFAULT;
	CREATE TABLE sets (a varchar(50) CHARSET utf8mb3, b varchar(50) CHARSET utf8mb4 COLLATE utf8mb4_uca1400_ai_ci, c varchar(50) CHARSET latin1, d varbinary(50), e varchar(50) CHARSET sjis, f varchar(50) CHARSET utf16,
		g varchar(50) CHARSET cp1251, h char(5) CHARSET ascii, i text CHARSET gbk, UNIQUE (b), INDEX (d(10)));
	INSERT INTO sets VALUES ('äü☃', 'äü🦊', 'äü€', 0x00FF27225C0A, '表ソ\\', '🦊ä', 'Жё', 'a''\\', '誠縗\\''');
	CREATE TABLE generated (a int, b int AS (a * 2) VIRTUAL INVISIBLE, c varchar(100) AS (concat('(', a, '),(''', a)) PERSISTENT, UNIQUE (b), INDEX (c), CHECK (a <> 13 AND c <> ');'));
	INSERT INTO generated (a) VALUES (1), (2), (NULL);
	CREATE TABLE paged (a longtext) PAGE_COMPRESSED=1; INSERT INTO paged VALUES (repeat('x', 100000));
	CREATE TABLE csv_ (a int NOT NULL, b text NOT NULL) ENGINE=CSV; INSERT INTO csv_ VALUES (1, 'a,"b"\n');
	CREATE TABLE ` + "`a.b/c\\d%e_f'g\"h#i--j;k`" + ` (` + "`x.y;z`" + ` int, ` + "`-- c`" + ` int, ` + "`(`" + ` text, ` + "`VALUES`" + ` int); INSERT INTO ` + "`a.b/c\\d%e_f'g\"h#i--j;k`" + ` VALUES (1, 2, ') VALUES (', 3);
	CREATE TABLE ` + "`" + `llllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllll` + "`" + ` (a int); CREATE TABLE ` + "`表 ``q`` ´`" + ` (` + "`列`" + ` int); INSERT INTO ` + "`表 ``q`` ´`" + ` VALUES (1);
	CREATE TABLE grown (a int, b int); INSERT INTO grown VALUES (1, 2); ALTER TABLE grown ADD COLUMN c int DEFAULT 9 FIRST, ALGORITHM=INSTANT; ALTER TABLE grown DROP COLUMN a, ALGORITHM=INSTANT; INSERT INTO grown VALUES (3, 4);
	CREATE SEQUENCE down START WITH -1 INCREMENT BY -3 MINVALUE -100 MAXVALUE -1 CYCLE NOCACHE; SELECT nextval(down), nextval(down);
	CREATE SEQUENCE spent START WITH 1 MAXVALUE 2 NOCACHE; SELECT nextval(spent), nextval(spent);
	CREATE TABLE empty_ (a int) COMMENT 'INSERT INTO ` + "`x`" + ` VALUES (1);\n-- Dump completed';
	CREATE VIEW z1 AS SELECT a AS ` + "`it's \"a\"`" + ` FROM generated; CREATE VIEW a2 AS SELECT ` + "`it's \"a\"`" + ` + 1 AS n FROM z1; CREATE VIEW ` + "`m 3`" + ` AS SELECT a2.n, z1.* FROM a2 JOIN z1;
	CREATE DEFINER=nobody@nowhere TRIGGER gone BEFORE INSERT ON generated FOR EACH ROW SET NEW.a = NEW.a;
	CREATE DEFINER=nobody@nowhere SQL SECURITY INVOKER VIEW invoked AS SELECT 1 AS one;
	CREATE DEFINER=nobody@nowhere PROCEDURE absent() SQL SECURITY INVOKER SELECT 'x';
	CREATE DEFINER=nobody@nowhere EVENT yearly ON SCHEDULE EVERY 1 YEAR DISABLE DO SELECT 1;`

// Kinds of tables and names come back in a new database and over the live one, and an undo brings back what was there.
func testMySQLKinds(t *testing.T, my *realtest.MariaDB) {
	const live = "da-sh ☃`s"
	quoted := quoteMyName(live)
	var wide strings.Builder
	for i := range 1000 {
		fmt.Fprintf(&wide, ", c%d int DEFAULT %d", i, i)
	}
	my.SQL(t, "", "CREATE DATABASE "+quoted+" CHARACTER SET utf8mb3")
	my.SQL(t, live, myKinds+"CREATE TABLE wide (id int PRIMARY KEY"+wide.String()+"); INSERT INTO wide (id) VALUES (1), (2)")
	m := mySource(t, my.DSN("x"))
	m.dsn = strings.Replace(m.dsn, "/x", "/da-sh%20%E2%98%83%60s", 1)
	state := func(database string) map[string]string {
		t.Helper()
		state := my.Digests(t, database)
		for line := range strings.Lines(my.SQL(t, database, "SELECT routine_name, routine_definition, definer FROM information_schema.routines WHERE routine_schema = DATABASE(); "+
			"SELECT trigger_name, action_statement, definer FROM information_schema.triggers WHERE trigger_schema = DATABASE(); SELECT table_name, replace(view_definition, concat('`', replace(DATABASE(), '`', '``'), '`.'), ''), definer FROM information_schema.views WHERE table_schema = DATABASE(); "+
			"SELECT table_name, concat_ws('|', column_name, column_type, ifnull(column_default, 'none'), ifnull(character_set_name, ''), collation_name, extra, generation_expression) FROM information_schema.columns WHERE table_schema = DATABASE() AND table_name <> 'wide'; "+
			"SELECT constraint_name, table_name, constraint_type FROM information_schema.table_constraints WHERE constraint_schema = DATABASE(); SELECT constraint_name, check_clause FROM information_schema.check_constraints WHERE constraint_schema = DATABASE()")) {
			state[line] = "there"
		}
		return state
	}
	was := state(live)
	stored, dump := dumped(t, m)
	if n := stored.Facts.Rows; n["wide"] != 2 || n["empty_"] != 0 || n["表 `q` ´"] != 1 || n["a.b/c\\d%e_f'g\"h#i--j;k"] != 1 || n["generated"] != 3 {
		t.Errorf("rows: %v", n)
	}
	if err := m.Restore(t.Context(), stored.Part, bytes.NewReader(dump), "kinds again", dumptest.Task(t)); err != nil {
		t.Fatal(err)
	}
	samePgState(t, state("kinds again"), was)
	my.SQL(t, "", "DROP DATABASE `kinds again`")
	if !realtest.Soak() {
		my.SQL(t, "", "DROP DATABASE "+quoted)
		return
	}
	over := func(stored backup.Stored, dump []byte, want map[string]string) {
		t.Helper()
		if err := m.Overwrite(t.Context(), stored, bytes.NewReader(dump), backup.Over{}, dumptest.Task(t)); err != nil {
			t.Fatal(err)
		}
		samePgState(t, state(live), want)
	}
	my.SQL(t, live, "DROP TRIGGER gone; UPDATE egg SET hen = 2; DROP VIEW `m 3`; DROP TABLE wide; INSERT INTO generated (a) VALUES (77); CREATE TABLE newer (a int); ALTER TABLE sets DROP COLUMN i")
	is := state(live)
	safety, before := dumped(t, m)
	over(stored, dump, was)
	over(safety, before, is) // the undo
	my.SQL(t, "", "DROP DATABASE "+quoted)
	over(stored, dump, was)
	my.SQL(t, "", "DROP DATABASE "+quoted)
}
