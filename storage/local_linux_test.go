package storage_test

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/caddy-backup/caddy-backup/internal/realtest"
	"github.com/caddy-backup/caddy-backup/storage"
	"github.com/caddy-backup/caddy-backup/storage/storagetest"
)

// TestLocalFull fills a small volume: the error says so and what to do, nothing half-written stays, and deleting helps.
func TestLocalFull(t *testing.T) {
	root := realtest.SmallDisk(t, 1)
	st := storage.NewLocal(root)
	storagetest.Write(t, st, "index/fits", make([]byte, 600<<10))
	err := st.Put(ctx, "index/not", make([]byte, 600<<10))
	if !errors.Is(err, syscall.ENOSPC) || !strings.Contains(err.Error(), "free some space on the volume of "+root) {
		t.Errorf("Put: %v", err)
	}
	entries, _ := os.ReadDir(filepath.Join(root, "index"))
	if len(entries) != 1 {
		t.Errorf("left behind: %v", entries)
	}
	storagetest.Remove(t, st, "index/fits")
	storagetest.Write(t, st, "index/not", make([]byte, 600<<10))
}

// TestLocalDenied runs as another user: the error names the path, that user, and the way out.
func TestLocalDenied(t *testing.T) {
	realtest.NeedRoot(t, "it changes its user")
	parent := t.TempDir()
	root := filepath.Join(parent, "backups")
	storagetest.Write(t, storage.NewLocal(root), "config", []byte("x"))
	for dir := parent; dir != "/"; dir = filepath.Dir(dir) {
		if fi, err := os.Stat(dir); err == nil && fi.Mode().Perm()&0o001 == 0 {
			if err := os.Chmod(dir, fi.Mode().Perm()|0o011); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = os.Chmod(dir, fi.Mode().Perm()) })
		}
	}
	const nobody = 65534
	errs := map[string]error{}
	asUser(t, nobody, func() {
		st := storage.NewLocal(root)
		_, errs["Get"] = st.Get(ctx, "config", 0, -1)
		errs["Put"] = st.Put(ctx, "locks/x", nil)
		errs["Delete"] = st.Delete(ctx, "config")
		for _, errs["List"] = range st.List(ctx, "keys") {
		}
		errs["Put elsewhere"] = storage.NewLocal(filepath.Join(parent, "other")).Put(ctx, "config", nil)
		_, errs["Get below"] = storage.NewLocal(filepath.Join(root, "data", "below")).Get(ctx, "config", 0, -1)
	})
	there := "setfacl -R -m u:nobody:rwX -m d:u:nobody:rwX " + root + "; or run as the owner (ls -ld " + root + "); " +
		"or, when nobody else writes to it, change the owner with: chown -R nobody " + root
	ways := map[string]string{
		"Put elsewhere": "make the folder with: install -d -m 700 -o nobody " + filepath.Join(parent, "other"),
		"Get below":     "let the user pass through the folders above it, see: namei -l " + root,
	}
	for what, err := range errs {
		if !errors.Is(err, fs.ErrPermission) {
			t.Errorf("%s: %v", what, err)
			continue
		}
		want, elsewhere := ways[what]
		if !elsewhere {
			want = there
		}
		if !strings.Contains(err.Error(), "we run as user nobody (uid 65534): ") || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v; lacks %q", what, err, want)
		}
		if elsewhere && strings.Contains(err.Error(), "chown") || !elsewhere && strings.Contains(err.Error(), "install -d") {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// asUser runs f on a thread of its own with the rights of another user; the thread ends with it.
func asUser(t *testing.T, uid uintptr, f func()) {
	t.Helper()
	done := make(chan syscall.Errno)
	go func() {
		runtime.LockOSThread()
		_, _, errno := unix.RawSyscall(unix.SYS_SETRESUID, uid, uid, uid) // of this thread only
		if errno == 0 {
			f()
		}
		done <- errno
	}()
	if errno := <-done; errno != 0 {
		t.Fatal(errno)
	}
}

// TestLocalSurvivesPowerCut stores files on a file system of its own, and cuts that off in the middle, as a power cut
// would: what was acknowledged is there, whole, after the next mount.
func TestLocalSurvivesPowerCut(t *testing.T) {
	disk := realtest.NewDisk(t, 64)
	st := storage.NewLocal(filepath.Join(disk.Dir, "a", "backups"))
	want := map[string][]byte{}
	for i := range 20 {
		name := "data/" + string(rune('a'+i%7)) + "/" + strings.Repeat(string(rune('a'+i)), 64)
		want[name] = make([]byte, rand.Intn(300_000))
		rand.New(rand.NewSource(int64(i))).Read(want[name])
		storagetest.Write(t, st, name, want[name])
	}
	deleted := "data/a/" + strings.Repeat("a", 64)
	storagetest.Remove(t, st, deleted)
	delete(want, deleted)
	if err := disk.Cut(); err != nil {
		t.Fatal(err)
	}
	disk.Restart(t)
	if got := storagetest.Names(t, st, ""); len(got) != len(want) {
		t.Errorf("%d files are there of %d: %q", len(got), len(want), got)
	}
	for name, data := range want {
		if got := storagetest.Read(t, st, name); string(got) != string(data) {
			t.Errorf("%s has changed", name)
		}
	}
}

// TestLocalFailingFsync has the kernel refuse every fsync: nothing may be called stored.
func TestLocalFailingFsync(t *testing.T) {
	if root := os.Getenv("TEST_FAILING_FSYNC"); root != "" {
		err := storage.NewLocal(root).Put(ctx, "index/x", []byte("x"))
		if !errors.Is(err, syscall.EIO) {
			t.Errorf("Put under a failing fsync: %v", err)
		}
		return
	}
	strace := realtest.Need(t, "strace")
	if out, err := exec.Command(strace, "-f", "-qq", "-o", os.DevNull, os.Args[0], "-test.run=^$").CombinedOutput(); err != nil {
		realtest.Skip(t, fmt.Sprintf("no process can be traced here: %v: %s", err, out))
	}
	root := t.TempDir()
	cmd := exec.Command(strace, "-f", "-qq", "-e", "trace=fsync", "-e", "inject=fsync:error=EIO", "-o", os.DevNull,
		os.Args[0], "-test.run=^TestLocalFailingFsync$")
	cmd.Env = append(os.Environ(), "TEST_FAILING_FSYNC="+root)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	entries, err := os.ReadDir(filepath.Join(root, "index"))
	if err != nil || len(entries) != 0 {
		t.Errorf("left behind: %v, %v", entries, err)
	}
}

// TestSweep removes what killed Puts left, once it is old: nothing else, however it is named.
func TestSweep(t *testing.T) {
	root := t.TempDir()
	st := storage.NewLocal(root)
	id := strings.Repeat("ab", 32)
	storagetest.Write(t, st, "data/ab/"+id, []byte("x"))
	old := time.Now().Add(-48 * time.Hour)
	create := func(name string, at time.Time) {
		t.Helper()
		p := filepath.Join(root, filepath.FromSlash(name))
		err := errors.Join(os.MkdirAll(filepath.Dir(p), 0o700), os.WriteFile(p, []byte("half"), 0o600), os.Chtimes(p, at, at))
		if err != nil {
			t.Fatal(err)
		}
	}
	swept := []string{"data/ab/" + id + "-tmp-00ff00ff00ff00ff", "snapshots/" + id + "-tmp-0123456789abcdef"}
	kept := []string{"data/ab/" + id + "-tmp-123456789", "data/ab/notes-tmp-00ff00ff00ff00ff", "photos/" + id + "-tmp-00ff00ff00ff00ff"}
	for _, name := range append(slices.Clone(swept), kept...) {
		create(name, old)
	}
	kept = append(kept, "data/ab/"+id, "index/"+id+"-tmp-00ff00ff00ff00ff")
	create(kept[len(kept)-1], time.Now())
	if err := os.Chtimes(filepath.Join(root, "data/ab", id), old, old); err != nil {
		t.Fatal(err)
	}
	files, bytes, err := st.Sweep(ctx, time.Now().Add(-24*time.Hour))
	if files != 2 || bytes != 8 || err != nil {
		t.Errorf("%d files, %d bytes, %v", files, bytes, err)
	}
	for _, name := range swept {
		if _, err := os.Stat(filepath.Join(root, name)); err == nil {
			t.Errorf("%s is there", name)
		}
	}
	for _, name := range kept {
		if _, err := os.Stat(filepath.Join(root, name)); err != nil {
			t.Error(err)
		}
	}
}

// TestLockOnFullDisk: on a disk without a free byte a lock can be taken, be refreshed, and be taken again; a pack cannot.
func TestLockOnFullDisk(t *testing.T) {
	root := realtest.SmallDisk(t, 1)
	st := storage.NewLocal(root)
	lock := func(n string) string { return "locks/" + strings.Repeat(n, 64) }
	storagetest.Write(t, st, lock("a"), []byte("x"))
	storagetest.Remove(t, st, lock("a"))
	filler := realtest.Fill(t, root)
	for range 3 {
		if err := st.Put(ctx, "data/ab/"+strings.Repeat("ab", 32), []byte("x")); !errors.Is(err, syscall.ENOSPC) {
			t.Errorf("a pack on a full disk: %v", err)
		}
		storagetest.Write(t, st, lock("b"), []byte("x"))
		storagetest.Write(t, st, lock("c"), []byte("x"))
		storagetest.Remove(t, st, lock("b"))
		storagetest.Remove(t, st, lock("c"))
	}
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	storagetest.Write(t, st, lock("a"), []byte("x"))
	if names := storagetest.Names(t, st, ""); len(names) != 1 {
		t.Errorf("files: %v", names)
	}
}
