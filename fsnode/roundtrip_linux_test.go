package fsnode_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/caddy-backup/caddy-backup/fsnode"
	"golang.org/x/sys/unix"

	"github.com/caddy-backup/caddy-backup/internal/realtest"
	"github.com/caddy-backup/caddy-backup/repo"
	"github.com/caddy-backup/caddy-backup/storage"
)

// TestRoundTrip saves a tree of everything and restores it: each fact is as it was.
func TestRoundTrip(t *testing.T) {
	realtest.NeedRoot(t, "foreign owners, devices, closed folders")
	src := filepath.Join(t.TempDir(), "src")
	build(t, src)
	setXAttr(t, src+"/root/link", "trusted.of-link", []byte("t")) // restic 0.14 does not look there
	want := survey(t, src)
	r := newRepo(t)
	snap, saved, err := save(t, r, src, fsnode.SaveOptions{})
	must(t, err)
	if len(saved.Notes) > 0 {
		t.Errorf("notes while saving: %q", saved.Notes)
	}
	into := t.TempDir()
	restored, err := restore(t, r, snap, "tree", into)
	must(t, err)
	compare(t, "restored", survey(t, into+"/tree"), want)
	if len(restored.Notes) > 0 {
		t.Errorf("notes while restoring: %q", restored.Notes)
	}
	if restored.Files != saved.Files || restored.Folders != saved.Folders+1 || restored.Others != saved.Others {
		t.Errorf("saved %+v, restored %+v", saved, restored)
	}
	entries := int64(len(want))
	if restored.Files+restored.Folders+restored.Others != entries {
		t.Errorf("restored %+v of %d entries", restored, entries)
	}
}

// TestSavedAgain has the same tree give the same snapshot tree: nothing in it depends on the moment, or on the zone.
func TestSavedAgain(t *testing.T) {
	src := filepath.Join(t.TempDir(), "src")
	build(t, src)
	r := newRepo(t)
	one := mustSave(t, r, src)
	if two := mustSave(t, r, src); one.Tree != two.Tree {
		t.Error("the same folder was saved as two different trees")
	}
}

// TestResticRestores has the real restic restore what we saved.
func TestResticRestores(t *testing.T) {
	realtest.NeedRoot(t, "foreign owners, devices, closed folders")
	src := filepath.Join(t.TempDir(), "src")
	build(t, src)
	// restic 0.14 knows link targets only as UTF-8.
	must(t, os.Remove(src+"/links/invalid"))
	setTestTimes(t, src)
	want := survey(t, src)
	r, path := localRepo(t)
	mustSave(t, r, src)
	into := t.TempDir()
	realtest.Restic(t, path, password, "restore", "latest", "--target", into)
	got := survey(t, into+"/tree")
	for path, f := range want {
		if g, ok := got[path]; ok && f.Mode&unix.S_IFMT == unix.S_IFLNK { // restic links files only
			g.Links, g.Group = f.Links, f.Group
			got[path] = g
		}
	}
	compare(t, "restored by restic", got, want)
	realtest.Restic(t, path, password, "check", "--read-data")
}

// TestWeRestoreRestics restores what the real restic saved.
func TestWeRestoreRestics(t *testing.T) {
	realtest.NeedRoot(t, "foreign owners, devices, closed folders")
	dir := t.TempDir()
	src := filepath.Join(dir, "src")
	build(t, src)
	must(t, os.Remove(src+"/links/invalid")) // see above
	setTestTimes(t, src)
	want := survey(t, src)
	path := filepath.Join(dir, "repo")
	realtest.Restic(t, path, password, "init")
	realtest.Restic(t, path, password, "backup", src)
	r, err := repo.Open(t.Context(), storage.NewLocal(path), []byte(password), repo.Options{})
	must(t, err)
	snap, err := r.FindSnapshot(t.Context(), "latest", repo.SnapshotFilter{})
	must(t, err)
	into := t.TempDir()
	restored, err := restore(t, r, snap, src, into)
	must(t, err)
	if len(restored.Notes) > 0 {
		t.Errorf("notes: %q", restored.Notes)
	}
	compare(t, "restic's", survey(t, into+"/src"), want)
}

// TestSameNodesAsRestic compares the nodes themselves: what restic writes for a folder is what we write, but for the
// zone of its times.
func TestSameNodesAsRestic(t *testing.T) {
	realtest.NeedRoot(t, "foreign owners, devices, closed folders")
	dir := t.TempDir()
	src := filepath.Join(dir, "tree")
	build(t, src)
	must(t, os.Remove(src+"/links/invalid"))
	r, path := localRepo(t)
	ours := mustSave(t, r, src)
	t.Chdir(dir)
	realtest.Restic(t, path, password, "backup", "tree")
	must(t, r.LoadIndex(t.Context()))
	snaps, err := r.Snapshots(t.Context())
	must(t, err)
	for _, s := range snaps {
		if s.ID == ours.ID {
			continue
		}
		a, b := nodes(t, r, ours), nodes(t, r, s)
		for p, n := range a {
			if n != b[p] {
				t.Errorf("%q: we wrote\n%s\nrestic wrote\n%s", p, n, b[p])
			}
		}
		if len(a) != len(b) {
			t.Errorf("we wrote %d nodes, restic %d", len(a), len(b))
		}
	}
}

// nodes prints each node of a snapshot without what depends on how it was cut, or on the zone of the machine.
func nodes(t *testing.T, r *repo.Repository, s repo.Snapshot) map[string]string {
	t.Helper()
	all := map[string]string{}
	for e, err := range r.Walk(t.Context(), s.Tree) {
		must(t, err)
		e.Node.Subtree, e.Node.Content = nil, nil
		e.Node.ModTime, e.Node.AccessTime, e.Node.ChangeTime = e.Node.ModTime.UTC(), e.Node.AccessTime.UTC(), e.Node.ChangeTime.UTC()
		all[e.Path] = fmt.Sprintf("%+v", e.Node)
	}
	return all
}

// TestDeep saves and restores a tree whose paths are longer than any system call takes.
func TestDeep(t *testing.T) {
	src, into := t.TempDir(), t.TempDir()
	at, err := os.OpenRoot(src)
	must(t, err)
	for i := range 400 {
		name := fmt.Sprintf("a-rather-long-name-%d", i)
		must(t, at.Mkdir(name, 0o755))
		next, err := at.OpenRoot(name)
		must(t, err, at.Close())
		at = next
	}
	must(t, at.WriteFile("bottom", []byte("deep"), 0o600), at.Link("bottom", "link"), at.Close())
	want := survey(t, src)
	r := newRepo(t)
	snap := mustSave(t, r, src)
	_, err = restore(t, r, snap, "tree", into)
	must(t, err)
	compare(t, "deep", survey(t, into+"/tree"), want)
}

// TestOneFile restores a single file out of a snapshot, without the folders above it.
func TestOneFile(t *testing.T) {
	src, into := t.TempDir(), t.TempDir()
	must(t, os.MkdirAll(src+"/a/b", 0o755), os.WriteFile(src+"/a/b/file", []byte("one"), 0o640))
	r := newRepo(t)
	snap := mustSave(t, r, src)
	n, err := r.Lookup(context.Background(), snap.Tree, "tree/a/b/file")
	must(t, err)
	root, err := os.OpenRoot(into)
	must(t, err)
	defer root.Close()
	progress := int64(0)
	restored, err := fsnode.Restore(context.Background(), r, n, root, fsnode.RestoreOptions{Progress: func(n int64) { progress += n }})
	must(t, err)
	if progress != 3 || restored.Bytes != 3 || restored.Files != 1 {
		t.Errorf("progress %d, %+v", progress, restored)
	}
	if data, err := os.ReadFile(into + "/file"); string(data) != "one" {
		t.Errorf("%q, %v", data, err)
	}
}
