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

// A database that pulls from another server is restored, copied and drilled without a second one ever pulling, and without
// the slot on the other server being touched.
func testPostgresSubscriptions(t *testing.T, pg *realtest.Postgres) {
	pg.CreateDatabase(t, "publisher")
	pg.SQL(t, "publisher", "CREATE TABLE news (id int PRIMARY KEY); CREATE PUBLICATION p FOR ALL TABLES")
	pg.SQL(t, "publisher", "SELECT pg_create_logical_replication_slot('feed', 'pgoutput')")
	pg.CreateDatabase(t, "subscriber")
	pg.SQL(t, "subscriber", "CREATE TABLE news (id int PRIMARY KEY)")
	pg.SQL(t, "subscriber", "CREATE SUBSCRIPTION \"the feed\" CONNECTION '"+strings.ReplaceAll(pg.SocketDSN("publisher"), "'", "''")+
		"' PUBLICATION p WITH (create_slot = false, slot_name = 'feed', copy_data = false)")
	pg.SQL(t, "publisher", "INSERT INTO news VALUES (1)")
	eventually(t, pg, "subscriber", "SELECT count(*) FROM news", "1")
	const pulling = "SELECT count(*) FROM pg_replication_slots WHERE slot_name = 'feed' AND active"
	for _, format := range []string{formatCustom, formatPlain} {
		p := pgSource(t, pg.DSN("subscriber"))
		p.Format = format
		part := firstPart(t, p)
		dump, facts := pgDump(t, p, part)
		s := backup.Stored{Part: part, Facts: facts}
		t.Run(format, func(t *testing.T) {
			if _, err := p.Drill(t.Context(), s, bytes.NewReader(dump), backup.Scratch{Name: scratch}, dumptest.Task(t)); err != nil {
				t.Errorf("drill: %v: %s", err, backup.OutputOf(err))
			}
			task := dumptest.Task(t)
			if err := p.Restore(t.Context(), part, bytes.NewReader(dump), "copy "+format, task); err != nil {
				t.Fatal(err, backup.OutputOf(err))
			}
			if log := dumptest.Log(task); !strings.Contains(log, "disabled in the copy, and without a slot: the feed") {
				t.Errorf("%s", log)
			}
			pg.SQL(t, "copy "+format, `DROP SUBSCRIPTION "the feed"`) // as somebody will
			eventually(t, pg, "postgres", pulling, "1")
		})
	}
	p := pgSource(t, pg.DSN("subscriber"))
	part := firstPart(t, p)
	dump, facts := pgDump(t, p, part)
	s := backup.Stored{Part: part, Facts: facts}
	if err := p.Ready(t.Context(), s, backup.Over{}, dumptest.Task(t)); !errors.Is(err, backup.ErrConflict) || !strings.Contains(err.Error(), "logical replication") {
		t.Errorf("in use by a subscription: %v", err)
	}
	for _, o := range []backup.Over{{Force: true}, {Aside: true}} {
		pg.SQL(t, "subscriber", "INSERT INTO news VALUES (-1)")
		task := dumptest.Task(t)
		if err := p.Overwrite(t.Context(), s, bytes.NewReader(dump), o, task); err != nil {
			t.Fatal(err, backup.OutputOf(err))
		}
		if log := dumptest.Log(task); !strings.Contains(log, "subscriptions are disabled in the restored database: the feed") {
			t.Errorf("%s", log)
		}
		eventually(t, pg, "postgres", pulling, "0")
		if got := pg.SQL(t, "subscriber", "SELECT subenabled, subslotname, (SELECT count(*) FROM news) FROM pg_subscription WHERE subdbid = (SELECT oid FROM pg_database WHERE datname = current_database())"); got != "f\tfeed\t1\n" {
			t.Errorf("%+v: %s", o, got)
		}
	}
	pg.SQL(t, "publisher", "INSERT INTO news VALUES (2)")
	pg.SQL(t, "subscriber", `ALTER SUBSCRIPTION "the feed" ENABLE; ALTER SUBSCRIPTION "the feed" REFRESH PUBLICATION WITH (copy_data = false)`)
	eventually(t, pg, "subscriber", "SELECT count(*) FROM news", "2")

	pub := pgSource(t, pg.DSN("publisher")) // which is in use by those who pull
	part = firstPart(t, pub)
	dump, facts = pgDump(t, pub, part)
	s = backup.Stored{Part: part, Facts: facts}
	if err := pub.Ready(t.Context(), s, backup.Over{}, dumptest.Task(t)); !errors.Is(err, backup.ErrConflict) {
		t.Errorf("in use by a subscriber: %v", err)
	}
	task := dumptest.Task(t)
	if err := pub.Overwrite(t.Context(), s, bytes.NewReader(dump), backup.Over{Force: true}, task); err != nil {
		t.Fatal(err, backup.OutputOf(err))
	}
	if log := dumptest.Log(task); !strings.Contains(log, "replication slots go with the old database, so their subscribers must be set up anew: feed") {
		t.Errorf("%s", log)
	}
	pg.SQL(t, "subscriber", `ALTER SUBSCRIPTION "the feed" DISABLE; ALTER SUBSCRIPTION "the feed" SET (slot_name = NONE); DROP SUBSCRIPTION "the feed"`)
	noBuildings(t, pg)
}
