package fsnode_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/caddy-backup/caddy-backup/fsnode"
	"github.com/caddy-backup/caddy-backup/internal/realtest"
	"github.com/caddy-backup/caddy-backup/repo"
	"github.com/caddy-backup/caddy-backup/storage"
	"github.com/caddy-backup/caddy-backup/storage/storagetest"
)

// paths lists what a snapshot holds below the folder "tree".
func paths(t *testing.T, r *repo.Repository, snap repo.Snapshot) []string {
	t.Helper()
	all := []string{}
	for e, err := range r.Walk(t.Context(), snap.Tree) {
		must(t, err)
		if rel, ok := strings.CutPrefix(e.Path, "tree/"); ok {
			all = append(all, rel)
		}
	}
	return all
}

func TestNode(t *testing.T) {
	dir := t.TempDir()
	must(t, os.WriteFile(dir+"/file", []byte("12345"), 0o640), os.Symlink("file", dir+"/link"))
	for _, name := range []string{"file", "link"} {
		n, err := fsnode.Node(filepath.Join(dir, name))
		must(t, err)
		if n.Name != name || n.Type != "file" || n.Mode != 0o640 || n.Size != 5 || n.Links != 1 || n.Inode == 0 || n.Content != nil {
			t.Errorf("%s: %+v", name, n)
		}
		if n.ModTime.Location() != time.UTC || !n.AccessTime.Equal(n.ModTime) {
			t.Errorf("times of %s: %+v", name, n)
		}
	}
	if n, err := fsnode.Node(dir); err != nil || n.Type != "dir" || n.Links != 0 || n.Size != 0 || n.Mode != fs.ModeDir|0o755 {
		t.Errorf("%+v, %v", n, err)
	}
	if _, err := fsnode.Node(dir + "/missing"); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), dir+"/missing") {
		t.Errorf("%v", err)
	}
}

func TestExclude(t *testing.T) {
	src := t.TempDir()
	for _, name := range []string{"a.tmp", "keep", "cache/x", "cache/y", "deep/cache/z", "deep/b.tmp", "build/out", "deep/build/out", "logs/1"} {
		must(t, os.MkdirAll(filepath.Dir(filepath.Join(src, name)), 0o755), os.WriteFile(filepath.Join(src, name), nil, 0o644))
	}
	r := newRepo(t)
	snap, saved, err := save(t, r, src, fsnode.SaveOptions{Exclude: []string{"*.tmp", "cache/*", "/build", "logs/"}})
	must(t, err)
	want := []string{"cache", "deep", "deep/build", "deep/build/out", "deep/cache", "deep/cache/z", "keep"}
	if got := paths(t, r, snap); !slices.Equal(got, want) {
		t.Errorf("saved %q, want %q", got, want)
	}
	if saved.Files != 3 || saved.Folders != 4 || len(saved.Notes) != 0 {
		t.Errorf("%+v", saved)
	}
	if _, _, err := save(t, r, src, fsnode.SaveOptions{Exclude: []string{"["}}); err == nil {
		t.Error("a malformed pattern passed")
	}
}

// TestSkip leaves out what is ours, also under another name, and refuses to save a repository into itself.
func TestSkip(t *testing.T) {
	src := t.TempDir()
	must(t, os.MkdirAll(src+"/repo/data", 0o755), os.WriteFile(src+"/repo/config", nil, 0o644),
		os.WriteFile(src+"/password", nil, 0o600), os.Link(src+"/password", src+"/same"), os.WriteFile(src+"/keep", nil, 0o644))
	r := newRepo(t)
	skip := fsnode.SaveOptions{Skip: []string{src + "/repo/", src + "/password", src + "/not-there"}}
	snap, saved, err := save(t, r, src, skip)
	must(t, err)
	if got := paths(t, r, snap); !slices.Equal(got, []string{"keep"}) {
		t.Errorf("saved %q", got)
	}
	if len(saved.Notes) != 3 || !strings.Contains(saved.Notes[0], src+"/password is left out") {
		t.Errorf("notes: %q", saved.Notes)
	}
	for _, root := range []string{src + "/repo", src + "/repo/data"} {
		if _, _, err := save(t, r, root, skip); err == nil || !strings.Contains(err.Error(), "into itself") {
			t.Errorf("%s: %v", root, err)
		}
	}
}

func TestSockets(t *testing.T) {
	src := t.TempDir()
	t.Chdir(src) // the path of a socket may have 107 bytes
	for i := range 25 {
		l, err := net.Listen("unix", fmt.Sprintf("s%02d", i))
		must(t, err)
		defer l.Close()
	}
	r := newRepo(t)
	snap, saved, err := save(t, r, src, fsnode.SaveOptions{})
	must(t, err)
	if got := paths(t, r, snap); len(got) != 0 {
		t.Errorf("saved %q", got)
	}
	if len(saved.Notes) != 20 || !strings.Contains(saved.Notes[0], src+"/s00 is a socket") || !strings.HasPrefix(saved.Notes[19], "and 6 more") {
		t.Errorf("notes: %q", saved.Notes)
	}
}

func TestNotAFolder(t *testing.T) {
	dir := t.TempDir()
	must(t, os.WriteFile(dir+"/file", nil, 0o644), unix.Mkfifo(dir+"/fifo", 0o600))
	for name, want := range map[string]error{"file": repo.ErrNotFolder, "fifo": repo.ErrNotFolder, "missing": fs.ErrNotExist} {
		_, err := fsnode.Save(t.Context(), filepath.Join(dir, name), nil, fsnode.SaveOptions{})
		if !errors.Is(err, want) || !strings.Contains(err.Error(), filepath.Join(dir, name)) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestRootIsALink follows it: people link data to another disk.
func TestRootIsALink(t *testing.T) {
	dir := t.TempDir()
	must(t, os.Mkdir(dir+"/real", 0o750), os.WriteFile(dir+"/real/file", nil, 0o644), os.Symlink("real", dir+"/link"))
	r := newRepo(t)
	snap := mustSave(t, r, dir+"/link")
	if got := paths(t, r, snap); !slices.Equal(got, []string{"file"}) {
		t.Errorf("saved %q", got)
	}
	if n, err := r.Lookup(t.Context(), snap.Tree, "tree"); err != nil || n.Mode != fs.ModeDir|0o750 {
		t.Errorf("%+v, %v", n, err)
	}
}

// TestUnreadable saves as a user who may not read everything: the error names the path, that user, and the way out.
func TestUnreadable(t *testing.T) {
	realtest.NeedRoot(t, "it changes its user")
	base := openDir(t)
	for what, path := range map[string]string{"file": "tree/a/secret", "folder": "tree/a/closed"} {
		must(t, os.RemoveAll(base+"/tree"), os.MkdirAll(base+"/tree/a", 0o755))
		if what == "file" {
			must(t, os.WriteFile(base+"/"+path, nil, 0o600))
		} else {
			must(t, os.Mkdir(base+"/"+path, 0o700))
		}
		r := newRepo(t)
		var err error
		asUser(t, 65534, func() { _, _, err = save(t, r, base+"/tree", fsnode.SaveOptions{}) })
		if !errors.Is(err, fs.ErrPermission) {
			t.Fatalf("%s: %v", what, err)
		}
		for _, want := range []string{base + "/" + path, "user nobody (uid 65534)", "setfacl -m u:nobody:rX " + base + "/" + path,
			"exclude /a/" + filepath.Base(path)} {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %v; lacks %q", what, err, want)
			}
		}
		asUser(t, 65534, func() {
			_, _, err = save(t, r, base+"/tree", fsnode.SaveOptions{Exclude: []string{"/a/" + filepath.Base(path)}})
		})
		if err != nil {
			t.Errorf("%s, excluded: %v", what, err)
		}
	}
}

// TestChanging saves a file that grows while it is read: what is saved is whole by its own account, and a note says so.
func TestChanging(t *testing.T) {
	src := t.TempDir()
	must(t, os.WriteFile(src+"/log", bytes.Repeat([]byte("line\n"), 2<<20), 0o644))
	r := newRepo(t)
	var saved fsnode.Saved
	snap, err := write(t, r, func(top *repo.Dir) (err error) {
		saved, err = saveInto(&growing{Context: t.Context(), t: t, path: src + "/log"}, t, top, "tree", src, fsnode.SaveOptions{})
		return err
	})
	must(t, err)
	if len(saved.Notes) != 1 || !strings.Contains(saved.Notes[0], src+"/log changed while it was read") {
		t.Errorf("notes: %q", saved.Notes)
	}
	if _, err := restore(t, r, snap, "tree/log", t.TempDir()); err != nil {
		t.Error(err)
	}
}

// growing is a context that lets a file grow, and become newer, whenever somebody looks whether it is done, as who reads a file does
// before each piece. After some times it stops, so that the file has an end.
type growing struct {
	context.Context
	t     *testing.T
	path  string
	times int
}

func (g *growing) Err() error {
	if g.times++; g.times > 10 {
		return g.Context.Err()
	}
	before, err := os.Stat(g.path)
	must(g.t, err)
	for now := before; now.ModTime().Equal(before.ModTime()); { // the clock of a file system has ticks
		f, err := os.OpenFile(g.path, os.O_APPEND|os.O_WRONLY, 0)
		must(g.t, err)
		_, err = f.WriteString("more\n")
		must(g.t, err, f.Close())
		now, err = os.Stat(g.path)
		must(g.t, err)
	}
	return g.Context.Err()
}

// TestMovingTree saves a folder in which all moves, vanishes and comes back in other kinds, links out of it among them.
// The only errors allowed are none, and nothing from outside gets in.
func TestMovingTree(t *testing.T) {
	src, outside := t.TempDir(), t.TempDir()
	const secret = "never to be saved"
	must(t, os.Mkdir(outside+"/dir", 0o755), os.WriteFile(outside+"/dir/secret", []byte(secret), 0o644),
		os.WriteFile(outside+"/secret", []byte(secret), 0o644))
	stop, stopped, filled := make(chan struct{}), make(chan struct{}), make(chan struct{})
	kinds := []func(name string){
		func(name string) { _ = os.WriteFile(name, []byte("mine"), 0o644) },
		func(name string) { _ = os.Mkdir(name, 0o755); _ = os.WriteFile(name+"/secret", []byte("mine"), 0o644) },
		func(name string) { _ = os.Symlink(outside+"/secret", name) },
		func(name string) { _ = os.Symlink(outside+"/dir", name) },
		func(name string) { _ = unix.Mkfifo(name, 0o600) },
	}
	go func() {
		defer close(stopped)
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
				if i == 20 {
					close(filled)
				}
				name := fmt.Sprintf("%s/%02d", src, i%20)
				_ = os.RemoveAll(name)
				kinds[(i/20+i)%len(kinds)](name)
			}
		}
	}()
	<-filled
	r := newRepo(t)
	seen := map[string]int{}
	snap, err := write(t, r, func(top *repo.Dir) error {
		for i := range 200 {
			saved, err := saveInto(t.Context(), t, top, fmt.Sprint(i), src, fsnode.SaveOptions{})
			if err != nil {
				return err
			}
			seen["vanished"] += len(saved.Notes)
		}
		return nil
	})
	must(t, err)
	for e, err := range r.Walk(t.Context(), snap.Tree) {
		must(t, err)
		seen[e.Node.Type]++
		if e.Node.Type != "file" {
			continue
		}
		f, err := r.OpenFile(t.Context(), e.Node)
		must(t, err)
		var b bytes.Buffer
		_, err = f.WriteTo(&b)
		must(t, err, f.Close())
		if b.String() == secret {
			t.Fatalf("%s came in from outside", e.Path)
		}
	}
	close(stop)
	<-stopped
	if kinds := slices.Sorted(maps.Keys(seen)); len(kinds) < 5 {
		t.Errorf("the tree moved too little: %v", seen)
	}
}

// TestStorageFails tells an error of the repository from one of the folder.
func TestStorageFails(t *testing.T) {
	src := t.TempDir()
	must(t, os.WriteFile(src+"/file", bytes.Repeat([]byte("x"), 1<<20), 0o644))
	f := storagetest.NewFaulty(new(storage.Memory))
	r := inMemory(t, f)
	lock, err := r.Lock(t.Context(), false)
	must(t, err)
	defer lock.Unlock()
	must(t, r.LoadIndex(t.Context()))
	w, err := r.NewWriter(lock)
	must(t, err)
	defer w.Abort()
	f.Inject(storagetest.Fault{Times: storagetest.Forever, Err: fs.ErrNotExist}) // the kind that means "vanished" in a folder
	dir, err := w.Root().Mkdir(repo.Node{Name: "tree", Mode: fs.ModeDir | 0o755})
	must(t, err)
	saved, err := fsnode.Save(t.Context(), src, dir, fsnode.SaveOptions{})
	if err == nil {
		_, err = dir.Close()
	}
	if err == nil {
		_, err = w.Commit(repo.Snapshot{Time: time.Now()})
	}
	if !errors.Is(err, fs.ErrNotExist) || len(saved.Notes) > 0 {
		t.Errorf("%v, notes %q", err, saved.Notes)
	}
}

// TestSaveCancelled ends with the context.
func TestSaveCancelled(t *testing.T) {
	src := t.TempDir()
	must(t, os.WriteFile(src+"/file", nil, 0o644))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := fsnode.Save(ctx, src, nil, fsnode.SaveOptions{}); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}
