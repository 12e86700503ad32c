package archive_test

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/caddy-backup/caddy-backup/archive"
	"github.com/caddy-backup/caddy-backup/fsnode"
	"github.com/caddy-backup/caddy-backup/internal/realtest"
	"github.com/caddy-backup/caddy-backup/repo"
	"github.com/caddy-backup/caddy-backup/repo/repotest"
	"github.com/caddy-backup/caddy-backup/storage"
)

func must(t testing.TB, errs ...error) {
	t.Helper()
	for _, err := range errs {
		if err != nil {
			t.Fatal(err)
		}
	}
}

// saved is a folder of this machine in a repository.
type saved struct {
	*repo.Repository
	self repo.Node
}

func (s saved) Walk(ctx context.Context) iter.Seq2[repo.Entry, error] {
	return s.Repository.Walk(ctx, *s.self.Subtree)
}

func (s saved) Open(ctx context.Context, n repo.Node) (io.ReadCloser, error) {
	return s.OpenFile(ctx, n)
}

// save backs a folder up.
func save(t testing.TB, folder string) saved {
	t.Helper()
	r := repotest.Init(t, new(storage.Memory), "password", repo.Options{})
	lock, err := r.Lock(t.Context(), false)
	must(t, err, r.LoadIndex(t.Context()))
	defer lock.Unlock()
	w, err := r.NewWriter(lock)
	must(t, err)
	defer w.Abort()
	self, err := fsnode.Node(folder)
	must(t, err)
	self.Name = "a folder"
	dir, err := w.Root().Mkdir(self)
	must(t, err)
	_, err = fsnode.Save(t.Context(), folder, dir, fsnode.SaveOptions{})
	must(t, err)
	dir.Finish()
	snap, err := w.Commit(repo.Snapshot{Time: time.Now(), Hostname: "h", Paths: []string{"/x"}})
	must(t, err)
	self, err = r.Lookup(t.Context(), snap.Tree, "/a folder")
	must(t, err)
	return saved{r, self}
}

var longName = strings.Repeat("long name ", 25)

// makeFolder makes a folder of everything that a file system has.
func makeFolder(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	big := make([]byte, 5<<20)
	_, _ = rand.NewChaCha8([32]byte{1}).Read(big)
	for name, data := range map[string]string{
		"empty": "", "sub/größe ☃.txt": "snow", "sub/deep/b": strings.Repeat("text ", 10_000), "big": string(big),
		longName: "long", "-rf": "a dash", "setuid": "#!", "a\"b'c": "quotes", "old": "1969",
	} {
		p := filepath.Join(dir, name)
		must(t, os.MkdirAll(filepath.Dir(p), 0o755), os.WriteFile(p, []byte(data), 0o640))
	}
	must(t, os.Chmod(dir+"/setuid", 0o755|fs.ModeSetuid), os.Chmod(dir+"/sub", 0o750|fs.ModeSetgid), os.Mkdir(dir+"/void", 0o700),
		os.Symlink("../nowhere/ü", dir+"/link"), os.Symlink(strings.Repeat("far/", 60), dir+"/long link"), os.Link(dir+"/big", dir+"/sub/again"))
	must(t, os.Chtimes(dir+"/old", time.Time{}, time.Date(1969, 7, 20, 20, 17, 40, 123456789, time.UTC)),
		os.Chtimes(dir+"/sub/deep", time.Time{}, time.Date(2001, 2, 3, 4, 5, 6, 7, time.UTC)),
		os.Chtimes(dir+"/empty", time.Time{}, time.Date(2038, 2, 3, 4, 5, 6, 500, time.UTC)))
	return dir
}

// onlyInTar adds what no zip can hold.
func onlyInTar(t *testing.T, dir string) {
	t.Helper()
	must(t, os.WriteFile(dir+"/new\nline", []byte("x"), 0o600), os.WriteFile(dir+"/latin-\xe9", []byte("not UTF-8"), 0o600), os.WriteFile(dir+`/back\slash`, nil, 0o600),
		unix.Mkfifo(dir+"/pipe", 0o640))
	if os.Getuid() == 0 {
		must(t, os.Chown(dir+"/sub/deep/b", 1234, 4321), unix.Mknod(dir+"/null", unix.S_IFCHR|0o600, int(unix.Mkdev(1, 3))))
	}
	for _, x := range []string{"user.mime", "user.binary"} {
		if err := unix.Setxattr(dir+"/big", x, []byte("\x00\xffvalue="), 0); err != nil && !errors.Is(err, unix.ENOTSUP) {
			t.Fatal(err)
		}
	}
}

func write(t testing.TB, f archive.Format, s saved) []byte {
	t.Helper()
	var b bytes.Buffer
	must(t, archive.Check(t.Context(), f, s.self, s), archive.WriteFolder(t.Context(), &b, f, s.self, s))
	return b.Bytes()
}

// unpack gives an archive to a program and returns the folder that was in it.
func unpack(t *testing.T, data []byte, program string, args ...string) string {
	t.Helper()
	dir := t.TempDir()
	must(t, os.WriteFile(dir+"/archive", data, 0o600), os.Mkdir(dir+"/out", 0o755))
	cmd := exec.Command(realtest.Need(t, program), args...)
	cmd.Dir = dir + "/out"
	cmd.Env = append(os.Environ(), "LC_ALL=C.UTF-8")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", program, err, out)
	}
	return dir + "/out/a folder"
}

// same compares two folders by what a backup of them holds, after change has taken away what the format cannot keep.
func same(t *testing.T, a, b saved, change func(*repo.Node)) {
	t.Helper()
	list := func(s saved) (map[string]repo.Node, map[string]uint64) {
		nodes, inodes := make(map[string]repo.Node), make(map[string]uint64)
		for e, err := range s.Walk(t.Context()) {
			must(t, err)
			n := e.Node
			if n.Links > 1 {
				inodes[e.Path] = n.Inode
			}
			if n.Type == "file" { // each repository cuts files in its own way
				f, err := s.Open(t.Context(), n)
				must(t, err)
				data, err := io.ReadAll(f)
				must(t, err, f.Close())
				n.Content = []repo.ID{repo.Hash(data)}
			}
			slices.SortFunc(n.ExtendedAttributes, func(a, b repo.XAttr) int { return strings.Compare(a.Name, b.Name) })
			n.Inode, n.DeviceID, n.AccessTime, n.ChangeTime, n.Subtree = 0, 0, time.Time{}, time.Time{}, nil
			change(&n)
			nodes[e.Path] = n
		}
		return nodes, inodes
	}
	want, wantLinks := list(a)
	got, gotLinks := list(b)
	for path, n := range want {
		if !reflect.DeepEqual(got[path], n) {
			t.Errorf("%q:\n%+v, want\n%+v", path, got[path], n)
		}
	}
	if len(got) != len(want) || len(want) < 13 {
		t.Errorf("%d entries, want %d", len(got), len(want))
	}
	if len(wantLinks) != 2 || len(gotLinks) > 0 && gotLinks["big"] != gotLinks["sub/again"] {
		t.Errorf("links: %v, want %v", gotLinks, wantLinks)
	}
}

func TestTar(t *testing.T) {
	dir := makeFolder(t)
	onlyInTar(t, dir)
	s := save(t, dir)
	for format, flag := range map[archive.Format]string{archive.Tar: "-x", archive.TarGzip: "-xz"} {
		data := write(t, format, s)
		out := unpack(t, data, "tar", flag, "-p", "--xattrs", "--xattrs-include=*", "-f", "../archive")
		same(t, s, save(t, out), func(*repo.Node) {})
		if again := write(t, format, s); !bytes.Equal(again, data) {
			t.Errorf("%s: not the same bytes again", format)
		}
	}
}

func TestZip(t *testing.T) {
	s := save(t, makeFolder(t))
	data := write(t, archive.Zip, s)
	out := unpack(t, data, "unzip", "-q", "../archive")
	same(t, s, save(t, out), func(n *repo.Node) {
		n.ModTime = n.ModTime.Truncate(time.Second)
		n.UID, n.GID, n.User, n.Group, n.Links = 0, 0, "", "", 1
		if n.Type == "symlink" {
			n.ModTime = time.Time{} // unzip leaves it as it comes
		}
		if n.Type == "dir" {
			n.Links = 0
		}
		n.Mode &^= fs.ModeSetuid | fs.ModeSetgid // unzip drops them unless asked
		if n.ModTime.Year() < 1980 || n.ModTime.Year() > 2037 {
			n.ModTime = time.Time{} // what unzip makes of these depends on the machine
		}
	})
	if again := write(t, archive.Zip, s); !bytes.Equal(again, data) {
		t.Error("not the same bytes again")
	}
}

func TestZipRefusesBackslashes(t *testing.T) {
	dir := t.TempDir()
	must(t, os.WriteFile(dir+`/..\..\evil`, nil, 0o600))
	s := save(t, dir)
	if err := archive.Check(t.Context(), archive.Zip, s.self, s); !errors.Is(err, archive.ErrFormat) || !strings.Contains(err.Error(), "tar") {
		t.Errorf("%v", err)
	}
	must(t, archive.Check(t.Context(), archive.Tar, s.self, s))
}

func TestCompressedFiles(t *testing.T) {
	lines := 200_000
	if testing.Short() {
		lines = 60_000 // some blocks for those that compress in parallel
	}
	data := []byte(strings.Repeat("insert into customer values (1);\n", lines))
	for format, program := range map[archive.Format]string{archive.Gzip: "gzip", archive.Bzip2: "bzip2", archive.Zstd: "zstd"} {
		for _, plain := range [][]byte{data, nil} {
			var b, again bytes.Buffer
			must(t, archive.WriteFile(&b, format, bytes.NewReader(plain)), archive.WriteFile(&again, format, bytes.NewReader(plain)))
			cmd := exec.Command(realtest.Need(t, program), "-dc")
			cmd.Stdin = bytes.NewReader(b.Bytes())
			if out, err := cmd.Output(); err != nil || !bytes.Equal(out, plain) {
				t.Errorf("%s: %d bytes of %d, %v", program, len(out), len(plain), err)
			}
			if !bytes.Equal(b.Bytes(), again.Bytes()) {
				t.Errorf("%s: not the same bytes again", format)
			}
		}
	}
}

// fails gives some bytes and then an error.
type fails struct{ left int }

var errBroken = errors.New("broken")

func (f *fails) Read(p []byte) (int, error) {
	if f.left == 0 {
		return 0, errBroken
	}
	n := min(len(p), f.left)
	f.left -= n
	return n, nil
}

func (*fails) Close() error { return nil }

// broken is a folder whose second file cannot be read to its end.
type broken struct{ saved }

func (b broken) Open(ctx context.Context, n repo.Node) (io.ReadCloser, error) {
	if n.Name == "b" {
		return &fails{int(n.Size) / 2}, nil
	}
	return b.saved.Open(ctx, n)
}

// After an error nothing looks whole, in no format.
func TestErrorsLeaveNoWholeFile(t *testing.T) {
	for format, program := range map[archive.Format]string{archive.Gzip: "gzip", archive.Bzip2: "bzip2", archive.Zstd: "zstd"} {
		var b bytes.Buffer
		if err := archive.WriteFile(&b, format, &fails{9 << 20}); !errors.Is(err, errBroken) {
			t.Errorf("%s: %v", format, err)
		}
		cmd := exec.Command(realtest.Need(t, program), "-t")
		cmd.Stdin = &b
		if cmd.Run() == nil {
			t.Errorf("%s takes half a file for whole", program)
		}
	}
	dir := t.TempDir()
	must(t, os.WriteFile(dir+"/a", nil, 0o600), os.WriteFile(dir+"/b", make([]byte, 9<<20), 0o600))
	s := broken{save(t, dir)}
	for format, args := range map[archive.Format][]string{archive.Tar: {"tar", "-tf"}, archive.TarGzip: {"tar", "-tzf"}, archive.Zip: {"unzip", "-tq"}} {
		var b bytes.Buffer
		if err := archive.WriteFolder(t.Context(), &b, format, s.self, s); !errors.Is(err, errBroken) || !strings.Contains(err.Error(), "a folder/b") {
			t.Errorf("%s: %v", format, err)
		}
		file := t.TempDir() + "/archive"
		must(t, os.WriteFile(file, b.Bytes(), 0o600))
		if exec.Command(realtest.Need(t, args[0]), append(args[1:], file)...).Run() == nil {
			t.Errorf("%s takes half an archive for whole", args[0])
		}
	}
}

// hostile is a folder with one entry that no good program has saved.
type hostile struct{ e repo.Entry }

func (h hostile) Walk(context.Context) iter.Seq2[repo.Entry, error] {
	return func(yield func(repo.Entry, error) bool) { yield(h.e, nil) }
}

func (hostile) Open(context.Context, repo.Node) (io.ReadCloser, error) { return &fails{}, nil }

func TestHostileNames(t *testing.T) {
	for _, path := range []string{"..", "../evil", "/evil", "a/../../evil", "", ".", "a//b", "nul\x00"} {
		h := hostile{repo.Entry{Path: path, Node: repo.Node{Type: "file", Name: path}}}
		for _, format := range archive.OfFolders {
			for _, self := range []repo.Node{{}, {Type: "dir", Name: "f"}} {
				err1 := archive.Check(t.Context(), format, self, h)
				err2 := archive.WriteFolder(t.Context(), io.Discard, format, self, h)
				if !errors.Is(err1, repo.ErrDamaged) || !errors.Is(err2, repo.ErrDamaged) {
					t.Errorf("%q in %s: %v, %v", path, format, err1, err2)
				}
			}
		}
	}
	odd := hostile{repo.Entry{Path: "x", Node: repo.Node{Type: "irregular", Name: "x"}}}
	if err := archive.WriteFolder(t.Context(), io.Discard, archive.Tar, repo.Node{}, odd); !errors.Is(err, repo.ErrUnsupported) {
		t.Errorf("%v", err)
	}
}

// One inode whose content changed while it was backed up is two files.
func TestHardLinkThatChanged(t *testing.T) {
	dir := t.TempDir()
	must(t, os.WriteFile(dir+"/a", []byte("one"), 0o600), os.WriteFile(dir+"/b", []byte("two"), 0o600))
	s := save(t, dir)
	forged := linked{s}
	var b bytes.Buffer
	must(t, archive.WriteFolder(t.Context(), &b, archive.Tar, s.self, forged))
	r := tar.NewReader(&b)
	got := ""
	for {
		h, err := r.Next()
		if err == io.EOF {
			break
		}
		must(t, err)
		data, err := io.ReadAll(r)
		must(t, err)
		got += fmt.Sprintf("%s %c %s, ", h.Name, h.Typeflag, data)
	}
	if got != "a folder/ 5 , a folder/a 0 one, a folder/b 0 two, " {
		t.Error(got)
	}
}

type linked struct{ saved }

func (l linked) Walk(ctx context.Context) iter.Seq2[repo.Entry, error] {
	return func(yield func(repo.Entry, error) bool) {
		for e, err := range l.saved.Walk(ctx) {
			e.Node.Inode, e.Node.DeviceID, e.Node.Links = 7, 7, 2
			if !yield(e, err) {
				return
			}
		}
	}
}

func TestParse(t *testing.T) {
	for s, want := range map[string]archive.Format{"": archive.Raw, "raw": archive.Raw, "GZ": archive.Gzip, "tar.gz": archive.TarGzip, "zip": archive.Zip} {
		if f, err := archive.Parse(s); f != want || err != nil {
			t.Errorf("%q: %q, %v", s, f, err)
		}
	}
	if _, err := archive.Parse("rar"); !errors.Is(err, archive.ErrFormat) || !strings.Contains(err.Error(), "raw, gz, bz2, zst, tar, tar.gz, zip") {
		t.Errorf("%v", err)
	}
}
