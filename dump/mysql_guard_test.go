package dump

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/caddy-backup/caddy-backup/backup"
	"github.com/caddy-backup/caddy-backup/dump/dumptest"
	"github.com/caddy-backup/caddy-backup/internal/realtest"
)

// admitted runs a script through a guard, and returns what would be sent to the server, a statement a line.
func admitted(script, origin string) (string, error) {
	guard, in := newMyGuard(origin), newSQLScript(strings.NewReader(script))
	var all []string
	for {
		stmt, err := in.next()
		if err != nil {
			return strings.Join(all, "\n"), nil
		}
		guard.mode = in.mode
		run, err := guard.admit(bytes.Clone(stmt))
		if err != nil {
			return "", err
		}
		if run != nil {
			all = append(all, string(run))
		}
	}
}

// What a dump of one database never holds is refused, in whatever way it is hidden.
func TestMyGuardRefuses(t *testing.T) {
	for _, script := range []string{
		"DROP DATABASE shop", "DROP TABLE shop.sale", "DROP TABLE IF EXISTS `shop`.`sale`", "DROP TABLE IF EXISTS `a`, `shop`.`sale`",
		"DELETE FROM shop.sale", "UPDATE shop.sale SET a = 1", "TRUNCATE shop.sale", "RENAME TABLE shop.sale TO shop.gone", "CALL shop.wipe()",
		"SELECT 1 INTO OUTFILE '/tmp/x'", "SELECT shop.wipe()", "DO shop.wipe()", "DO SETVAL(`s`, shop.wipe(), 0)", "LOAD DATA LOCAL INFILE '/etc/passwd' INTO TABLE a",
		"GRANT ALL ON *.* TO root", "CREATE USER x", "DROP USER root", "ALTER USER root IDENTIFIED BY 'x'", "FLUSH PRIVILEGES", "SHUTDOWN", "KILL 1",
		"SET GLOBAL general_log = 1", "SET @@GLOBAL.general_log = 1", "SET a = 0, GLOBAL general_log = 1", "/*!40101 SET GLOBAL general_log = 1 */", "SET PERSIST a = 1",
		"SET PASSWORD = 'x'", "SET PASSWORD FOR root = 'x'", "SET ROLE admin", "SET DEFAULT ROLE admin", "SET @a = (SELECT shop.wipe())", "SET @a = shop.wipe()",
		"SET STATEMENT a = 1 FOR SELECT 1", "SET sql_mode = concat('a')", "SET @a = 'x' 'y'", "SET sql_log_bin = 0",
		"INSERT INTO `shop`.`sale` VALUES (1)", "INSERT INTO shop.sale VALUES (1)", "INSERT INTO `a` SELECT * FROM shop.sale", "INSERT INTO `a` VALUES (shop.wipe())",
		"INSERT INTO `a` VALUES ((SELECT 1))", "INSERT INTO `a` VALUES (1),(load_file('/etc/passwd'))", "INSERT INTO `a` VALUES (1) ON DUPLICATE KEY UPDATE a = shop.wipe()",
		"INSERT INTO `a` VALUES (1) RETURNING shop.wipe()", "INSERT INTO `a` VALUES (1)/*!, (shop.wipe()) */", "INSERT INTO `a` VALUES (@a)", "INSERT INTO `a` VALUES (@@version)",
		"INSERT INTO `a` VALUES (current_user)", "INSERT INTO `a` VALUES (NEXT VALUE FOR shop.s)", "INSERT INTO `a` VALUES", "INSERT INTO `a` VALUES ()", "INSERT INTO `a` VALUES (1,)",
		"INSERT INTO `a` VALUES (\"x\")", "INSERT INTO `a` VALUES ('a' 'b')", "INSERT INTO `a` VALUES (1 + 1)",
		"CREATE TABLE `shop`.`b` (a int)", "CREATE TABLE shop.b (a int)", "CREATE TABLE `b` (a int) AS SELECT shop.wipe()", "CREATE TABLE `b` (a int) /*!50000 SELECT 1 */",
		"CREATE TABLE `b` (a int) VALUES (shop.wipe())", "CREATE TABLE `b` (a int) VALUES /*!99999 IN */ (shop.wipe())", "CREATE TABLE `b` (a int) TABLE shop.sale", "CREATE TABLE `b`",
		"CREATE TABLE /*!99999 `b` ( */ shop.b (a int)", "CREATE TABLE `b` /*!100100 .`c` */ (a int)", "CREATE TABLE b LIKE shop.sale; CREATE DATABASE x", "CREATE TABLE b SELECT 1",
		"CREATE TABLE `m` (a int) ENGINE=MRG_MyISAM UNION=(`shop`.`sale`);\nINSERT INTO `m` VALUES (1)", "CREATE TABLE `m` (a int) ENGINE CONNECT FILE_NAME='/x';\nINSERT INTO `m` VALUES (1)",
		"CREATE FUNCTION `f` RETURNS STRING SONAME 'x.so'", "CREATE AGGREGATE FUNCTION `f` RETURNS STRING SONAME 'x.so'", "CREATE FUNCTION `f` /*!100100 RETURNS STRING SONAME 'x.so' */",
		"CREATE FUNCTION shop.f() RETURNS int RETURN 1", "CREATE PROCEDURE `shop`.`p`() SELECT 1", "CREATE VIEW `shop`.`v` AS SELECT 1", "CREATE VIEW `v` /*!100100 .`x` */ AS SELECT 1",
		"CREATE EVENT `shop`.`e` ON SCHEDULE EVERY 1 DAY ENABLE DO DROP TABLE x", "CREATE EVENT `e` ON SCHEDULE EVERY 1 DAY DO DROP TABLE x", "CREATE EVENT `e` ON SCHEDULE EVERY 1 DAY COMMENT 'DISABLE' DO DO 1",
		"CREATE EVENT `e` ON SCHEDULE EVERY 1 DAY /*!999999 DISABLE */ DO DO 1", "CREATE DATABASE x", "CREATE SERVER x FOREIGN DATA WRAPPER mysql OPTIONS (HOST 'x')", "CREATE SEQUENCE shop.s",
		"CREATE FUNCTION `f`() RETURNS int RETURN 1;\nINSERT INTO `a` VALUES (1)", "CREATE PROCEDURE `p`() SELECT 1;\nCREATE TABLE `a` (b int)",
		"CREATE TRIGGER t BEFORE INSERT ON a FOR EACH ROW DELETE FROM shop.sale;\nINSERT INTO `a` VALUES (1)", "ALTER TABLE `a` ADD COLUMN b int", "ALTER TABLE `shop`.`a` DISABLE KEYS",
		"/*!40000 ALTER TABLE `a`.`b` DISABLE KEYS */", "ALTER DATABASE `shop` UPGRADE DATA DIRECTORY NAME", "ALTER EVENT e ENABLE", "INSTALL SONAME 'x'", "INSTALL PLUGIN x SONAME 'y'",
		"CHANGE MASTER TO MASTER_HOST='x'", "XA RECOVER", "HANDLER shop.sale OPEN", "PREPARE a FROM 'DROP TABLE x'", "EXECUTE IMMEDIATE 'DROP TABLE x'", "BEGIN NOT ATOMIC DROP TABLE shop.sale", "REPLACE INTO `a` SET b = 1",
		"SET default_storage_engine = MERGE", "SET @@storage_engine = 'MERGE'",
		"CREATE VIEW `v` AS SELECT a FROM shop.sale;\nINSERT INTO `v` VALUES (1)", "/*!50001 CREATE ALGORITHM=MERGE */ /*!50001 VIEW `v` AS SELECT a FROM shop.sale */;\nREPLACE INTO `v` VALUES (1)",
		"CREATE TABLE `m` (a int) ENGINE='M\\ERGE' UNION=(`shop`.`sale`)", "CREATE TABLE `m` (a int) ENGINE=`MERGE` UNION=(`shop`.`sale`)", "CREATE TABLE `m` (a int) ENGINE \"MERGE\"",
		"CREATE TABLE `m` (a int) ENGINE=/*!40000 MERGE */ UNION=(`shop`.`sale`);\nINSERT INTO `m` VALUES (1)", "CREATE TABLE `m` LIKE `shop`.`merged`", "CREATE TABLE `m` (LIKE `shop`.`merged`)",
		"CREATE TABLE `b` (a int) --\x7f '\n AS SELECT * FROM shop.sale --\x7f '", "CREATE EVENT `e` ON SCHEDULE EVERY 1 SECOND --\x7f DISABLE\n DO DROP TABLE x",
		"CREATE TABLE `b` (a int DEFAULT (NEXT VALUE FOR `shop`.`s`))", "CREATE TABLE `b` (a int, FOREIGN KEY (a) REFERENCES `shop`.`sale` (a))",
		"CREATE TABLE `caddy_backup_restore_journal` (journal longblob)", "CREATE TABLE `b` (a int)\x7f", "EXPLAIN SELECT 1", "WITH a AS (SELECT 1) SELECT 1", "VALUES (1)", "(SELECT 1)", "LOCK TABLES `shop`.`sale` WRITE, x READ /*! */; DROP DATABASE shop",
	} {
		if out, err := admitted(script+";\n", "shop"); !errors.Is(err, backup.ErrInvalid) {
			t.Errorf("%q was let through as %q, %v", script, out, err)
		}
	}
}

// What the programs write passes; what would reach the database that was dumped, or run at once, is changed.
func TestMyGuardAdmits(t *testing.T) {
	for script, want := range map[string]string{
		"/*!40101 SET NAMES utf8mb4 */;\n/*!40014 SET @OLD_UNIQUE_CHECKS=@@UNIQUE_CHECKS, UNIQUE_CHECKS=0 */":                                              "/*!40101 SET NAMES utf8mb4 */\n/*!40014 SET @OLD_UNIQUE_CHECKS=@@UNIQUE_CHECKS, UNIQUE_CHECKS=0 */",
		"/*M!100616 SET @OLD_NOTE_VERBOSITY=@@NOTE_VERBOSITY, NOTE_VERBOSITY=0 */":                                                                         "",
		"/*M!101100 SET @old_system_versioning_insert_history=@@session.system_versioning_insert_history, @@session.system_versioning_insert_history=1 */": "",
		"SET @saved_cs_client     = @@character_set_client":                                                                                                "", "/*!50503 SET character_set_client = utf8mb4 */": "", "set autocommit=0": "", "commit": "",
		"LOCK TABLES `a` WRITE;\nUNLOCK TABLES;\nCOMMIT":                                               "COMMIT",
		"INSERT INTO `a` (`x)`, `y`, row_start) VALUES (1,'a''b\\'(',NULL),(-1.5e-7,_binary '\\0',0x)": "", "INSERT INTO `a` VALUES\n(0xAB,b'01',_utf8mb4 0x41,.5),\n(1,2,3,4)": "",
		"REPLACE  INTO `a` VALUES (1)": "-", "INSERT  IGNORE INTO `a` VALUES (1)": "-", "REPLACE INTO `a` VALUES (1)": "",
		"DO SETVAL(`s`, 15, 0)": "", "SELECT SETVAL(`s`, 15, 0)": "", "DROP TABLE IF EXISTS `a``b`": "", "/*!50001 DROP VIEW IF EXISTS `v`*/": "", "/*!50106 DROP EVENT IF EXISTS `e` */": "",
		"/*!50001 CREATE VIEW `v` AS SELECT\n 1 AS `a`*/": "", "/*!50001 CREATE ALGORITHM=UNDEFINED */\n/*!50013 DEFINER=`root`@`localhost` SQL SECURITY DEFINER */\n/*!50001 VIEW `v` AS select 1 AS `a` */": "",
		"CREATE TABLE `a` (`b` int DEFAULT nextval(`shop`.`s`), `c` blob /*!100301 COMPRESSED*/, KEY `k` (`b`) /*!80000 INVISIBLE */) /*!50100 PARTITION BY LIST (b) (PARTITION p VALUES IN (1)) */": "CREATE TABLE `a` (`b` int DEFAULT nextval(`s`), `c` blob /*!100301 COMPRESSED*/, KEY `k` (`b`) /*!80000 INVISIBLE */) /*!50100 PARTITION BY LIST (b) (PARTITION p VALUES IN (1)) */",
		"CREATE TABLE `a` (`b` int DEFAULT nextval(`other`.`s`), `select` text DEFAULT 'TABLE SELECT')":                                                                                              "",
		"/*!50003 CREATE*/ /*!50017 DEFINER=`r`@`%`*/ /*!50003 trigger shop.told /* a */ before insert or update on `shop` . `sale` for each row set @a = 1 */":                                      "/*!50003 CREATE*/ /*!50017 DEFINER=`r`@`%`*/ /*!50003 trigger told /* a */ before insert or update on `sale` for each row set @a = 1 */",
		"/*!50106 CREATE*/ /*!50117 DEFINER=`r`@`%`*/ /*!50106 EVENT `ENABLE` ON SCHEDULE EVERY 1 DAY STARTS 'ENABLE' ON COMPLETION NOT PRESERVE ENABLE COMMENT 'x' DO SELECT 1 */":                  "/*!50106 CREATE*/ /*!50117 DEFINER=`r`@`%`*/ /*!50106 EVENT `ENABLE` ON SCHEDULE EVERY 1 DAY STARTS 'ENABLE' ON COMPLETION NOT PRESERVE DISABLE COMMENT 'x' DO SELECT 1 */",
		"CREATE EVENT `e` ON SCHEDULE AT '2030-01-01' ON COMPLETION PRESERVE DISABLE ON SLAVE DO SELECT 1":                                                                                           "", "/*!50003 SET sql_mode = 'ANSI_QUOTES,NO_BACKSLASH_ESCAPES' */;\nDELIMITER ;;\nCREATE DEFINER=\"r\"@\"h\" PROCEDURE \"p\\\"()\nselect 'c:\\'; ": "/*!50003 SET sql_mode = 'ANSI_QUOTES,NO_BACKSLASH_ESCAPES' */\nCREATE DEFINER=\"r\"@\"h\" PROCEDURE \"p\\\"()\nselect 'c:\\';",
		"ALTER DATABASE `shop` CHARACTER SET latin1 COLLATE latin1_bin": "ALTER DATABASE CHARACTER SET latin1 COLLATE latin1_bin", "SET NAMES gbk;\nINSERT INTO `a` VALUES ('\xbf\x5a')": "",
		"DELIMITER ;;\nCREATE DEFINER=\"r\"@\"h\" FUNCTION `f`(a int) RETURNS text RETURN concat(';;', \"SONAME\");;\nCREATE PACKAGE BODY `b` as begin end": "CREATE DEFINER=\"r\"@\"h\" FUNCTION `f`(a int) RETURNS text RETURN concat(';;', \"SONAME\")\nCREATE PACKAGE BODY `b` as begin end",
	} {
		if want == "" {
			want = strings.ReplaceAll(script, ";\n", "\n")
		}
		end := ";\n"
		if strings.HasPrefix(script, "DELIMITER") || strings.Contains(script, "\nDELIMITER") {
			end = ";;\n"
		}
		out, err := admitted(script+end, "shop")
		if want == "-" {
			if err == nil {
				t.Errorf("%q is nothing that the programs write", script)
			}
			continue
		}
		if err != nil || out != want {
			t.Errorf("%q became\n%q, %v, want\n%q", script, out, err, want)
		}
	}
}

// A hostile dump changes nothing outside of the new database, with all rights of the server's first user.
func testMySQLHostileStatements(t *testing.T, my *realtest.MariaDB) {
	my.SQL(t, "", "CREATE DATABASE victim; CREATE TABLE victim.sale (a int); INSERT INTO victim.sale VALUES (1); "+
		"CREATE TABLE victim.isam (a int) ENGINE=MyISAM; CREATE TABLE victim.merged (a int) ENGINE=MERGE UNION=(victim.isam) INSERT_METHOD=LAST")
	m := mySource(t, my.DSN("victim"))
	before := myState(t, my, "victim")
	for _, statement := range []string{
		"DROP TABLE IF EXISTS `victim`.`sale`", "INSERT INTO `victim`.`sale` VALUES (2)", "SET GLOBAL max_connections = 7", "GRANT ALL ON *.* TO intruder IDENTIFIED BY 'x'",
		"SELECT * FROM victim.sale INTO OUTFILE '" + my.Dir + "/stolen'", "LOAD DATA LOCAL INFILE '/etc/passwd' INTO TABLE victim.sale",
		"CREATE TABLE `m` (a int) ENGINE=MRG_MyISAM UNION=(`victim`.`sale`);\nINSERT INTO `m` VALUES (1)",
		"CREATE TABLE `a` (b int);\nCREATE TRIGGER victim.t BEFORE INSERT ON victim.sale FOR EACH ROW SET @a = 1;\nINSERT INTO `a` VALUES (1)",
		"CREATE EVENT `e` ON SCHEDULE AT now() ON COMPLETION PRESERVE DO DROP DATABASE victim",
		// The server must not read quotes otherwise than we do, however that is set.
		"CREATE TABLE `a` (b text);\nSET @@sql_mode='NO_BACKSLASH_ESCAPES';\nINSERT INTO `a` VALUES ('\\'),((SELECT max(a) FROM victim.sale))-- ')",
		"CREATE TABLE `a` (b text);\nSET @x='gbk', @@character_set_client=@x;\nINSERT INTO `a` VALUES ('\xbf\\'),((SELECT max(a) FROM victim.sale))-- ')",
		"CREATE TABLE `a` (b text);\nSET character_set_client=28;\nINSERT INTO `a` VALUES ('\xbf\\'),((SELECT max(a) FROM victim.sale))-- ')",
		"CREATE TABLE `a` (b text) --\x7f '\n AS SELECT a FROM victim.sale --\x7f '",
		"SET NAMES latin1;\nCREATE TABLE `a` (b text) AS SELECT\xa0a FROM victim.sale",
		"CREATE VIEW `v` AS SELECT a FROM victim.sale;\nINSERT INTO `v` VALUES (3)",
		"CREATE TABLE `m` (a int) ENGINE='MERGE' UNION=(`victim`.`isam`) INSERT_METHOD=LAST;\nINSERT INTO `m` VALUES (1)",
		"CREATE TABLE `m` (a int) ENGINE=/*!40000 MERGE */ UNION=(`victim`.`isam`) INSERT_METHOD=LAST;\nINSERT INTO `m` VALUES (1)",
		"SET default_storage_engine=MERGE;\nCREATE TABLE `m` (a int) UNION=(`victim`.`isam`) INSERT_METHOD=LAST;\nINSERT INTO `m` VALUES (1)",
		"CREATE TABLE `m` LIKE `victim`.`merged`;\nINSERT INTO `m` VALUES (1)",
	} {
		script := strings.NewReader(statement + ";\n-- Dump completed\n")
		if err := m.Restore(t.Context(), backup.Part{}, script, "hostile", dumptest.Task(t)); err == nil || myExists(t, my, "hostile") {
			t.Errorf("%s: %v", statement, err)
		}
	}
	samePgState(t, myState(t, my, "victim"), before)
	if got := my.SQL(t, "", "SELECT @@GLOBAL.max_connections = 7, (SELECT count(*) FROM mysql.user WHERE user = 'intruder')"); got != "0\t0\n" {
		t.Error(got)
	}
	my.SQL(t, "", "DROP DATABASE victim")
}
