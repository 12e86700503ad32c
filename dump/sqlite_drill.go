package dump

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/caddy-backup/caddy-backup/backup"
)

// Drill writes the dump into a file of the scratch folder, has SQLite check it, and counts its rows.
func (s *SQLite) Drill(ctx context.Context, d backup.Stored, r io.Reader, at backup.Scratch, _ *backup.Task) (backup.Facts, error) {
	f, err := os.OpenFile(filepath.Join(at.Dir, d.Name), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return backup.Facts{}, err
	}
	_, err = io.Copy(f, &contextReader{ctx, r})
	if err := errors.Join(err, f.Close()); err != nil {
		return backup.Facts{}, err
	}
	if err := checkFile(ctx, f.Name()); err != nil {
		return backup.Facts{}, fmt.Errorf("the dump is no whole SQLite database: %w", stoppedBy(ctx, err))
	}
	c, err := openSQLite(f.Name(), "ro")
	if err != nil {
		return backup.Facts{}, err
	}
	defer c.Close()
	snap, err := c.begin(ctx, 0)
	if err != nil {
		return backup.Facts{}, stoppedBy(ctx, err)
	}
	facts := backup.Facts{Engine: "SQLite " + snap.version, Checked: checkedWhole}
	if len(d.Facts.Rows) > 0 {
		facts.Rows = c.countRows(ctx)
	}
	return facts, context.Cause(ctx)
}

var _ backup.Driller = (*SQLite)(nil)
