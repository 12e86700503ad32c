//go:build unix

package storage_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/caddy-backup/caddy-backup/storage"
	"github.com/caddy-backup/caddy-backup/storage/storagetest"
)

func TestLocalTouchesNothing(t *testing.T) {
	root := filepath.Join(t.TempDir(), "backups")
	st := storage.NewLocal(root + "/")
	if st.Location() != root {
		t.Errorf("location %q", st.Location())
	}
	if _, err := st.Get(ctx, "config", 0, -1); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), root) {
		t.Errorf("Get: %v", err)
	}
	if err := st.Delete(ctx, "locks/x"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Delete: %v", err)
	}
	if names := storagetest.Names(t, st, "data"); len(names) != 0 {
		t.Errorf("List: %q", names)
	}
	if _, err := os.Lstat(root); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the folder was made: %v", err)
	}
}

// TestLocalModes compares with what restic's local backend makes, also for a repository that a group shares.
func TestLocalModes(t *testing.T) {
	old := syscall.Umask(0o022)
	defer syscall.Umask(old)
	root := filepath.Join(t.TempDir(), "a", "backups")
	st := storage.NewLocal(root)
	mode := func(name string, want fs.FileMode) {
		t.Helper()
		fi, err := os.Lstat(filepath.Join(root, name))
		if err != nil {
			t.Fatal(err)
		}
		if fi.Mode().Perm() != want {
			t.Errorf("%s has mode %o, want %o", name, fi.Mode().Perm(), want)
		}
	}
	storagetest.Write(t, st, "config", []byte("x"))
	storagetest.Write(t, st, "data/ab/abcd", []byte("x"))
	mode("../../a", 0o700)
	mode(".", 0o700)
	mode("config", 0o400)
	mode("data/ab", 0o700)
	mode("data/ab/abcd", 0o400)

	if err := os.Chmod(filepath.Join(root, "config"), 0o440); err != nil {
		t.Fatal(err)
	}
	storagetest.Write(t, st, "data/cd/cdef", []byte("x"))
	mode("data/cd", 0o750) // 0770 without the umask's bits
	mode("data/cd/cdef", 0o440)
	storagetest.Write(t, st, "config", []byte("xx"))
	mode("config", 0o440)
}

func TestLocalListsNoUnfinishedFiles(t *testing.T) {
	root := t.TempDir()
	st := storage.NewLocal(root)
	storagetest.Write(t, st, "index/aaaa", nil)
	for _, name := range []string{"index/bbbb-tmp-123456789", "index/bbbb-tmp-00ff00ff00ff00ff"} {
		if err := os.WriteFile(filepath.Join(root, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := syscall.Mkfifo(filepath.Join(root, "index/fifo"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("nowhere", filepath.Join(root, "index/dangling")); err != nil {
		t.Fatal(err)
	}
	if got := storagetest.Names(t, st, ""); !slices.Equal(got, []string{"index/aaaa"}) {
		t.Errorf("listed: %q", got)
	}
}

// TestLocalFollowsLinks: people move data to another disk. What were not listed would be taken for lost.
func TestLocalFollowsLinks(t *testing.T) {
	root, disk := t.TempDir(), t.TempDir()
	if err := os.Symlink(disk, filepath.Join(root, "data")); err != nil {
		t.Fatal(err)
	}
	st := storage.NewLocal(root)
	storagetest.Write(t, st, "data/ab/abcd", []byte("x"))
	for _, dir := range []string{"", "data"} {
		if got := storagetest.Names(t, st, dir); !slices.Equal(got, []string{"data/ab/abcd"}) {
			t.Errorf("List(%q): %q", dir, got)
		}
	}
	if err := os.Symlink(root, filepath.Join(disk, "circle")); err != nil {
		t.Fatal(err)
	}
	var failed error
	for _, err := range st.List(ctx, "data") {
		failed = err
	}
	if failed == nil || !strings.Contains(failed.Error(), "circles") {
		t.Errorf("links in circles: %v", failed)
	}
}

// TestLocalNeedsAFolder names the path when something else is in the way.
func TestLocalNeedsAFolder(t *testing.T) {
	root := filepath.Join(t.TempDir(), "backups")
	if err := os.WriteFile(root, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	st := storage.NewLocal(root)
	if err := st.Put(ctx, "config", nil); err == nil || !strings.Contains(err.Error(), root) {
		t.Errorf("Put: %v", err)
	}
	var failed error
	for _, err := range st.List(ctx, "keys") {
		failed = err
	}
	if failed == nil {
		t.Error("List passed: a folder that cannot be listed is not an empty one")
	}
}

// TestLocalRenameFails leaves no temporary file behind.
func TestLocalRenameFails(t *testing.T) {
	root := t.TempDir()
	st := storage.NewLocal(root)
	storagetest.Write(t, st, "data/ab/abcd", nil)
	if err := st.Put(ctx, "data/ab", []byte("x")); err == nil {
		t.Error("a folder was replaced by a file")
	}
	entries, _ := os.ReadDir(filepath.Join(root, "data"))
	if len(entries) != 1 {
		t.Errorf("left behind: %v", entries)
	}
}
