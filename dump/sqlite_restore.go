package dump

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"github.com/caddy-backup/caddy-backup/backup"
	"github.com/caddy-backup/caddy-backup/fsnode"
)

// Restore writes the dump into a new file. It is written beside it, made durable, checked by SQLite, and only then gets
// its name. It gets the mode, and where we may the owner, of the database that the source dumps, when that is still
// there; else mode 0600.
func (s *SQLite) Restore(ctx context.Context, _ backup.Part, r io.Reader, place string, t *backup.Task) error {
	if !filepath.IsAbs(place) {
		return fmt.Errorf("%w: the place '%s' is not an absolute path of a new file", backup.ErrInvalid, place)
	}
	place = filepath.Clean(place)
	if err := nothingAt(place); err != nil {
		return err
	}
	temp, err := s.beside(ctx, place, r, t)
	if err != nil {
		return fmt.Errorf("restoring to %s: %w", place, err)
	}
	defer temp.remove()
	temp.Close() // a close later on could take away the locks of whoever opens it under its new name
	if err := nothingAt(place); err != nil {
		return err
	}
	if err := renameNew(temp.Name(), place); errors.Is(err, fs.ErrExist) {
		return nothingAt(place)
	} else if err != nil {
		return fmt.Errorf("restoring to %s: %w", place, err)
	}
	return syncDir(filepath.Dir(place))
}

// beside writes a dump into a temporary file beside a place, makes it durable, and has SQLite check it.
func (s *SQLite) beside(ctx context.Context, place string, r io.Reader, t *backup.Task) (_ *tempFile, err error) {
	temp, err := newTempFile(place)
	if err != nil {
		return nil, fmt.Errorf("as user %s: %w; create the folder, or give that user the right to write there", userName(), err)
	}
	defer func() {
		if err != nil {
			temp.remove()
		}
	}()
	if _, err := io.Copy(temp, &contextReader{ctx, r}); err != nil {
		return nil, err
	}
	if err := s.inherit(temp.File); err != nil {
		t.Log.Warn(fmt.Sprintf("%s does not get the mode and owner of %s: %v", place, s.path, err))
	}
	if err := temp.Sync(); err != nil {
		return nil, err
	}
	if err := checkFile(ctx, temp.Name()); err != nil {
		return nil, fmt.Errorf("the dump is no whole SQLite database: %w", stoppedBy(ctx, err))
	}
	t.Log.Info("integrity check of the restored database: ok")
	return temp, nil
}

// inherit gives the new file the mode, the access list and, when we are root, the owner of the database that the source dumps. The
// mode comes last: without the list it would let the whole group do what one user may.
func (s *SQLite) inherit(temp *os.File) error {
	info, err := os.Stat(s.path)
	if err != nil {
		return nil // it is gone, which may be why we restore
	}
	if owner, ok := info.Sys().(*syscall.Stat_t); ok && os.Geteuid() == 0 {
		if err := temp.Chown(int(owner.Uid), int(owner.Gid)); err != nil {
			return err
		}
	}
	if err := fsnode.CopyAttributes(temp, s.path); err != nil {
		return err
	}
	return temp.Chmod(info.Mode().Perm())
}

// companions are what SQLite keeps beside a database: it would apply an old WAL or journal to a new file.
var companions = []string{"-wal", "-shm", "-journal"}

// nothingAt makes sure that neither a database nor the leftovers of one are at a place.
func nothingAt(place string) error {
	for _, suffix := range append([]string{""}, companions...) {
		switch _, err := os.Lstat(place + suffix); {
		case err == nil:
			return fmt.Errorf("%w: %s exists; restore to another path, or move it away first", backup.ErrConflict, place+suffix)
		case !errors.Is(err, fs.ErrNotExist):
			return fmt.Errorf("restoring to %s: %w", place, err)
		}
	}
	return nil
}

// stoppedBy is the reason for which ctx ended, if it did, else err.
func stoppedBy(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	return err
}

// syncDir makes a new name in a folder durable.
func syncDir(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	defer dir.Close()
	return dir.Sync()
}
