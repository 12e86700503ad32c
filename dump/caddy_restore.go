package dump

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/caddy-backup/caddy-backup/backup"
	"github.com/caddy-backup/caddy-backup/fsnode"
	"github.com/caddy-backup/caddy-backup/repo"
)

// RestoreFolder makes a new folder of the storage in a part, whatever module it came from: the root of a storage in files.
// It gets its name when it is whole. The configuration is not put anywhere: it is restored as files, and looked at.
func (c *Caddy) RestoreFolder(ctx context.Context, p backup.Part, r *repo.Repository, folder repo.Node, place string, t *backup.Task) error {
	if !filepath.IsAbs(place) {
		return fmt.Errorf("%w: the place '%s' is not an absolute path of a new folder", backup.ErrInvalid, place)
	}
	place = filepath.Clean(place)
	conflict := fmt.Errorf("%w: %s exists; restore to another path, or move it away first", backup.ErrConflict, place)
	if _, err := os.Lstat(place); !errors.Is(err, fs.ErrNotExist) {
		return errors.Join(conflict, err)
	}
	node, err := storageIn(ctx, r, folder, p.Name)
	if err != nil {
		return err
	}
	parent, err := os.OpenRoot(filepath.Dir(place))
	if err != nil {
		return fmt.Errorf("restoring to %s as user %s: %w", place, userName(), err)
	}
	defer parent.Close()
	node.Name = fmt.Sprintf(".%s.restore-%d", filepath.Base(place), os.Getpid())
	if _, err := fsnode.Restore(ctx, r, node, parent, fsnode.RestoreOptions{Log: t.Log}); err != nil {
		return errors.Join(err, parent.RemoveAll(node.Name))
	}
	if err := renameNew(filepath.Join(filepath.Dir(place), node.Name), place); err != nil {
		if errors.Is(err, fs.ErrExist) {
			err = conflict
		}
		return errors.Join(err, parent.RemoveAll(node.Name))
	}
	t.Log.Info("this is the root of a storage in files (storage file_system " + place + "); the configuration lies in the part as files")
	return syncDir(filepath.Dir(place))
}
