package dump

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddy-backup/caddy-backup/backup"
	"github.com/caddy-backup/caddy-backup/dump/dumptest"
	"github.com/caddy-backup/caddy-backup/internal/realtest"
)

// TestFilesOverMount refuses to put another folder into the place of one that is a mounted disk, or has one in it: it could not be
// moved, or would be torn down. What lies on the disk can be restored.
func TestFilesOverMount(t *testing.T) {
	disk, err := filepath.EvalSymlinks(realtest.SmallDisk(t, 1)) // as it is told
	if err != nil {
		t.Fatal(err)
	}
	deep := filepath.Join(disk, "deep")
	if err := os.Mkdir(deep, 0o755); err != nil {
		t.Fatal(err)
	}
	for folder, refused := range map[string]bool{filepath.Dir(disk): true, disk: true, deep: false} {
		f := configured(t, new(Files), "files "+folder)
		err := f.Ready(t.Context(), backup.Stored{}, backup.Over{}, dumptest.Task(t))
		if refused != errors.Is(err, backup.ErrConflict) || refused && !strings.Contains(err.Error(), disk+" lies in ") || !refused && err != nil {
			t.Errorf("%s: %v", folder, err)
		}
	}
}
