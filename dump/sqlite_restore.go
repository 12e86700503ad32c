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
	temp, err := os.CreateTemp(filepath.Dir(place), "."+filepath.Base(place)+".restore-*") // 0600
	if err != nil {
		return fmt.Errorf("restoring to %s as user %s: %w; create the folder, or give that user the right to write there",
			place, userName(), err)
	}
	defer os.Remove(temp.Name())
	defer temp.Close()
	if _, err := io.Copy(temp, &contextReader{ctx, r}); err != nil {
		return fmt.Errorf("restoring to %s: %w", place, err)
	}
	if err := s.inherit(temp); err != nil {
		t.Log.Warn(fmt.Sprintf("%s does not get the mode and owner of %s: %v", place, s.path, err))
	}
	if err := temp.Sync(); err != nil {
		return fmt.Errorf("restoring to %s: %w", place, err)
	}
	if err := checkFile(ctx, temp.Name()); err != nil {
		return fmt.Errorf("restoring to %s: the dump is no whole SQLite database: %w", place, stoppedBy(ctx, err))
	}
	t.Log.Info("integrity check of the restored database: ok")
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

// inherit gives the new file the mode and, when we are root, the owner of the database that the source dumps.
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
	return temp.Chmod(info.Mode().Perm())
}

// nothingAt makes sure that neither a database nor the leftovers of one are at a place: SQLite would apply an old WAL or
// journal to the new file.
func nothingAt(place string) error {
	for _, suffix := range []string{"", "-wal", "-shm", "-journal"} {
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
