package dump

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddy-backup/caddy-backup/backup"
	"github.com/caddy-backup/caddy-backup/dump/dumptest"
	"github.com/caddy-backup/caddy-backup/repo"
	"github.com/caddy-backup/caddy-backup/storage"
)

// inSnapshot gives a writer's root folder to save, commits, and returns the repository and the tree.
func inSnapshot(t *testing.T, save func(root *repo.Dir) error) (*repo.Repository, repo.ID, error) {
	t.Helper()
	r, err := repo.Init(t.Context(), new(storage.Memory), []byte("password"), repo.Options{KDF: repo.KDF{N: 16, R: 1, P: 1}})
	if err != nil {
		t.Fatal(err)
	}
	lock, err := r.Lock(t.Context(), false)
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Unlock()
	if err := r.LoadIndex(lock.Context()); err != nil {
		t.Fatal(err)
	}
	w, err := r.NewWriter(lock)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Abort()
	if err := save(w.Root()); err != nil {
		return nil, repo.ID{}, err
	}
	s, err := w.Commit(repo.Snapshot{Time: time.Now(), Hostname: "test", Paths: []string{"/test"}})
	if err != nil {
		t.Fatal(err)
	}
	return r, s.Tree, nil
}

// saveFiles saves the source's folder and lists the paths in the snapshot.
func saveFiles(t *testing.T, f *Files, task *backup.Task) (paths []string, facts backup.Facts, err error) {
	t.Helper()
	parts, err := f.Parts(t.Context(), "media")
	if err != nil || len(parts) != 1 || !parts[0].Folder || parts[0].Name != "media" {
		t.Fatalf("parts = %v, %v", parts, err)
	}
	r, tree, err := inSnapshot(t, func(root *repo.Dir) error {
		n, err := f.Root(parts[0])
		if err != nil {
			return err
		}
		n.Name = parts[0].Name
		dir, err := root.Mkdir(n)
		if err != nil {
			return err
		}
		facts, err = f.DumpFolder(t.Context(), parts[0], dir, task)
		if err != nil {
			return err
		}
		_, err = dir.Close()
		return err
	})
	if err != nil {
		return nil, facts, err
	}
	for entry, err := range r.Walk(t.Context(), tree) {
		if err != nil {
			t.Fatal(err)
		}
		paths = append(paths, entry.Path)
	}
	return paths, facts, nil
}

func TestFiles(t *testing.T) {
	dumptest.NothingLeft(t)
	top := t.TempDir()
	root := filepath.Join(top, "media")
	for _, path := range []string{"a.jpg", "b.tmp", "deep/c.jpg", "deep/d.tmp", "cache/e", "backups/config", "empty/"} {
		path := filepath.Join(root, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(path), 0o640); err != nil && filepath.Base(path) != "empty" {
			t.Fatal(err)
		}
	}
	os.Remove(filepath.Join(root, "empty"))
	if err := errors.Join(os.Mkdir(filepath.Join(root, "empty"), 0o700), os.Symlink("a.jpg", filepath.Join(root, "link"))); err != nil {
		t.Fatal(err)
	}
	f := configured(t, new(Files), "files "+root+" {\n exclude *.tmp\n exclude cache/*\n}")
	f.SkipPaths([]string{filepath.Join(root, "backups")})
	paths, facts, err := saveFiles(t, f, dumptest.Task(t))
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"media", "media/a.jpg", "media/cache", "media/deep", "media/deep/c.jpg", "media/empty", "media/link"}
	if !slices.Equal(paths, want) {
		t.Errorf("saved %q, want %q", paths, want)
	}
	if facts.Source != "folder "+root || facts.Checked != "every file read to its end" {
		t.Errorf("facts = %+v", facts)
	}
	if _, err := f.Dump(t.Context(), backup.Part{Name: "media"}, io.Discard, dumptest.Task(t)); !errors.Is(err, backup.ErrInvalid) {
		t.Error(err)
	}
	if err := f.Restore(t.Context(), backup.Part{Name: "media"}, nil, root, dumptest.Task(t)); !errors.Is(err, backup.ErrInvalid) || !strings.Contains(err.Error(), "--target") {
		t.Error(err)
	}
}

func TestFilesEmptyAndMissing(t *testing.T) {
	root := t.TempDir()
	f := configured(t, new(Files), "files "+root)
	if paths, _, err := saveFiles(t, f, dumptest.Task(t)); err != nil || !slices.Equal(paths, []string{"media"}) {
		t.Errorf("an empty folder is legal: %v, %v", paths, err)
	}
	file := filepath.Join(root, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{filepath.Join(root, "missing"), file} {
		_, _, err := saveFiles(t, configured(t, new(Files), "files "+path), dumptest.Task(t))
		if err == nil || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v", path, err)
		}
	}
}

func TestFilesGrammar(t *testing.T) {
	testGrammar(t, func() *Files { return new(Files) }, []grammarCase{
		{text: "files /srv/shop/media", json: `{"folder":"/srv/shop/media"}`},
		{text: "files /srv {\n exclude *.tmp cache/*\n exclude x\n}", json: `{"folder":"/srv","exclude":["*.tmp","cache/*","x"]}`},
		{text: "files", err: "wrong argument count"},
		{text: "files /a /b", err: "wrong argument count"},
		{text: "files /a {\n exclude\n}", err: "wrong argument count"},
		{text: "files /a {\n exclude [a\n}", err: `exclude pattern "[a" is malformed`},
		{text: "files /a {\n follow_links\n}", err: "unrecognized subdirective 'follow_links'"},
	})
	for m, want := range map[*Files]string{
		{Folder: "srv"}:                   "folder 'srv' is not an absolute path",
		{}:                                "files is missing its folder",
		{Folder: "{env.DUMP_TEST_UNSET}"}: "folder: ",
		{Folder: "/srv", Exclude: []string{"!keep"}}: "exceptions with !",
	} {
		if err := provision(m); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v", m, err)
		}
	}
}

// What a source writes into a repository is what comes out of it: the way of a dump from the program's pipe to the
// chunks, and back.
func TestThroughRepository(t *testing.T) {
	path := filepath.Join(t.TempDir(), "db")
	makeDatabase(t, path, "PRAGMA journal_mode=WAL")
	for name, s := range map[string]backup.Source{
		"program": configured(t, new(Command), "command seq 1000000"),
		"sqlite":  sqliteSource(t, path),
	} {
		t.Run(name, func(t *testing.T) {
			var want bytes.Buffer
			if _, err := s.Dump(t.Context(), backup.Part{}, &want, dumptest.Task(t)); err != nil {
				t.Fatal(err)
			}
			r, tree, err := inSnapshot(t, func(root *repo.Dir) error {
				f, err := root.Create(repo.Node{Name: "dump"})
				if err != nil {
					return err
				}
				if _, err = s.Dump(t.Context(), backup.Part{}, f, dumptest.Task(t)); err != nil {
					return err
				}
				return f.Close()
			})
			if err != nil {
				t.Fatal(err)
			}
			node, err := r.Lookup(t.Context(), tree, "dump")
			if err != nil {
				t.Fatal(err)
			}
			f, err := r.OpenFile(t.Context(), node)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			got, err := io.ReadAll(f)
			if err != nil || !bytes.Equal(got, want.Bytes()) {
				t.Errorf("%d bytes came out, want %d; %v", len(got), want.Len(), err)
			}
		})
	}
}
