package dump

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"

	"modernc.org/sqlite"

	"github.com/caddy-backup/caddy-backup/backup"
)

// dumpCopy is the way for an SQLite without a table of pages: a copy made in one step, and checked, is written.
func (s *SQLite) dumpCopy(ctx context.Context, c *sqliteConn, w io.Writer, t *backup.Task) error {
	dir, err := os.MkdirTemp("", "caddy-backup-") // 0700
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "copy")
	t.Log.Warn("the pages of " + s.path + " cannot be read in place: they are copied to a temporary file first, " + path)
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		return err
	}
	if err := c.copyChecked(ctx, path, t); err != nil {
		return err
	}
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = io.Copy(w, &contextReader{ctx, f})
	return err
}

// copyChecked copies the database in one step, and checks the copy.
func (c *sqliteConn) copyChecked(ctx context.Context, path string, t *backup.Task) error {
	defer t.Quiet()()
	b, err := c.Conn.(interface {
		NewBackup(string) (*sqlite.Backup, error)
	}).NewBackup(path)
	if err != nil {
		return err
	}
	_, err = b.Step(-1)
	if err := errors.Join(err, b.Finish()); err != nil {
		return err
	}
	return checkFile(ctx, path)
}

// contextReader ends a copy when ctx is done.
type contextReader struct {
	ctx context.Context
	r   io.Reader
}

func (c *contextReader) Read(p []byte) (int, error) {
	if err := context.Cause(c.ctx); err != nil {
		return 0, err
	}
	return c.r.Read(p)
}
