package fsnode_test

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/caddy-backup/caddy-backup/fsnode"
	"github.com/caddy-backup/caddy-backup/internal/realtest"
	"github.com/caddy-backup/caddy-backup/repo"
	"github.com/caddy-backup/caddy-backup/storage"
	"github.com/caddy-backup/caddy-backup/storage/storagetest"
)

// sample is a repository with a small folder "tree" that holds "file" and "sub/file", and the nodes of these.
func sample(t *testing.T) (r *repo.Repository, tree, file repo.Node) {
	t.Helper()
	src := t.TempDir()
	must(t, os.Mkdir(src+"/sub", 0o755), os.WriteFile(src+"/file", []byte("content"), 0o644),
		os.WriteFile(src+"/sub/file", []byte("below"), 0o644))
	r = newRepo(t)
	snap := mustSave(t, r, src)
	tree, err := r.Lookup(t.Context(), snap.Tree, "tree")
	must(t, err)
	file, err = r.Lookup(t.Context(), snap.Tree, "tree/file")
	must(t, err)
	return r, tree, file
}

// TestHostileNodes restores what only a forged repository holds: there is an error, and nothing outside of the root.
func TestHostileNodes(t *testing.T) {
	r, tree, file := sample(t)
	named := func(n repo.Node, name string) repo.Node { n.Name = name; return n }
	link := func(target string) repo.Node {
		return repo.Node{Name: "x", Type: "symlink", Mode: fs.ModeSymlink | 0o777, LinkTarget: target}
	}
	outside := t.TempDir()
	tests := map[string][]repo.Node{
		"parent folder":           {named(tree, "..")},
		"folder itself":           {named(tree, ".")},
		"empty name":              {named(file, "")},
		"slash":                   {named(file, "../file")},
		"absolute":                {named(file, outside+"/file")},
		"NUL":                     {named(file, "a\x00b")},
		"file through a link":     {link(outside), named(file, "x")},
		"folder through a link":   {link(outside), named(tree, "x")},
		"folder through up":       {link(".."), named(tree, "x")},
		"dangling link":           {link(outside + "/new"), named(file, "x")},
		"fifo through a link":     {link(outside + "/new"), {Name: "x", Type: "fifo"}},
		"link through a link":     {link(outside + "/new"), link("y")},
		"a name twice":            {named(file, "x"), named(tree, "x")},
		"a folder twice":          {named(tree, "x"), named(tree, "x")},
		"a folder without a tree": {{Name: "x", Type: "dir"}},
		"content that is missing": {{Name: "x", Type: "file", Size: 1, Content: []repo.ID{{1}}}},
		"a size that is wrong":    {func() repo.Node { n := named(file, "x"); n.Size++; return n }()},
	}
	for name, nodes := range tests {
		t.Run(name, func(t *testing.T) {
			parent := t.TempDir()
			must(t, os.Mkdir(parent+"/root", 0o700))
			root, err := os.OpenRoot(parent + "/root")
			must(t, err)
			defer root.Close()
			if _, err := fsnode.RestoreNodes(t.Context(), r, nodes, root); err == nil {
				t.Error("no error")
			}
			entries, _ := os.ReadDir(parent)
			other, _ := os.ReadDir(outside)
			if len(entries) != 1 || len(other) != 0 {
				t.Errorf("outside: %v %v", entries, other)
			}
			if left, err := os.ReadDir(parent + "/root"); len(nodes) == 1 && len(left) > 0 {
				t.Errorf("left behind: %v, %v", left, err)
			}
		})
	}
}

// TestHardLinkOfAnother has a forged pair of names of one inode whose content differs: they stay two files.
func TestHardLinkOfAnother(t *testing.T) {
	r, tree, file := sample(t)
	below, err := r.Lookup(t.Context(), *tree.Subtree, "sub/file")
	must(t, err)
	file.Name, below.Name = "a", "b"
	file.Links, below.Links, file.Inode, below.Inode, file.DeviceID, below.DeviceID = 2, 2, 7, 7, 1, 1
	root, err := os.OpenRoot(t.TempDir())
	must(t, err)
	defer root.Close()
	restored, err := fsnode.RestoreNodes(t.Context(), r, []repo.Node{file, below}, root)
	must(t, err)
	a, _ := root.ReadFile("a")
	b, _ := root.ReadFile("b")
	if string(a) != "content" || string(b) != "below" || restored.Files != 2 {
		t.Errorf("%q, %q, %+v", a, b, restored)
	}
}

// TestNothingIsOverwritten restores over what is there already.
func TestNothingIsOverwritten(t *testing.T) {
	r, tree, _ := sample(t)
	for _, there := range []string{"file", "folder", "link", "dangling link"} {
		into, outside := t.TempDir(), t.TempDir()
		switch there {
		case "file":
			must(t, os.WriteFile(into+"/tree", []byte("mine"), 0o600))
		case "folder":
			must(t, os.Mkdir(into+"/tree", 0o700))
		case "link":
			must(t, os.Symlink(outside, into+"/tree"))
		case "dangling link":
			must(t, os.Symlink(outside+"/new", into+"/tree"))
		}
		root, err := os.OpenRoot(into)
		must(t, err)
		defer root.Close()
		_, err = fsnode.Restore(t.Context(), r, tree, root, fsnode.RestoreOptions{})
		if !errors.Is(err, fs.ErrExist) || !strings.Contains(err.Error(), into+"/tree") || !strings.Contains(err.Error(), "nothing is overwritten") {
			t.Errorf("%s: %v", there, err)
		}
		if entries, _ := os.ReadDir(outside); len(entries) != 0 {
			t.Errorf("%s: outside: %v", there, entries)
		}
	}
}

// TestRestoreRaced has somebody replace the folder that is being filled by a link to another one, all the time.
func TestRestoreRaced(t *testing.T) {
	src, outside := t.TempDir(), t.TempDir()
	for _, d := range "abcdefghijklmnopqrstuvwxyz" {
		must(t, os.MkdirAll(filepath.Join(src, string(d), "sub"), 0o755))
		must(t, os.WriteFile(filepath.Join(src, string(d), "sub", "file"), []byte("x"), 0o666))
	}
	r := newRepo(t)
	snap := mustSave(t, r, src)
	for range 20 {
		into := t.TempDir()
		stop, stopped := make(chan struct{}), make(chan struct{})
		go func() {
			defer close(stopped)
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				name := filepath.Join(into, "tree", string(rune('a'+i%26)))
				if os.Rename(name, name+".old") == nil {
					_ = os.Symlink(outside, name)
				}
			}
		}()
		_, err := restore(t, r, snap, "tree", into)
		close(stop)
		<-stopped
		if entries, _ := os.ReadDir(outside); len(entries) != 0 {
			t.Fatalf("restored outside: %v (%v)", entries, err)
		}
	}
}

// TestRestoreFull restores into a volume that is too small.
func TestRestoreFull(t *testing.T) {
	src, into := t.TempDir(), realtest.SmallDisk(t, 1)
	must(t, os.WriteFile(src+"/fits", make([]byte, 1000), 0o644), os.WriteFile(src+"/large", make([]byte, 2<<20), 0o644))
	r := newRepo(t)
	snap := mustSave(t, r, src)
	_, err := restore(t, r, snap, "tree", into)
	if !errors.Is(err, syscall.ENOSPC) || !strings.Contains(err.Error(), into+"/tree/large") || !strings.Contains(err.Error(), "free some space") {
		t.Errorf("%v", err)
	}
	if _, err := os.Lstat(into + "/tree/large"); !errors.Is(err, fs.ErrNotExist) {
		t.Error("half a file was left as if it were whole")
	}
}

// TestRestoreAsUser restores root's files as somebody else: the content is there, owners and devices are notes, and
// no file runs as its new owner that ran as its old one.
func TestRestoreAsUser(t *testing.T) {
	realtest.NeedRoot(t, "it changes its user")
	src := filepath.Join(t.TempDir(), "src")
	build(t, src)
	r := newRepo(t)
	snap := mustSave(t, r, src)
	into := openDir(t)
	n, err := r.Lookup(context.Background(), snap.Tree, "tree")
	must(t, err)
	var restored fsnode.Restored
	asUser(t, 65534, func() {
		root, e := os.OpenRoot(into)
		if e != nil {
			err = e
			return
		}
		defer root.Close()
		restored, err = fsnode.Restore(context.Background(), r, n, root, fsnode.RestoreOptions{})
	})
	must(t, err)
	notes := strings.Join(restored.Notes, "\n")
	for _, want := range []string{"tree/root/null, a chardev, could not be made", "tree/root/loop, a dev, could not",
		"extended attributes of " + into + "/tree/root/capable could not be set", "entries belong to user nobody now"} {
		if !strings.Contains(notes, want) {
			t.Errorf("the notes lack %q:\n%s", want, notes)
		}
	}
	if len(restored.Notes) > 20 {
		t.Errorf("%d notes", len(restored.Notes))
	}
	got, want := survey(t, into+"/tree"), survey(t, src)
	for path, w := range want {
		g, ok := got[path]
		if kind := w.Mode & unix.S_IFMT; !ok && (kind == unix.S_IFBLK || kind == unix.S_IFCHR) {
			continue
		}
		g.Links, g.Group, w.Links, w.Group = 0, "", 0, "" // a closed folder hides names from its owner
		w.UID, w.GID, w.Mode = 65534, 65534, w.Mode&^(unix.S_ISUID|unix.S_ISGID)
		if strings.Contains(path, "root/") {
			w.XAttrs = g.XAttrs
		}
		if g != w {
			t.Errorf("%q is\n     %+v\nwant %+v", path, g, w)
		}
	}
}

// TestRestoreDamaged restores from a repository that has lost its data: no wrong byte, no half file.
func TestRestoreDamaged(t *testing.T) {
	src, into := t.TempDir(), t.TempDir()
	content := make([]byte, 3<<20)
	for i := range content {
		content[i] = byte(i * i >> 7)
	}
	must(t, os.WriteFile(src+"/file", content, 0o644))
	f := storagetest.NewFaulty(new(storage.Memory))
	r := inMemory(t, f)
	snap := mustSave(t, r, src)
	f.Inject(storagetest.Fault{Times: storagetest.Forever, How: storagetest.Corrupt,
		Only: func(op storagetest.Op) bool { return op.Kind == storagetest.Get && op.L > 10_000 }})
	_, err := restore(t, r, snap, "tree", into)
	if !errors.Is(err, repo.ErrDamaged) || !strings.Contains(err.Error(), into+"/tree/file") {
		t.Errorf("%v", err)
	}
	if _, err := os.Lstat(into + "/tree/file"); !errors.Is(err, fs.ErrNotExist) {
		t.Error("a damaged file was left as if it were whole")
	}
}

// TestRestoreCancelled ends with the context.
func TestRestoreCancelled(t *testing.T) {
	r, tree, _ := sample(t)
	root, err := os.OpenRoot(t.TempDir())
	must(t, err)
	defer root.Close()
	ctx, cancel := context.WithTimeout(t.Context(), -time.Second)
	defer cancel()
	if _, err := fsnode.Restore(ctx, r, tree, root, fsnode.RestoreOptions{}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v", err)
	}
}
