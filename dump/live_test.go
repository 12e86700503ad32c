package dump

import (
	"cmp"
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/caddy-backup/caddy-backup/backup"
	"github.com/caddy-backup/caddy-backup/backup/backuptest"
	"github.com/caddy-backup/caddy-backup/dump/dumptest"
	"github.com/caddy-backup/caddy-backup/storage/storagetest"
)

// shop is a job of a database and a folder, backed up once and changed after that.
type shop struct {
	*backuptest.Env
	root, db, media string
	snapshot        backup.Snapshot
	wasDB, isDB     map[string]string // by table
	was, is         map[string]string // files of the folder, by path
}

func newShop(t *testing.T) *shop {
	t.Helper()
	dumptest.NothingLeft(t)
	root := t.TempDir()
	x := &shop{root: root, db: filepath.Join(root, "db", "shop.db"), media: filepath.Join(root, "media")}
	if err := os.Mkdir(filepath.Dir(x.db), 0o700); err != nil {
		t.Fatal(err)
	}
	execute(t, x.db, `PRAGMA journal_mode=WAL; CREATE TABLE account (id INTEGER PRIMARY KEY, balance INTEGER);
		WITH RECURSIVE n (i) AS (SELECT 0 UNION ALL SELECT i+1 FROM n WHERE i < 5000) INSERT INTO account SELECT i, i*i*i FROM n`)
	writeTree(t, x.media, map[string]string{"a.jpg": "one", "deep/b.jpg": "two", "deep/c.jpg": "three", "cache/x": "cached"})
	if err := os.Symlink("a.jpg", filepath.Join(x.media, "link")); err != nil {
		t.Fatal(err)
	}
	x.Env = backuptest.New(t, func(c *backup.Config) {
		c.Jobs[0].Sources = []backup.NamedSource{
			{Name: "db", Kind: "sqlite", Source: sqliteSource(t, x.db)},
			{Name: "media", Kind: "files", Source: configured(t, new(Files), "files "+x.media+" {\n exclude cache\n}")},
		}
	})
	x.snapshot = x.Backed(t, "shop")
	x.wasDB, x.was = sqliteDigests(t, x.db), readTree(t, x.media)
	execute(t, x.db, "DELETE FROM account WHERE id > 10")
	writeTree(t, x.media, map[string]string{"a.jpg": "changed", "new.jpg": "new"})
	if err := os.RemoveAll(filepath.Join(x.media, "deep")); err != nil {
		t.Fatal(err)
	}
	x.isDB, x.is = sqliteDigests(t, x.db), readTree(t, x.media)
	return x
}

func writeTree(t testing.TB, root string, files map[string]string) {
	t.Helper()
	for path, content := range files {
		path = filepath.Join(root, path)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(content), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
}

func readTree(t testing.TB, root string) map[string]string {
	t.Helper()
	files := map[string]string{}
	err := filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		files[path[len(root)+1:]] = string(data)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// over restores over the live one.
func (x *shop) over(t *testing.T, q backup.RestoreRequest) backup.Run {
	t.Helper()
	q.Overwrite = true
	if q.Snapshot == "" {
		q.Snapshot = x.snapshot.ID
	}
	run, err := x.Restore(t.Context(), "alice", q)
	if err != nil {
		t.Fatal(err)
	}
	return x.Wait(t, run.ID)
}

// undo does what the command says that a run names.
func (x *shop) undo(t *testing.T, run backup.Run) backup.Run {
	t.Helper()
	words := strings.Fields(run.Undo)
	at := slices.Index(words, "--overwrite")
	if at < 4 || words[3] != run.Safety[:8] || words[at+1] != "--confirm" {
		t.Fatalf("undo = %q", run.Undo)
	}
	return x.over(t, backup.RestoreRequest{Snapshot: words[3], Path: strings.Join(words[4:at], " "), Confirm: words[at+2]})
}

func (x *shop) require(t *testing.T, db, files map[string]string) {
	t.Helper()
	if got := sqliteDigests(t, x.db); !maps.Equal(got, db) {
		t.Errorf("the database holds %v, want %v", got, db)
	}
	if got := readTree(t, x.media); !maps.Equal(got, files) {
		t.Errorf("the folder holds %v, want %v", got, files)
	}
	entries, _ := os.ReadDir(x.root)
	beside, _ := os.ReadDir(filepath.Dir(x.db))
	for _, e := range slices.Concat(entries, beside) {
		if !slices.Contains([]string{"db", "media", "shop.db", "shop.db-wal", "shop.db-shm"}, e.Name()) {
			t.Errorf("left behind: %s", e.Name())
		}
	}
}

func requireOK(t *testing.T, run backup.Run) {
	t.Helper()
	if run.State != backup.StateOK {
		t.Fatalf("%s: %s", run.State, run.Error)
	}
}

func TestRestoreOverLive(t *testing.T) {
	x := newShop(t)
	t.Run("asks first", func(t *testing.T) {
		run := x.over(t, backup.RestoreRequest{Path: "db.sqlite3", DryRun: true})
		requireOK(t, run)
		if !slices.Equal(run.Over, []string{x.db}) || run.Confirm != x.db || run.Safety != "" || run.Touched {
			t.Errorf("%+v", run)
		}
		for _, confirm := range []string{"", "shop", "shop.db", x.db + " "} {
			_, err := x.Restore(t.Context(), "alice", backup.RestoreRequest{Snapshot: x.snapshot.ID, Path: "db.sqlite3", Overwrite: true, Confirm: confirm})
			if !errors.Is(err, backup.ErrInvalid) || !strings.Contains(err.Error(), x.db) {
				t.Errorf("%q: %v", confirm, err)
			}
		}
		x.require(t, x.isDB, x.is)
	})
	t.Run("a database", func(t *testing.T) {
		run := x.over(t, backup.RestoreRequest{Path: "db.sqlite3", Confirm: x.db})
		requireOK(t, run)
		x.require(t, x.wasDB, x.is)
		if !strings.Contains(run.Summary, run.Undo) || !run.Touched {
			t.Errorf("%+v", run)
		}
		safety, err := x.Snapshot(t.Context(), "", run.Safety, "")
		if err != nil || !slices.Contains(safety.Tags, "safety") || len(safety.Manifest.Parts) != 1 {
			t.Errorf("%+v, %v", safety, err)
		}
		if latest, err := x.Snapshot(t.Context(), "", "latest", "shop"); err != nil || latest.ID != x.snapshot.ID {
			t.Errorf("latest is %s, %v", latest.ID, err)
		}
		requireOK(t, x.undo(t, run))
		x.require(t, x.isDB, x.is)
	})
	t.Run("a folder", func(t *testing.T) {
		run := x.over(t, backup.RestoreRequest{Path: "media", Confirm: x.media})
		requireOK(t, run)
		x.require(t, x.isDB, x.was) // cache/x is excluded, and was taken over
		requireOK(t, x.undo(t, run))
		x.require(t, x.isDB, x.is)
	})
	t.Run("a file", func(t *testing.T) {
		run := x.over(t, backup.RestoreRequest{Path: "media/a.jpg", Confirm: filepath.Join(x.media, "a.jpg")})
		requireOK(t, run)
		want := maps.Clone(x.is)
		want["a.jpg"], want["link"] = "one", "one"
		x.require(t, x.isDB, want)
		requireOK(t, x.undo(t, run))
		x.require(t, x.isDB, x.is)
	})
	t.Run("what is gone", func(t *testing.T) {
		run := x.over(t, backup.RestoreRequest{Path: "media/deep", Confirm: filepath.Join(x.media, "deep")})
		requireOK(t, run)
		if run.Undo != "" || run.Safety != "" || !slices.Equal(run.Absent, run.Over) {
			t.Errorf("%+v", run)
		}
		want := maps.Clone(x.is)
		want["deep/b.jpg"], want["deep/c.jpg"] = "two", "three"
		x.require(t, x.isDB, want)
		os.RemoveAll(filepath.Join(x.media, "deep"))
	})
	t.Run("a folder in it", func(t *testing.T) {
		before := map[string]string{"deep/b.jpg": "newer", "deep/cache/y": "excluded", "deep/more/cache/z": "excluded"}
		writeTree(t, x.media, before)
		requireOK(t, x.over(t, backup.RestoreRequest{Path: "media/deep", Confirm: filepath.Join(x.media, "deep")}))
		want := maps.Clone(x.is)
		want["deep/b.jpg"], want["deep/c.jpg"], want["deep/cache/y"] = "two", "three", "excluded"
		// There is no folder any more for the other, so all that was there is kept.
		kept, _ := filepath.Glob(filepath.Join(x.media, "deep.before-restore-*", "more/cache/z"))
		if len(kept) != 1 {
			t.Fatalf("what no snapshot holds is gone: %v", readTree(t, x.media))
		}
		os.RemoveAll(filepath.Dir(filepath.Dir(filepath.Dir(kept[0]))))
		x.require(t, x.isDB, want)
		os.RemoveAll(filepath.Join(x.media, "deep"))
	})
	t.Run("everything", func(t *testing.T) {
		run := x.over(t, backup.RestoreRequest{Confirm: "shop"})
		requireOK(t, run)
		x.require(t, x.wasDB, x.was)
		requireOK(t, x.undo(t, run))
		x.require(t, x.isDB, x.is)
	})
}

// TestRestoreOverLiveRefused tries what must not go on: nothing is changed.
func TestRestoreOverLiveRefused(t *testing.T) {
	t.Run("something of it is gone from the repository", func(t *testing.T) {
		x := newShop(t)
		packs := storagetest.Names(t, x.Storage, "data") // the largest is not that of the trees
		storagetest.Remove(t, x.Storage, slices.MaxFunc(packs, func(a, b string) int {
			return cmp.Compare(len(storagetest.Read(t, x.Storage, a)), len(storagetest.Read(t, x.Storage, b)))
		}))
		run := x.over(t, backup.RestoreRequest{Path: "db.sqlite3", Confirm: x.db})
		if run.State != backup.StateFailed || !strings.Contains(run.Error, "nothing was") || run.Touched {
			t.Errorf("%+v", run)
		}
		x.require(t, x.isDB, x.is)
	})
	t.Run("in use", func(t *testing.T) {
		x := newShop(t)
		stop := copyOfUs(t, "lock", x.db)
		run := x.over(t, backup.RestoreRequest{Path: "db.sqlite3", Confirm: x.db})
		if run.State != backup.StateFailed || !strings.Contains(run.Error, "open by process") || run.Safety != "" {
			t.Errorf("%+v", run)
		}
		stop()
		x.require(t, x.isDB, x.is)
	})
	t.Run("no safety snapshot", func(t *testing.T) {
		x := newShop(t)
		if err := os.WriteFile(x.db, []byte("not a database"), 0o600); err != nil {
			t.Fatal(err)
		}
		run := x.over(t, backup.RestoreRequest{Path: "db.sqlite3", Confirm: x.db})
		if run.State != backup.StateFailed || !strings.Contains(run.Error, "no_safety") || run.Touched {
			t.Errorf("%+v", run)
		}
		if left, _ := os.ReadFile(x.db); string(left) != "not a database" {
			t.Errorf("%q", left)
		}
		run = x.over(t, backup.RestoreRequest{Path: "db.sqlite3", Confirm: x.db, NoSafety: true})
		requireOK(t, run)
		if run.Undo != "" || run.Safety != "" {
			t.Errorf("%+v", run)
		}
		kept, _ := filepath.Glob(x.db + ".before-restore-*")
		if len(kept) != 1 || os.Remove(kept[0]) != nil {
			t.Errorf("%v", kept)
		}
		x.require(t, x.wasDB, x.is)
	})
	t.Run("a link that leads out of the folder", func(t *testing.T) {
		x := newShop(t)
		outside := t.TempDir()
		writeTree(t, outside, map[string]string{"b.jpg": "mine"})
		if err := os.Symlink(outside, filepath.Join(x.media, "deep")); err != nil {
			t.Fatal(err)
		}
		run := x.over(t, backup.RestoreRequest{Path: "media/deep/b.jpg", Confirm: filepath.Join(x.media, "deep/b.jpg")})
		if run.State != backup.StateFailed || !strings.Contains(run.Error, "as it was before") {
			t.Errorf("%+v", run)
		}
		if got := readTree(t, outside); !maps.Equal(got, map[string]string{"b.jpg": "mine"}) {
			t.Errorf("%v", got)
		}
		// The folder itself takes the place of the link, and what that leads to stays.
		requireOK(t, x.over(t, backup.RestoreRequest{Path: "media/deep", Confirm: filepath.Join(x.media, "deep")}))
		if got := readTree(t, outside); !maps.Equal(got, map[string]string{"b.jpg": "mine"}) {
			t.Errorf("%v", got)
		}
	})
	t.Run("a repository in the folder", func(t *testing.T) {
		x := newShop(t)
		x.Config.Jobs[0].Sources[1].Source.(*Files).SkipPaths([]string{filepath.Join(x.media, "cache")})
		run := x.over(t, backup.RestoreRequest{Path: "media", Confirm: x.media})
		if run.State != backup.StateFailed || !strings.Contains(run.Error, "would be lost") || run.Safety != "" {
			t.Errorf("%+v", run)
		}
		x.require(t, x.isDB, x.is)
	})
}
