package dump

import (
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/caddy-backup/caddy-backup/backup"
	"github.com/caddy-backup/caddy-backup/backup/backuptest"
	"github.com/caddy-backup/caddy-backup/dump/dumptest"
	"github.com/caddy-backup/caddy-backup/internal/realtest"
)

// overAbsent restores over a live one that is gone: the look says so, and nothing is asked for, made or kept that it needs no more.
func overAbsent(t *testing.T, e *backuptest.Env, snapshot, path, live string) {
	t.Helper()
	for _, q := range []backup.RestoreRequest{{DryRun: true}, {Confirm: live}} {
		q.Snapshot, q.Path, q.Overwrite = snapshot, path, true
		run, err := e.Restore(t.Context(), "alice", q)
		if err != nil {
			t.Fatal(err)
		}
		run = e.Wait(t, run.ID)
		requireOK(t, run)
		want := "was not there, and was made from snapshot"
		if q.DryRun {
			want = "is not there now: it would be made from snapshot"
		}
		if !slices.Equal(run.Absent, []string{live}) || run.Safety != "" || run.Undo != "" || !strings.Contains(run.Summary, want) {
			t.Errorf("%+v", run)
		}
		if run.Touched == q.DryRun {
			t.Errorf("touched: %+v", run)
		}
	}
}

// notAbsent looks, and finds something in the way that is no absence.
func notAbsent(t *testing.T, e *backuptest.Env, snapshot, path, want string) {
	t.Helper()
	run, err := e.Restore(t.Context(), "alice", backup.RestoreRequest{Snapshot: snapshot, Path: path, Overwrite: true, DryRun: true})
	if err != nil {
		t.Fatal(err)
	}
	if run = e.Wait(t, run.ID); run.State != backup.StateFailed || len(run.Absent) > 0 || !strings.Contains(run.Error, want) {
		t.Errorf("%+v", run)
	}
}

func TestRestoreOverAbsent(t *testing.T) {
	x := newShop(t)
	gone := func(path string) {
		t.Helper()
		if err := errors.Join(os.RemoveAll(path), os.RemoveAll(path+"-wal"), os.RemoveAll(path+"-shm")); err != nil {
			t.Fatal(err)
		}
	}
	t.Run("a database", func(t *testing.T) {
		gone(x.db)
		overAbsent(t, x.Env, x.snapshot.ID, "db.sqlite3", x.db)
		x.require(t, x.wasDB, x.is)
	})
	t.Run("a folder", func(t *testing.T) {
		gone(x.media)
		overAbsent(t, x.Env, x.snapshot.ID, "media", x.media)
		want := maps.Clone(x.was)
		delete(want, "cache/x") // excluded, and gone with the folder
		x.require(t, x.wasDB, want)
	})
	t.Run("a file of a folder", func(t *testing.T) {
		if err := os.Chmod(x.root, 0o750); err != nil {
			t.Fatal(err)
		}
		gone(x.media)
		overAbsent(t, x.Env, x.snapshot.ID, "media/deep/b.jpg", filepath.Join(x.media, "deep/b.jpg"))
		x.require(t, x.wasDB, map[string]string{"deep/b.jpg": "two"})
		for _, folder := range []string{x.media, filepath.Join(x.media, "deep")} {
			if fi, err := os.Stat(folder); err != nil || fi.Mode().Perm() != 0o750 {
				t.Errorf("%s: %v, %v", folder, fi.Mode(), err)
			}
		}
	})
	t.Run("one of several", func(t *testing.T) {
		requireOK(t, x.over(t, backup.RestoreRequest{Path: "media", Confirm: x.media}))
		gone(x.db)
		run := x.over(t, backup.RestoreRequest{Confirm: "shop"})
		requireOK(t, run)
		if !slices.Equal(run.Absent, []string{x.db}) || run.Safety == "" || !strings.Contains(run.Undo, " media --overwrite --confirm "+x.media) ||
			!strings.Contains(run.Summary, x.media+" was replaced") || !strings.Contains(run.Summary, x.db+" was not there") {
			t.Errorf("%+v", run)
		}
		requireOK(t, x.undo(t, run))
	})
	t.Run("what is above is gone", func(t *testing.T) { // as with a disk that is not mounted
		gone(filepath.Dir(x.db))
		notAbsent(t, x.Env, x.snapshot.ID, "db.sqlite3", "cannot be written to")
		x.Config.Jobs[0].Sources[1].Source.(*Files).folder = filepath.Join(filepath.Dir(x.db), "media")
		notAbsent(t, x.Env, x.snapshot.ID, "media", "cannot be written to")
		notAbsent(t, x.Env, x.snapshot.ID, "media/deep/b.jpg", "cannot be written to")
	})
}

// Nothing of what was made for a file stays when the file cannot be restored, and nothing is made outside.
func TestRestoreOverAbsentFails(t *testing.T) {
	x := newShop(t)
	files, outside := x.Config.Jobs[0].Sources[1].Source.(*Files), t.TempDir()
	if err := os.Symlink(outside, filepath.Join(x.media, "deep")); err != nil {
		t.Fatal(err)
	}
	for _, sub := range []string{"deep/more/b.jpg", "new/more/b.jpg"} {
		made, err := files.makeAbove(backup.Stored{Sub: sub}, dumptest.Task(t))
		if (err == nil) != strings.HasPrefix(sub, "new") {
			t.Errorf("%s: %v", sub, err)
		}
		made.close(errors.New("injected"))
	}
	if err := os.Remove(filepath.Join(x.media, "deep")); err != nil {
		t.Fatal(err)
	}
	x.require(t, x.isDB, x.is)
	if left, err := os.ReadDir(outside); err != nil || len(left) > 0 {
		t.Errorf("%v, %v", left, err)
	}
	if _, err := os.Stat(filepath.Join(x.media, "new")); err == nil {
		t.Error("a folder is left behind")
	}
}

func testPostgresAbsent(t *testing.T, pg *realtest.Postgres) {
	pg.CreateDatabase(t, "lost")
	pg.SQL(t, "postgres", "ALTER DATABASE lost OWNER TO shopkeeper; ALTER DATABASE lost SET work_mem = '5MB'")
	pg.SQL(t, "lost", "CREATE TABLE a AS SELECT generate_series(1, 100) AS n; GRANT SELECT ON a TO shopkeeper")
	state := func() string {
		return pg.SQL(t, "lost", "SELECT count(*), sum(n), (SELECT datdba::regrole || (SELECT setconfig::text FROM pg_db_role_setting WHERE setdatabase = oid) FROM pg_database WHERE datname = 'lost') FROM a")
	}
	was, on := state(), true
	p := pgSource(t, pg.DSN("lost"))
	p.Globals = &on
	e := backuptest.New(t, func(c *backup.Config) {
		c.Jobs[0].Sources = []backup.NamedSource{{Name: "db", Kind: "postgres", Source: p}}
	})
	s := e.Backed(t, "shop")
	pg.SQL(t, "postgres", "DROP DATABASE lost")
	overAbsent(t, e, s.ID, "db.dump", "lost")
	if got := state(); got != was {
		t.Errorf("%s, was %s", got, was)
	}
	pg.SQL(t, "postgres", "DROP DATABASE lost")
	run, err := e.Restore(t.Context(), "alice", backup.RestoreRequest{Snapshot: s.ID, Overwrite: true, Confirm: "shop"})
	if err != nil {
		t.Fatal(err)
	}
	if run = e.Wait(t, run.ID); run.State != backup.StateOK || run.Safety == "" || !slices.Equal(run.Absent, []string{"lost"}) || state() != was {
		t.Errorf("with the roles: %+v", run)
	}
	noBuildings(t, pg)
	dsn := p.dsn
	p.dsn = strings.Replace(dsn, pg.Password, "wrong", 1)
	notAbsent(t, e, s.ID, "db.dump", "refuses the password")
	p.dsn = "postgres://postgres@127.0.0.1:1/lost"
	notAbsent(t, e, s.ID, "db.dump", "nobody listens")
}

func testMySQLAbsent(t *testing.T, my *realtest.MariaDB) {
	my.SQL(t, "", "CREATE DATABASE lost")
	my.SQL(t, "lost", myShop)
	m := mySource(t, my.DSN("lost"))
	e := backuptest.New(t, func(c *backup.Config) {
		c.Jobs[0].Sources = []backup.NamedSource{{Name: "db", Kind: "mysql", Source: m}}
	})
	s, was := e.Backed(t, "shop"), myState(t, my, "lost")
	for range 2 {
		my.SQL(t, "", "DROP DATABASE lost")
		overAbsent(t, e, s.ID, "db.sql", "lost")
		samePgState(t, myState(t, my, "lost"), was)
		if left := my.SQL(t, "", "SHOW DATABASES LIKE 'caddy%'"); left != "" {
			t.Errorf("left behind: %s", left)
		}
		m.ExcludeTables = []string{"nothing"} // nor is an empty database kept for what is left out
	}
	my.SQL(t, "", "DROP DATABASE lost; CREATE USER unseeing@'127.0.0.1' IDENTIFIED BY 'x'; GRANT ALL ON `caddy\\_backup\\_%`.* TO unseeing@'127.0.0.1'")
	m.dsn = my.UserDSN("unseeing", "x", "lost")
	run, err := e.Restore(t.Context(), "alice", backup.RestoreRequest{Snapshot: s.ID, Path: "db.sql", Overwrite: true, DryRun: true})
	if err != nil {
		t.Fatal(err)
	}
	if run = e.Wait(t, run.ID); len(run.Absent) > 0 {
		t.Errorf("of a database that the user may not see: %+v", run)
	}
	m.dsn = my.UserDSN("unseeing", "wrong", "lost")
	notAbsent(t, e, s.ID, "db.sql", "correct user or password")
}
