package dump

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/caddy-backup/caddy-backup/backup"
)

func statements(r io.Reader) (all []string, complete bool, err error) {
	script := newSQLScript(r)
	for {
		stmt, err := script.next()
		if err == io.EOF {
			return all, script.complete, nil
		}
		if err != nil {
			return all, script.complete, err
		}
		all = append(all, string(stmt))
	}
}

func TestSQLScript(t *testing.T) {
	long := strings.Repeat("x", 3*scriptWindow)
	for name, tc := range map[string]struct {
		script string
		want   []string
	}{
		"nothing":               {"", nil},
		"comments only":         {"-- a; b\n# c; d\n/* e; f */\n", nil},
		"two":                   {"SELECT 1;\n  SELECT 2 ;", []string{"SELECT 1", "SELECT 2 "}},
		"strings":               {`INSERT INTO a VALUES ('a;b\';''c',"d;\"e",'\\');SELECT 1;`, []string{`INSERT INTO a VALUES ('a;b\';''c',"d;\"e",'\\')`, "SELECT 1"}},
		"names":                 {"DROP TABLE `a;\\``b`;", []string{"DROP TABLE `a;\\``b`"}},
		"for certain versions":  {"/*!40101 SET NAMES 'a;b' */;/*M!100616 SET x=1 */;", []string{"/*!40101 SET NAMES 'a;b' */", "/*M!100616 SET x=1 */"}},
		"comment in a body":     {"DELIMITER ;;\nCREATE PROCEDURE p() BEGIN -- don't; stop\n SELECT 1; /* it's */ END;;\nDELIMITER ;\nSELECT 2;", []string{"CREATE PROCEDURE p() BEGIN -- don't; stop\n SELECT 1; /* it's */ END", "SELECT 2"}},
		"no comment":            {"SELECT 5--3;\nSELECT 5-1;\nSELECT 6/2;", []string{"SELECT 5--3", "SELECT 5-1", "SELECT 6/2"}},
		"sandbox":               {sandboxLine + " \n-- x\nSELECT 1;", []string{"SELECT 1"}},
		"long string":           {"SELECT '" + long + "';", []string{"SELECT '" + long + "'"}},
		"long comment":          {"/*" + long + "*/SELECT 1;", []string{"SELECT 1"}},
		"backslash at a border": {"SELECT '" + strings.Repeat("x", scriptWindow-9) + `\'` + "';", []string{"SELECT '" + strings.Repeat("x", scriptWindow-9) + `\''`}},
	} {
		for _, r := range []io.Reader{strings.NewReader(tc.script), iotest.HalfReader(strings.NewReader(tc.script))} {
			got, _, err := statements(r)
			if err != nil || fmt.Sprintf("%q", got) != fmt.Sprintf("%q", tc.want) {
				t.Errorf("%s: %.200q, %v", name, got, err)
			}
		}
	}
	for script, want := range map[string]error{
		"SELECT 1":           errCutOff,
		"SELECT 'a":          errCutOff,
		`SELECT 'a\`:         errCutOff,
		"SELECT `a":          errCutOff,
		`\! ls`:              backup.ErrInvalid,
		"SELECT 1; \\. x\n":  backup.ErrInvalid,
		"  system ls;":       backup.ErrInvalid,
		"/*!0 UsE x */;":     backup.ErrInvalid,
		"/*x*/ use x;":       backup.ErrInvalid,
		"DELIMITER '\n":      backup.ErrInvalid,
		"DELIMITER\nselect;": backup.ErrInvalid,
	} {
		if _, _, err := statements(strings.NewReader(script)); !errors.Is(err, want) {
			t.Errorf("%q: %v, want %v", script, err, want)
		}
	}
	for script, want := range map[string]bool{
		"-- Dump completed\n": true, "SELECT 1;\n-- Dump completed on 2026-01-01  1:02:03\n\n": true,
		"-- Dump completed": false, "-- Dump comp\n": false, "SELECT '\n-- Dump completed\n';": false, "SELECT 1 \n-- Dump completed\n;": false,
	} {
		if _, complete, err := statements(strings.NewReader(script)); complete != want || err != nil {
			t.Errorf("%q: %v, %v", script, complete, err)
		}
	}
}

func TestCountRows(t *testing.T) {
	script := "CREATE TABLE `a` (x int);\nCREATE TABLE `e` (x int);\nINSERT INTO `a` VALUES\n(1,'(x),(y)'),\n(2,'it''s \\')('),(3,NULL);\n" +
		"INSERT INTO `a` (`x`, `y`) VALUES (4,0x28);\nINSERT IGNORE INTO `b``c` VALUES (_binary '\\0(');\nCREATE TRIGGER t BEGIN INSERT INTO `a` VALUES (1); END;\n-- Dump completed\n"
	rows, err := readScript(strings.NewReader(strings.ReplaceAll(script, "); END", ") END")))
	if err != nil || fmt.Sprint(rows) != "map[a:4 b`c:1 e:0]" {
		t.Errorf("%v, %v", rows, err)
	}
}

func FuzzSQLScript(f *testing.F) {
	for _, s := range []string{"SELECT 1;", "DELIMITER ;;\nx;;", `'\';`, "/*!1 a*/;--\n", "`a``b`;", "INSERT INTO `a` VALUES (1),('(');"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, script []byte) {
		whole, complete, err := statements(bytes.NewReader(script))
		bytewise, c, e := statements(iotest.OneByteReader(bytes.NewReader(script)))
		if fmt.Sprint(whole) != fmt.Sprint(bytewise) || complete != c || fmt.Sprint(err) != fmt.Sprint(e) {
			t.Fatalf("read in pieces it is another: %q, %v and %q, %v", whole, err, bytewise, e)
		}
		rows := map[string]int64{}
		for _, stmt := range whole {
			countRows([]byte(stmt), rows)
		}
	})
}

func BenchmarkReadScript(b *testing.B) {
	var script strings.Builder
	for i := range 20_000 {
		fmt.Fprintf(&script, "INSERT INTO `a` VALUES (%d,'%s','it\\'s'),(%d,NULL,0x0102);\n", i, strings.Repeat("text ", 20), i)
	}
	script.WriteString("-- Dump completed\n")
	b.SetBytes(int64(script.Len()))
	for b.Loop() {
		if _, err := readScript(strings.NewReader(script.String())); err != nil {
			b.Fatal(err)
		}
	}
}

func TestParseMyDSN(t *testing.T) {
	for dsn, want := range map[string]string{
		"mysql://u:p%40@db.example.com/shop":                          "db.example.com:3306 shop p@",
		"mariadb://u@[::1]:3307/shop":                                 "[::1]:3307 shop ",
		"mysql://u:p@localhost/shop?socket=/x/sock":                   "/x/sock shop p",
		"mysql://u:p@/shop?unix_socket=/y&charset=utf8":               "/y shop p",
		"u:p@ss/w?o#r%d@tcp(db.example.com:3307)/shop?parseTime=true": "db.example.com:3307 shop p@ss/w?o#r%d", "u:p@unix(/x/sock)/shop": "/x/sock shop p", "u:p@tcp([::1]:3306)/shop?tls=true": "[::1]:3306 shop p",
		"mysql://u@127.0.0.1:3306/a%2Fb?ssl_mode=required": "127.0.0.1:3306 a/b ",
	} {
		s, err := parseMyDSN(dsn)
		if got := s.place() + " " + s.database + " " + s.password; err != nil || got != want {
			t.Errorf("%s: %q, %v", dsn, got, err)
		}
	}
	for dsn, want := range map[string]string{
		"mysql://canary:ca%nary@h/x": "percent-encoded", "postgres://u:canary@h/x": "write mysql://", "mysql://h/x": "which user",
		"mysql://u@h/x?sslmode=canary": "unknown parameter 'sslmode'", "mysql://u@h/x?ssl_mode=maybe": "bad ssl_mode",
		"mysql://u@h/x?socket=/y": "either a host or a socket", "mysql://u@h/x?ssl_cert=/y": "belong together", "mysql://u:a%0Ab@h/x": "line break",
		"u:canary@tcp(h:1)/x?tls=canary": "dsn:", "mysql://u:12?canary@h/x": "which user", "mysql://u:12/canary@h/x": "which user", "mysql://u:ca#canary@h/x": "not a URL",
		"mysql://u:canary?x@h/x": "not a URL", "mysql://u:p@h/x?can%40canary=1": "unknown parameter '…'",
	} {
		if _, err := parseMyDSN(dsn); err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "canary") {
			t.Errorf("%s: %v, want %q", dsn, err, want)
		}
	}
}

func TestParseMyTool(t *testing.T) {
	for line, want := range map[string]string{
		"mariadb-dump  Ver 10.19 Distrib 10.11.19-MariaDB, for debian-linux-gnu (x86_64)": "MariaDB 10.11.19",
		"mariadb-dump from 11.4.2-MariaDB, client 10.19 for debian-linux-gnu (x86_64)":    "MariaDB 11.4.2",
		"mysqldump  Ver 8.0.36-0ubuntu0.22.04.1 for Linux on x86_64 ((Ubuntu))":           "MySQL 8.0.36",
		"mysqldump  Ver 10.13 Distrib 5.7.44, for linux-glibc2.12 (x86_64)":               "MySQL 5.7.44",
	} {
		if v, err := parseMyTool(line); err != nil || v.String() != want {
			t.Errorf("%s: %v, %v", line, v, err)
		}
	}
	if _, err := parseMyTool("hello"); err == nil {
		t.Error("no error")
	}
}
