package dump

import (
	"context"

	"github.com/caddy-backup/caddy-backup/backup"
	"github.com/caddy-backup/caddy-backup/repo"
)

// DrillFolder restores storage and configuration as files, and reads every one back from the disk.
func (c *Caddy) DrillFolder(ctx context.Context, s backup.Stored, r *repo.Repository, folder repo.Node, at backup.Scratch, t *backup.Task) (backup.Facts, error) {
	return drillFolder(ctx, s, r, folder, at, t)
}

var _ backup.FolderDriller = (*Caddy)(nil)
