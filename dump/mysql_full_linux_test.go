package dump

import (
	"bytes"
	"errors"
	"io"
	"os"
	"strings"
	"testing"

	"github.com/caddy-backup/caddy-backup/backup"
	"github.com/caddy-backup/caddy-backup/dump/dumptest"
	"github.com/caddy-backup/caddy-backup/internal/realtest"
)

// A server of which the disk runs full in the middle of a restore or a drill, or has no room for what a dump asks, leaves the live
// database as it was and nothing beside it; with room again, all goes well.
func TestMySQLNoRoom(t *testing.T) {
	if !realtest.Soak() {
		return // it needs a server of its own
	}
	disk := realtest.SmallDisk(t, 192)
	passable(t, disk)     // for the server's user
	os.Chmod(disk, 0o777) // and have its tmpdir there
	t.Setenv("TMPDIR", disk)
	my := realtest.StartMariaDB(t)
	t.Setenv("TMPDIR", t.TempDir())
	my.SQL(t, "", "CREATE DATABASE narrow")
	my.SQL(t, "narrow", "CREATE TABLE a AS SELECT seq AS i, repeat(md5(seq), 10) AS text FROM seq_1_to_60000; CREATE VIEW v AS SELECT i FROM a")
	m := mySource(t, my.DSN("narrow"))
	stored, dump := dumped(t, m)
	was := myState(t, my, "narrow")
	at := backup.Scratch{Name: backup.ScratchPrefix + "20261122t010203z_abcd_01234571"}
	runs := map[string]func() error{
		"over": func() error {
			return m.Overwrite(t.Context(), stored, bytes.NewReader(dump), backup.Over{}, dumptest.Task(t))
		},
		"new": func() error {
			return m.Restore(t.Context(), stored.Part, bytes.NewReader(dump), "wide", dumptest.Task(t))
		},
		"drill": func() error {
			_, err := m.Drill(t.Context(), stored, bytes.NewReader(dump), at, dumptest.Task(t))
			return err
		},
		"dump": func() error { _, err := m.Dump(t.Context(), stored.Part, io.Discard, dumptest.Task(t)); return err },
	}
	for _, left := range []int64{10 << 20, 0} {
		for _, name := range []string{"over", "new", "drill", "dump"} {
			dumptest.NothingLeft(t)
			filler := fill(t, disk, left)
			err := runs[name]()
			if name == "dump" && left > 0 {
				if err != nil {
					t.Error(err)
				}
			} else if err == nil || !strings.Contains(err.Error(), noRoom) && !strings.Contains(err.Error(), "No space left on device") || errors.Is(err, backup.ErrIncomplete) {
				t.Errorf("%s with %d bytes left: %v", name, left, err)
			}
			if err := os.Remove(filler); err != nil {
				t.Fatal(err)
			}
			samePgState(t, myState(t, my, "narrow"), was)
			if names := my.SQL(t, "", "SELECT schema_name FROM information_schema.schemata WHERE schema_name LIKE 'caddy%' OR schema_name = 'wide'"); names != "" {
				t.Errorf("%s with %d bytes left leaves behind: %s", name, left, names)
			}
		}
	}
	for name, run := range runs {
		if err := run(); err != nil {
			t.Errorf("with room again: %s: %v", name, err)
		}
	}
	samePgState(t, myState(t, my, "narrow"), was)
}
