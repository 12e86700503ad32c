package dump

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/caddy-backup/caddy-backup/backup"
	"github.com/caddy-backup/caddy-backup/dump/dumptest"
	"github.com/caddy-backup/caddy-backup/internal/realtest"
)

// Rows that are larger than a server takes in a statement come back all the same, and so do values that are larger than it takes
// as a parameter, but where LOAD DATA LOCAL is switched off: that is told when they are dumped, and changes nothing.
func testMySQLLarge(t *testing.T, my *realtest.MariaDB) {
	packet := 256 << 10
	if realtest.Soak() {
		packet = 16 << 20 // the default
	}
	set := func(name string, value any) { my.SQL(t, "", fmt.Sprintf("SET GLOBAL %s = %v", name, value)) }
	was := strings.TrimSpace(my.SQL(t, "", "SELECT @@max_allowed_packet"))
	defer set("max_allowed_packet", was)
	set("max_allowed_packet", 1<<30)
	my.SQL(t, "", "CREATE DATABASE large CHARACTER SET latin1")
	some, much := packet*3/4, packet*5/2
	my.SQL(t, "large", fmt.Sprintf(`CREATE TABLE a (id int PRIMARY KEY, b longblob, t longtext CHARACTER SET utf8mb4, l longtext, j json, g geometry, f bit(9), u longtext CHARACTER SET ucs2);
		SET @bytes = unhex('00090a0d1a5c27225fff25c3'), @text = 'tab\\t, line\\n, \\\\, ''\\Z\\0 \\\\%%_ äü🦊';
		INSERT INTO a (id, b, f) VALUES (1, repeat(@bytes, %[1]d / 12), b'101010101');
		INSERT INTO a (id, b, t, l, j) VALUES (2, repeat(@bytes, %[1]d / 12), repeat(@text, %[1]d / 40), repeat('ä\\\\', %[1]d / 3), json_array(repeat('"x\\\\', %[1]d / 12)));
		INSERT INTO a (id, b, t) VALUES (3, repeat(@bytes, %[2]d / 12), repeat(@text, %[2]d / 40));
		INSERT INTO a (id, l, u, f) VALUES (4, repeat('ä\t\\\\', %[2]d / 3), repeat('ö\n', %[2]d / 3), NULL), (5, 'small', '', 1);
		INSERT INTO a (id, g, t) VALUES (6, st_geomfromtext(concat('LINESTRING(0 0', repeat(',1 2', %[1]d / 20), ')')), repeat('y', %[1]d / 2))`, some, much))
	set("max_allowed_packet", packet)
	set("local_infile", "OFF")
	defer set("local_infile", "ON")
	state := func(database string) string {
		return my.SQL(t, database, "SELECT id, sha1(b), sha1(t), sha1(l), sha1(j), sha1(g), f + 0, sha1(u), length(b), length(t), length(l), length(g), length(u) FROM a ORDER BY id")
	}
	want := state("large")
	m := mySource(t, my.DSN("large"))
	stored, dump := dumped(t, m)
	if notes := strings.Join(stored.Facts.Notes, ""); !strings.Contains(notes, "would not take back") || !strings.Contains(notes, ": a;") {
		t.Errorf("notes: %s", notes)
	}
	err := m.Restore(t.Context(), stored.Part, bytes.NewReader(dump), "larger", dumptest.Task(t))
	if err == nil || !strings.Contains(err.Error(), "local_infile to on") || !strings.Contains(err.Error(), "table a") || myExists(t, my, "larger") {
		t.Errorf("error = %v", err)
	}
	set("local_infile", "ON")
	if stored, dump = dumped(t, m); len(stored.Facts.Notes) > 0 {
		t.Errorf("notes: %s", stored.Facts.Notes)
	}
	if err := m.Restore(t.Context(), stored.Part, bytes.NewReader(dump), "larger", dumptest.Task(t)); err != nil {
		t.Fatal(err)
	}
	if got := state("larger"); got != want {
		t.Errorf("is\n%s, was\n%s", got, want)
	}
	my.SQL(t, "", "DROP DATABASE large; DROP DATABASE larger")

	rows := strings.TrimSuffix(strings.Repeat("(1,'a''),(\\'b',NULL),\n", packet/10), ",\n") // one statement
	script := "CREATE TABLE a (id int, t text, n int);\nINSERT INTO `a` VALUES\n" + rows + ";\n-- Dump completed\n"
	if err := m.Restore(t.Context(), backup.Part{}, strings.NewReader(script), "larger", dumptest.Task(t)); err != nil {
		t.Fatal(err)
	}
	if got := my.SQL(t, "larger", "SELECT count(*), min(t), max(t) FROM a"); got != fmt.Sprintf("%d\ta'),('b\ta'),('b\n", packet/10) {
		t.Error(got)
	}
	my.SQL(t, "", "DROP DATABASE larger")
}

func TestDecodeMyValue(t *testing.T) {
	for _, c := range []struct {
		literal, want string
		mode          string
		binary, bad   bool
	}{
		{literal: `'a''b\'c\\\n\r\t\b\Z\0\%\_\x"\"'`, want: "a'b'c\\\n\r\t\b\x1a\x00\\%\\_x\"\""}, {literal: "''"}, {literal: `'\\'`, want: `\`}, {literal: `''''`, want: `'`},
		{literal: `'a\n''\'`, mode: "NO_BACKSLASH_ESCAPES", want: `a\n'\`}, {literal: `_binary 'a\0'`, want: "a\x00", binary: true}, {literal: "0xABc1", want: "\xab\xc1", binary: true},
		{literal: "0xABC", want: "\x0a\xbc", binary: true}, {literal: "x'4142'", want: "AB", binary: true}, {literal: "0x", binary: true},
		{literal: "12", bad: true}, {literal: "NULL", bad: true}, {literal: "b'01'", bad: true}, {literal: "_utf8mb4 'a'", bad: true}, {literal: "5", bad: true},
	} {
		v, ok := decodeMyValue([]byte(c.literal), parseSQLMode(c.mode))
		if ok == c.bad || ok && (string(v.data) != c.want || v.binary != c.binary || literalSize([]byte(c.literal)) < len(v.data)) {
			t.Errorf("%s: %q, %t", c.literal, v.data, ok)
		}
	}
	for n := 2; n < 9; n++ {
		r, text := &loadReader{rest: []byte("a\\\tb\n\n\\")}, ""
		p := make([]byte, n)
		for {
			i, err := r.Read(p)
			text += string(p[:i])
			if err == io.EOF {
				break
			}
		}
		if text != "a\\\\\\\tb\\\n\\\n\\\\\n" {
			t.Errorf("%d: %q", n, text)
		}
	}
}
