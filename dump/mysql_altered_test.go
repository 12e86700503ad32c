package dump

import (
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/caddy-backup/caddy-backup/backup"
	"github.com/caddy-backup/caddy-backup/dump/dumptest"
	"github.com/caddy-backup/caddy-backup/internal/realtest"
)

// What is altered during a dump, by somebody else, before its turn in it comes, is no backup, whether the server notices or not;
// what is altered afterwards, or is in no dump, does not matter.
func testMySQLAltered(t *testing.T, my *realtest.MariaDB) {
	const tables = `CREATE DATABASE altered%[1]d; USE altered%[1]d;
		CREATE TABLE a (id int); CREATE TABLE b AS SELECT repeat(md5(seq), 64) AS text FROM seq_1_to_1000;
		CREATE TABLE c (id int PRIMARY KEY, v int); INSERT INTO c VALUES (1, 1), (2, 2); CREATE TABLE spare LIKE c; INSERT INTO spare VALUES (9, 9);
		CREATE TABLE parted (id int) PARTITION BY LIST (id) (PARTITION one VALUES IN (1), PARTITION two VALUES IN (2)); INSERT INTO parted VALUES (1), (2);
		CREATE TABLE part (id int); INSERT INTO part VALUES (1), (1), (1); CREATE VIEW v AS SELECT 1;`
	const refused = "a table was altered during the dump"
	cases := []struct {
		name, alter, want string // "": it is a good dump
	}{
		{"another in its place", "RENAME TABLE c TO aside, spare TO c, aside TO spare", "table c was altered"},
		{"a partition is exchanged", "ALTER TABLE parted EXCHANGE PARTITION one WITH TABLE part", "table parted was altered"},
		{"afterwards", "ALTER TABLE a ADD COLUMN more int; CREATE TABLE newer (id int); CREATE VIEW w AS SELECT 1", ""},
		{"dropped", "DROP TABLE c", "was dropped or renamed"},
		{"columns change places", "ALTER TABLE c MODIFY v int FIRST, ALGORITHM=INSTANT", "table c was altered"},
		{"a partition goes", "ALTER TABLE parted DROP PARTITION one", "table parted was altered"},
		{"default", "ALTER TABLE c ALTER v SET DEFAULT 7", "table c was altered"},
		{"another engine", "ALTER TABLE c ENGINE=Aria", "table c was altered"},
		{"rebuilt", "ALTER TABLE c MODIFY v bigint", refused},
		{"emptied", "TRUNCATE TABLE c", refused},
		{"made anew", "DROP TABLE c; CREATE TABLE c (id int PRIMARY KEY, v int)", refused},
		{"renamed", "RENAME TABLE c TO d", "was dropped or renamed"},
		{"a view goes", "DROP VIEW v", "was dropped or renamed"},
	}
	if !realtest.Soak() {
		cases = cases[:3]
	}
	var script strings.Builder
	for i := range cases {
		fmt.Fprintf(&script, tables, i)
	}
	my.SQL(t, "", script.String())
	for my.SQL(t, "", "SELECT max(create_time) < now() FROM information_schema.tables WHERE table_schema LIKE 'altered%'") != "1\n" {
		time.Sleep(20 * time.Millisecond) // to the next second: the server knows no finer ones
	}
	for i, c := range cases {
		database, n := fmt.Sprintf("altered%d", i), 0
		m := mySource(t, my.DSN(database))
		_, err := m.Dump(t.Context(), backup.Part{}, writerFunc(func(p []byte) (int, error) {
			// It is at table b, which is larger than what is on its way, and we have read enough of it to have looked at table a.
			if was := n; was < 1<<20 && was+len(p) >= 1<<20 {
				my.SQL(t, database, c.alter)
			}
			n += len(p)
			return len(p), nil
		}), dumptest.Task(t))
		if said := said(err); (err != nil) != (c.want != "") || err != nil && (!strings.Contains(said, c.want) || !strings.Contains(said, "back up again")) {
			t.Errorf("%s: error = %s", c.name, said)
		}
		my.SQL(t, database, "DROP TABLE b")
		if _, err := m.Dump(t.Context(), backup.Part{}, io.Discard, dumptest.Task(t)); err != nil {
			t.Errorf("%s, again: %v", c.name, err)
		}
		my.SQL(t, "", "DROP DATABASE "+database)
	}
}
