package fsnode_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/caddy-backup/caddy-backup/fsnode"
	"github.com/caddy-backup/caddy-backup/internal/realtest"
	"github.com/caddy-backup/caddy-backup/repo"
	"github.com/caddy-backup/caddy-backup/storage"
)

func TestMain(m *testing.M) {
	syscall.Umask(0o022) // which the modes of what tests make are written for
	realtest.Main(m)
}

const password = "fsnode test"

// cheap makes the password hash of a new repository cost nothing.
var cheap = repo.KDF{N: 16, R: 1, P: 1}

// inMemory is an empty repository on st, which any user may use.
func inMemory(t testing.TB, st repo.Storage) *repo.Repository {
	t.Helper()
	r, err := repo.Init(t.Context(), st, []byte(password), repo.Options{KDF: cheap})
	must(t, err)
	return r
}

// must is for the steps of a test that are not what it tests.
func must(t testing.TB, errs ...error) {
	t.Helper()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}

// asUser runs f on a thread of its own with the rights of another user and of no group; the thread ends with it.
func asUser(t *testing.T, uid uintptr, f func()) {
	t.Helper()
	var errno syscall.Errno
	done := make(chan struct{})
	go func() {
		defer close(done) // also when f ends the goroutine, as t.Fatal does
		runtime.LockOSThread()
		// Raw calls change this thread only.
		if _, _, errno = unix.RawSyscall(unix.SYS_SETGROUPS, 0, 0, 0); errno != 0 {
			return
		}
		if _, _, errno = unix.RawSyscall(unix.SYS_SETRESGID, uid, uid, uid); errno != 0 {
			return
		}
		if _, _, errno = unix.RawSyscall(unix.SYS_SETRESUID, uid, uid, uid); errno != 0 {
			return
		}
		f()
	}()
	<-done
	if errno != 0 {
		t.Fatal(errno)
	}
}

// openDir is a folder that all users may enter and write to. Not every folder for temporary files is one that they may pass.
func openDir(t testing.TB) string {
	t.Helper()
	in := os.TempDir()
	for up := in; up != filepath.Dir(up); up = filepath.Dir(up) {
		if fi, err := os.Stat(up); err != nil || fi.Mode()&0o001 == 0 {
			in = "/tmp"
		}
	}
	dir, err := os.MkdirTemp(in, "fsnode")
	must(t, err, os.Chmod(dir, 0o777))
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// newRepo is an empty repository in memory.
func newRepo(t testing.TB) *repo.Repository { return inMemory(t, new(storage.Memory)) }

// localRepo is an empty repository in a new folder, for restic to work on.
func localRepo(t testing.TB) (*repo.Repository, string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "repo")
	return inMemory(t, storage.NewLocal(path)), path
}

// save makes a snapshot with the folder at root under the name "tree".
func save(t testing.TB, r *repo.Repository, root string, o fsnode.SaveOptions) (repo.Snapshot, fsnode.Saved, error) {
	t.Helper()
	var saved fsnode.Saved
	snap, err := write(t, r, func(top *repo.Dir) (err error) {
		saved, err = saveInto(context.Background(), t, top, "tree", root, o)
		return err
	})
	return snap, saved, err
}

// write makes a snapshot of what fill puts into it.
func write(t testing.TB, r *repo.Repository, fill func(top *repo.Dir) error) (repo.Snapshot, error) {
	t.Helper()
	lock, err := r.Lock(context.Background(), false)
	must(t, err)
	defer func() { must(t, lock.Unlock()) }()
	must(t, r.LoadIndex(context.Background()))
	w, err := r.NewWriter(lock)
	must(t, err)
	defer w.Abort()
	if err := fill(w.Root()); err != nil {
		return repo.Snapshot{}, err
	}
	snap, err := w.Commit(repo.Snapshot{Time: time.Now(), Paths: []string{"/tree"}, Hostname: "test"})
	must(t, err)
	return snap, nil
}

// saveInto saves the folder at root under a name in top.
func saveInto(ctx context.Context, t testing.TB, top *repo.Dir, name, root string, o fsnode.SaveOptions) (fsnode.Saved, error) {
	t.Helper()
	n, err := fsnode.Node(root)
	must(t, err)
	n.Name = name
	dir, err := top.Mkdir(n)
	must(t, err)
	saved, err := fsnode.Save(ctx, root, dir, o)
	if err == nil {
		_, err = dir.Close()
	}
	return saved, err
}

// mustSave is save for trees without trouble.
func mustSave(t testing.TB, r *repo.Repository, root string) repo.Snapshot {
	t.Helper()
	snap, saved, err := save(t, r, root, fsnode.SaveOptions{})
	must(t, err)
	if len(saved.Notes) > 0 {
		t.Errorf("notes: %q", saved.Notes)
	}
	return snap
}

// restore restores what is at a path of a snapshot into the folder at into.
func restore(t testing.TB, r *repo.Repository, snap repo.Snapshot, path, into string) (fsnode.Restored, error) {
	t.Helper()
	n, err := r.Lookup(context.Background(), snap.Tree, path)
	must(t, err)
	root, err := os.OpenRoot(into)
	must(t, err)
	defer root.Close()
	return fsnode.Restore(context.Background(), r, n, root, fsnode.RestoreOptions{})
}

// facts is all that a file's name leads to, by plain system calls: nothing here is shared with what is tested.
type facts struct {
	Mode, UID, GID uint32
	Mtime          unix.Timespec
	Size           int64 // of files
	Links          uint64
	Rdev           uint64
	Content        string // of files; the target of a link
	XAttrs         string
	Group          string // the first path of the same inode, when it has several names
}

// survey collects the facts of everything below root; "." is root itself.
func survey(t testing.TB, root string) map[string]facts {
	t.Helper()
	all, first := map[string]facts{}, map[uint64]string{}
	t.Chdir(root) // deep trees have longer paths than one call takes
	surveyFolder(t, ".", "", all, first)
	return all
}

func surveyFolder(t testing.TB, name, rel string, all map[string]facts, first map[uint64]string) {
	t.Helper()
	rel = filepath.Join(rel, name)
	var st unix.Stat_t
	must(t, unix.Lstat(name, &st))
	f := facts{Mode: st.Mode, UID: st.Uid, GID: st.Gid, Mtime: st.Mtim, XAttrs: xattrsOf(t, name)}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFDIR:
		all[rel] = f
		must(t, os.Chdir(name))
		entries, err := os.ReadDir(".")
		must(t, err)
		for _, e := range entries {
			surveyFolder(t, e.Name(), rel, all, first)
		}
		if name != "." {
			must(t, os.Chdir(".."))
		}
		return
	case unix.S_IFREG:
		data, err := os.ReadFile(name)
		must(t, err)
		f.Size, f.Content = st.Size, repo.Hash(data).String()
	case unix.S_IFLNK:
		target, err := os.Readlink(name)
		must(t, err)
		f.Content = target
	case unix.S_IFBLK, unix.S_IFCHR:
		f.Rdev = st.Rdev
	}
	if f.Links = uint64(st.Nlink); f.Links > 1 {
		if _, ok := first[st.Ino]; !ok {
			first[st.Ino] = rel
		}
		f.Group = first[st.Ino]
	}
	all[rel] = f
}

func xattrsOf(t testing.TB, name string) string {
	t.Helper()
	buf := make([]byte, 64<<10)
	n, err := unix.Llistxattr(name, buf)
	must(t, err)
	var attrs []string
	for attr := range strings.SplitSeq(string(buf[:n]), "\x00") {
		if attr != "" {
			value := make([]byte, 64<<10)
			n, err := unix.Lgetxattr(name, attr, value)
			must(t, err)
			attrs = append(attrs, fmt.Sprintf("%s=%q", attr, value[:n]))
		}
	}
	slices.Sort(attrs)
	return strings.Join(attrs, " ")
}

// compare reports every difference between two surveys.
func compare(t testing.TB, what string, got, want map[string]facts) {
	t.Helper()
	for path, w := range want {
		if g, ok := got[path]; !ok {
			t.Errorf("%s: %q is missing", what, path)
		} else if g != w {
			t.Errorf("%s: %q is\n     %+v\nwant %+v", what, path, g, w)
		}
	}
	for path := range got {
		if _, ok := want[path]; !ok {
			t.Errorf("%s: %q was not there before", what, path)
		}
	}
}

// build makes a tree of everything that a folder can hold. Without root it leaves out what only root can make.
func build(t testing.TB, root string) {
	t.Helper()
	in := func(name string) string { return filepath.Join(root, name) }
	write := func(name string, data []byte, mode fs.FileMode) {
		t.Helper()
		must(t, os.WriteFile(in(name), data, 0o600), os.Chmod(in(name), mode))
	}
	mkdir := func(name string, mode fs.FileMode) {
		t.Helper()
		must(t, os.Mkdir(in(name), 0o700), os.Chmod(in(name), mode))
	}
	must(t, os.MkdirAll(root, 0o755))
	mkdir("empty", 0o755)
	mkdir("modes", 0o755)
	for _, m := range []fs.FileMode{0, 0o400, 0o644, 0o777, 0o755 | fs.ModeSetuid, 0o2755&0o777 | fs.ModeSetgid, 0o644 | fs.ModeSticky, 0o111} {
		write(fmt.Sprintf("modes/%s", m), []byte(m.String()), m)
	}
	mkdir("modes/closed", 0o700)
	write("modes/closed/file", []byte("in a closed folder"), 0o600)
	must(t, os.Chmod(in("modes/closed"), 0o000))
	mkdir("modes/shared", 0o777|fs.ModeSticky)
	mkdir("modes/setgid", 0o775|fs.ModeSetgid)

	mkdir("names", 0o755)
	for _, name := range []string{
		"plain", " leading space", "trailing dot.", "-dash", "quote\"back\\slash", "new\nline", "tab\tbell\a", "del\x7f",
		"ünïcode", "n\u0303fd", "emoji😀", "nbsp\u00a0zw\u200b", "inv\xff\xfealid", "\xff", "amp&<lt>", "\ufffd", "a:b*c?d|e",
		"...", "..a", "COM1", strings.Repeat("x", 255),
	} {
		write("names/"+name, []byte(name), 0o644)
	}

	mkdir("content", 0o755)
	write("content/empty", nil, 0o644)
	write("content/one", []byte("1"), 0o644)
	write("content/large", bytes.Repeat([]byte("0123456789abcdef\n"), 200_000), 0o644)
	must(t, os.WriteFile(in("content/sparse"), nil, 0o644), os.Truncate(in("content/sparse"), 3<<20))
	write("content/twin1", []byte("the same"), 0o644)
	write("content/twin2", []byte("the same"), 0o644)

	mkdir("links", 0o755)
	for name, target := range map[string]string{
		"relative": "../content/one", "dangling": "no/such/file", "absolute": "/etc/passwd", "self": "self", "up": "../../..",
		"folder": "../names", "invalid": "inv\xff\xfe", "long": strings.Repeat("y", 4000), "trailing": "../names/",
	} {
		must(t, os.Symlink(target, in("links/"+name)))
	}
	mkdir("links/deeper", 0o755)
	write("links/first", []byte("several names"), 0o640)
	must(t, os.Link(in("links/first"), in("links/second")), os.Link(in("links/first"), in("links/deeper/third")))
	must(t, os.Link(in("links/dangling"), in("links/deeper/dangling")))
	must(t, unix.Mkfifo(in("links/fifo"), 0o640))

	write("xattrs", []byte("x"), 0o444)
	for name, value := range map[string]string{"user.text": "hello", "user.binary": "\x00\xff\n", "user.empty": "", "user.ünï": "ü",
		"user.large": strings.Repeat("v", 2000)} {
		setXAttr(t, in("xattrs"), name, []byte(value))
	}
	setXAttr(t, in("empty"), "user.folder", []byte("yes"))

	if os.Getuid() == 0 {
		mkdir("root", 0o755)
		write("root/foreign", []byte("x"), 0o755|fs.ModeSetuid)
		must(t, os.Chown(in("root/foreign"), 12345, 54321), os.Chmod(in("root/foreign"), 0o755|fs.ModeSetuid))
		must(t, unix.Mknod(in("root/null"), unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3))))
		must(t, unix.Mknod(in("root/loop"), unix.S_IFBLK|0o660, int(unix.Mkdev(7, 259))))
		must(t, os.Symlink("owned", in("root/link")), os.Lchown(in("root/link"), 12345, 54321))
		setXAttr(t, in("root/foreign"), "trusted.t", []byte("t"))
		capability := []byte{1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}
		write("root/capable", []byte("x"), 0o755)
		must(t, unix.Setxattr(in("root/capable"), "security.capability", capability, 0))
	}
	setTestTimes(t, root)
}

// setXAttr sets an extended attribute, also of a link. Not every file system for temporary files takes those of users, and not every
// container lets its root set trusted ones: then the tree goes without, aloud.
func setXAttr(t testing.TB, path, name string, value []byte) {
	t.Helper()
	err := unix.Lsetxattr(path, name, value, 0)
	if errors.Is(err, unix.ENOTSUP) || errors.Is(err, unix.EPERM) && strings.HasPrefix(name, "trusted.") {
		realtest.NotTested(t, fmt.Sprintf("%s cannot be set on %s: %v", name, path, err))
		return
	}
	must(t, err)
}

// setTestTimes gives each entry a time of its own, with nanoseconds, some before 1970 and some far off; folders last.
func setTestTimes(t testing.TB, root string) {
	t.Helper()
	odd := []time.Time{
		time.Date(1969, 12, 31, 23, 59, 58, 123456789, time.UTC), time.Date(1902, 1, 1, 0, 0, 0, 1, time.UTC),
		time.Date(2099, 5, 6, 7, 8, 9, 999999999, time.UTC), time.Unix(0, 0), time.Date(2024, 2, 29, 12, 0, 0, 500000000, time.UTC),
	}
	var paths []string
	must(t, filepath.WalkDir(root, func(path string, _ fs.DirEntry, err error) error {
		paths = append(paths, path)
		return err
	}))
	slices.Reverse(paths)
	for i, path := range paths {
		ts, err := unix.TimeToTimespec(odd[i%len(odd)].Add(time.Duration(i) * time.Second))
		must(t, err, unix.UtimesNanoAt(unix.AT_FDCWD, path, []unix.Timespec{ts, ts}, unix.AT_SYMLINK_NOFOLLOW))
	}
}
