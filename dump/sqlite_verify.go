package dump

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/caddy-backup/caddy-backup/backup"
)

// sqliteMagic begins every SQLite database.
const sqliteMagic = "SQLite format 3\x00"

// Verify judges a database that was copied before. SQLite checks files only, so it lies in a temporary one meanwhile.
func (s *SQLite) Verify(ctx context.Context, _ backup.Part, r io.Reader, _ *backup.Task) (backup.Facts, error) {
	in := bufio.NewReader(r)
	if head, err := in.Peek(len(sqliteMagic)); err != nil && !errors.Is(err, io.EOF) {
		return backup.Facts{}, err
	} else if string(head) != sqliteMagic {
		return backup.Facts{}, fmt.Errorf("%w: it is no SQLite database%s", backup.ErrInvalid, scriptHint(string(head)))
	}
	dir, err := os.MkdirTemp("", "caddy-backup-") // 0700
	if err != nil {
		return backup.Facts{}, err
	}
	defer os.RemoveAll(dir)
	f, err := os.OpenFile(dir+"/import", os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return backup.Facts{}, err
	}
	_, err = io.Copy(f, &contextReader{ctx, in})
	if err := errors.Join(err, f.Close()); err != nil {
		return backup.Facts{}, err
	}
	if err := checkFile(ctx, f.Name()); err != nil {
		return backup.Facts{}, stoppedBy(ctx, err)
	}
	return backup.Facts{Checked: checkedWhole}, nil
}

// scriptHint helps with what `sqlite3 .dump` writes.
func scriptHint(head string) string {
	if strings.HasPrefix(head, "PRAGMA ") || strings.HasPrefix(head, "BEGIN ") {
		return " but a script: make a database of it first, with sqlite3 new.db < script"
	}
	return ""
}

var _ backup.Verifier = (*SQLite)(nil)
