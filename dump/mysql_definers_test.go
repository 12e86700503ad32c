package dump

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"

	"github.com/caddy-backup/caddy-backup/backup"
	"github.com/caddy-backup/caddy-backup/dump/dumptest"
	"github.com/caddy-backup/caddy-backup/internal/realtest"
)

// Views belong to users who may read in their own database alone. Users whom the server does not know are named after a restore.
func testMySQLDefiners(t *testing.T, my *realtest.MariaDB) {
	my.SQL(t, "", "CREATE DATABASE defined; CREATE USER author@nowhere; GRANT ALL ON defined.* TO author@nowhere; GRANT ALL ON redefined.* TO author@nowhere; CREATE ROLE authors")
	my.SQL(t, "defined", "CREATE TABLE a (b int); CREATE DEFINER=author@nowhere VIEW v AS SELECT b FROM a; CREATE DEFINER=author@nowhere PROCEDURE p() SELECT 1; CREATE DEFINER=author@nowhere FUNCTION f() RETURNS int RETURN (SELECT count(*) FROM a); "+
		"CREATE DEFINER=author@nowhere VIEW w AS SELECT v.b, f() AS f FROM v JOIN a ON a.b = v.b; CREATE DEFINER=author@nowhere TRIGGER t BEFORE INSERT ON a FOR EACH ROW SET NEW.b = 1 + f(); CREATE DEFINER=authors PROCEDURE r() SELECT 1")
	m := mySource(t, my.DSN("defined"))
	stored, dump := dumped(t, m)
	logged := func(restore func(task *backup.Task) error) (string, error) {
		var log bytes.Buffer
		task := dumptest.Task(t)
		task.Log = slog.New(slog.NewTextHandler(&log, nil))
		err := restore(task)
		return log.String(), err
	}
	at := backup.Scratch{Name: backup.ScratchPrefix + "20261122t010203z_abcd_01234570"}
	drill := func(task *backup.Task) error {
		_, err := m.Drill(t.Context(), stored, bytes.NewReader(dump), at, task)
		return err
	}
	into := func(task *backup.Task) error {
		return m.Restore(t.Context(), stored.Part, bytes.NewReader(dump), "redefined", task)
	}
	over := func(task *backup.Task) error {
		return m.Overwrite(t.Context(), stored, bytes.NewReader(dump), backup.Over{}, task)
	}
	for _, restore := range []func(*backup.Task) error{drill, into, over} {
		if log, err := logged(restore); err != nil || strings.Contains(log, "definers") || strings.Contains(log, "cannot look") {
			t.Errorf("%v: %s", err, log)
		}
	}
	my.SQL(t, "", "DROP DATABASE redefined; DROP VIEW defined.w")
	whole := dump
	stored, dump = dumped(t, m)
	was := myState(t, my, "defined")
	my.SQL(t, "", "DROP USER author@nowhere")
	if err := m.Restore(t.Context(), stored.Part, bytes.NewReader(whole), "redefined", dumptest.Task(t)); err == nil || !strings.Contains(err.Error(), "create that user") {
		t.Errorf("a view on another one cannot be made without who defined them: %v", err)
	}
	for _, restore := range []func(*backup.Task) error{drill, into, over} {
		if log, err := logged(restore); err != nil || strings.Contains(log, "definers=author@nowhere\n") != (log != "") {
			t.Errorf("%v: %s", err, log)
		}
	}
	my.SQL(t, "", "CREATE USER author@nowhere; GRANT ALL ON defined.* TO author@nowhere; GRANT ALL ON redefined.* TO author@nowhere")
	samePgState(t, myState(t, my, "defined"), was)
	samePgState(t, myState(t, my, "redefined"), was)
	my.SQL(t, "", "DROP DATABASE redefined; DROP DATABASE defined; DROP ROLE authors; DROP USER author@nowhere")
}
