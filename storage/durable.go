package storage

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"time"

	"github.com/caddy-backup/caddy-backup/repo"
)

// This file is the one place that makes local writes durable. "Acknowledged" means: after a power cut at any later
// instant the file is there, under its name, whole.
//
// The order of writeDurably, and what is left when the machine dies in between:
//
//	folders made       empty folders, harmless
//	temp file written  a file with "-tmp-" in its name, which no listing names
//	temp file fsynced  the same
//	renamed            nothing, or the whole file: the content was durable before the name
//	folder fsynced     the whole file: only now Put may say so
//	made read-only     the whole file, if need be still writable: a guard against slips, not a promise
//
// Without the fsync of the folder, ext4 brings the file back under its temporary name.

// modes of what is made, as restic chooses them.
type modes struct {
	folder, writing, done fs.FileMode
}

// modes are private, unless the repository's config is readable for its group: then all is, so that several users of
// that group can share the repository. The umask applies to folders.
func (l *Local) modes() modes {
	if fi, err := os.Stat(filepath.Join(l.root, "config")); err == nil && fi.Mode()&0o040 != 0 {
		return modes{folder: 0o770, writing: 0o660, done: 0o440}
	}
	return modes{folder: 0o700, writing: 0o600, done: 0o400}
}

// writeDurably makes data the content of the file p. After an error p is as it was, or whole and new.
func (l *Local) writeDurably(ctx context.Context, p string, data []byte) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	m := l.modes()
	temp, err := l.writeTemp(ctx, p, data, m)
	if err != nil {
		return err
	}
	if err := os.Rename(temp, p); err != nil {
		_ = os.Remove(temp)
		return err
	}
	if err := l.syncFolders(filepath.Dir(p)); err != nil {
		return err
	}
	// Only now: some network file systems do not rename read-only files, and some know no modes at all. The file is
	// safe, so that is no reason to call it not stored.
	_ = os.Chmod(p, m.done)
	return nil
}

// writeTemp writes data into a new file beside p, durably, and returns its path. After an error it is gone.
func (l *Local) writeTemp(ctx context.Context, p string, data []byte, m modes) (temp string, err error) {
	f, err := createTemp(p, m.writing)
	if errors.Is(err, fs.ErrNotExist) {
		if err := makeFolder(filepath.Dir(p), m.folder); err != nil {
			return "", err
		}
		f, err = createTemp(p, m.writing)
	}
	if err != nil {
		return "", err
	}
	defer func() {
		if e := f.Close(); err == nil {
			err = e // network file systems tell write errors here
		}
		if err != nil {
			_ = os.Remove(f.Name())
		}
	}()
	if err := writeAll(ctx, f, data); err != nil {
		return "", err
	}
	// Never retried: after a failed fsync the kernel may have dropped the pages and a second one would lie.
	return f.Name(), f.Sync()
}

// writeAll writes data and compares what the file system then says is there.
func writeAll(ctx context.Context, f *os.File, data []byte) error {
	for done := 0; done < len(data); done += pieceSize {
		if err := ctx.Err(); err != nil {
			return err
		}
		if _, err := f.Write(data[done:min(done+pieceSize, len(data))]); err != nil {
			return err
		}
	}
	fi, err := f.Stat()
	if err != nil {
		return err
	}
	if fi.Size() != int64(len(data)) {
		return fmt.Errorf("%s holds %d bytes after %d were written", f.Name(), fi.Size(), len(data))
	}
	return ctx.Err()
}

const tempMark = "-tmp-" // as restic's: no ID contains it

// createTemp makes an empty file beside p under a name that no other process uses.
func createTemp(p string, mode fs.FileMode) (*os.File, error) {
	name := fmt.Sprintf("%s%s%016x", p, tempMark, rand.Uint64())
	return os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
}

// isTemp reports whether a file is one that was never finished: ours or restic's.
func isTemp(base string) bool { return strings.Contains(base, tempMark) }

// ownTemp is what the temporary files of a repository's own files are called; restic's end in a decimal number.
var ownTemp = regexp.MustCompile(`^[0-9a-f]{64}` + tempMark + `[0-9a-f]{16}$`)

// Sweep removes the files that Puts left behind which were killed before that time, and counts what it removed: they are
// in no listing and take space for ever. Nobody may be writing meanwhile. What cannot be removed stays, and is an error.
func (l *Local) Sweep(ctx context.Context, before time.Time) (files int, bytes int64, err error) {
	for _, dir := range []string{"data", "index", "snapshots", "keys", "locks"} {
		walked := walk(ctx, filepath.Join(l.root, dir), dir, 0, func(fi repo.FileInfo) bool {
			if !ownTemp.MatchString(path.Base(fi.Name)) || !fi.ModTime.Before(before) {
				return true
			}
			if e := os.Remove(filepath.Join(l.root, filepath.FromSlash(fi.Name))); e != nil && !errors.Is(e, fs.ErrNotExist) {
				err = errors.Join(err, e)
				return true
			}
			files, bytes = files+1, bytes+fi.Size
			return true
		})
		err = errors.Join(err, walked)
	}
	if err != nil {
		err = fmt.Errorf("remove unfinished files: %w", l.explain(err))
	}
	return files, bytes, err
}

// makeFolder makes dir and its missing parents, each durable in its parent.
func makeFolder(dir string, mode fs.FileMode) error {
	err := os.Mkdir(dir, mode)
	if errors.Is(err, fs.ErrNotExist) && dir != filepath.Dir(dir) {
		if err := makeFolder(filepath.Dir(dir), mode); err != nil {
			return err
		}
		err = os.Mkdir(dir, mode)
	}
	if errors.Is(err, fs.ErrExist) {
		return nil // somebody was faster, or it is no folder, which the next step tells
	}
	if err != nil {
		return err
	}
	return syncFolder(filepath.Dir(dir))
}

// syncFolders makes the entries of dir durable, and, the first time, those that lead to it from the root: they may
// have been made a moment ago by another process that has not come to its own fsync yet.
func (l *Local) syncFolders(dir string) error {
	if err := syncFolder(dir); err != nil {
		return err
	}
	if _, known := l.synced.Load(dir); known || dir == l.root || dir == filepath.Dir(dir) {
		return nil
	}
	if err := l.syncFolders(filepath.Dir(dir)); err != nil {
		return err
	}
	l.synced.Store(dir, nil)
	return nil
}

// syncFolder makes the names in dir durable. A file system that has no such operation (some FUSE and network ones) says
// so by EINVAL or ENOTSUP; there is nothing more that we could do there.
func syncFolder(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer f.Close()
	err = f.Sync()
	if errors.Is(err, syscall.EINVAL) || errors.Is(err, syscall.ENOTSUP) {
		return nil
	}
	return err
}

// deleteDurably removes the file p for good.
func deleteDurably(ctx context.Context, p string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if fi, err := os.Lstat(p); err != nil {
		return err
	} else if fi.IsDir() { // os.Remove would take an empty folder
		return &fs.PathError{Op: "remove", Path: p, Err: fs.ErrNotExist}
	}
	if err := os.Remove(p); err != nil {
		return err
	}
	return syncFolder(filepath.Dir(p))
}
