package dump

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddy-backup/caddy-backup/backup"
	"github.com/caddy-backup/caddy-backup/dump/dumptest"
	"github.com/caddy-backup/caddy-backup/internal/realtest"
)

// A restore for which the server's disk has no room, or the server no extension, leaves the live database as it was, and
// nothing beside it.
func testPostgresNoRoom(t *testing.T, pg *realtest.Postgres) {
	disk := realtest.SmallDisk(t, 64)
	space := filepath.Join(disk, "space")
	makeFolderOf(t, pg, space)
	passable(t, disk) // for the server's user
	pg.SQL(t, "postgres", "CREATE TABLESPACE narrow LOCATION '"+space+"'")
	pg.SQL(t, "postgres", "CREATE DATABASE narrow TABLESPACE narrow TEMPLATE template0")
	t.Cleanup(func() { pg.TrySQL(context.Background(), "postgres", "DROP DATABASE narrow WITH (FORCE)") })
	pg.SQL(t, "narrow", "CREATE EXTENSION pg_trgm; CREATE TABLE a AS SELECT i, repeat(md5(i::text), 10) AS text FROM generate_series(1, 30000) i")
	p := pgSource(t, pg.DSN("narrow"))
	part := firstPart(t, p)
	dump, facts := pgDump(t, p, part)
	s := backup.Stored{Part: part, Facts: facts, Size: int64(len(dump))}
	was := pgState(t, pg, "narrow")
	over := func(dump []byte) error {
		dumptest.NothingLeft(t)
		return p.Overwrite(t.Context(), s, bytes.NewReader(dump), backup.Over{}, dumptest.Task(t))
	}
	for _, c := range []struct {
		dump []byte
		want string
	}{
		{dump, "make room on the server's disk"},
		{bytes.ReplaceAll(dump, []byte("pg_trgm"), []byte("pg_none")), "install the extension's package"},
	} {
		pg.SQL(t, "postgres", "CHECKPOINT") // what is here already has its place
		filler := fill(t, disk, 12<<20)     // half of what is needed
		err := over(c.dump)
		if err == nil || !strings.Contains(err.Error(), c.want) || errors.Is(err, backup.ErrIncomplete) {
			t.Errorf("error = %v: %s", err, backup.OutputOf(err))
		}
		if _, err := p.Drill(t.Context(), s, bytes.NewReader(c.dump), backup.Scratch{Name: scratch}, dumptest.Task(t)); err == nil {
			t.Error("a drill of it goes well")
		}
		if err := os.Remove(filler); err != nil {
			t.Fatal(err)
		}
		samePgState(t, pgState(t, pg, "narrow"), was)
		noBuildings(t, pg)
	}
	if err := over(dump); err != nil {
		t.Error(err)
	}
	samePgState(t, pgState(t, pg, "narrow"), was)
	pg.SQL(t, "postgres", "DROP DATABASE narrow")
	pg.SQL(t, "postgres", "DROP TABLESPACE narrow")
}
