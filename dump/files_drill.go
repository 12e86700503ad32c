package dump

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/caddy-backup/caddy-backup/backup"
	"github.com/caddy-backup/caddy-backup/fsnode"
	"github.com/caddy-backup/caddy-backup/repo"
)

// DrillFolder restores the folder, and reads every file back from the disk.
func (f *Files) DrillFolder(ctx context.Context, s backup.Stored, r *repo.Repository, folder repo.Node, at backup.Scratch, t *backup.Task) (backup.Facts, error) {
	return drillFolder(ctx, s, r, folder, at, t)
}

func drillFolder(ctx context.Context, s backup.Stored, r *repo.Repository, folder repo.Node, at backup.Scratch, t *backup.Task) (backup.Facts, error) {
	root, err := os.OpenRoot(at.Dir)
	if err != nil {
		return backup.Facts{}, err
	}
	defer root.Close()
	done, err := fsnode.Restore(ctx, r, folder, root, fsnode.RestoreOptions{Log: t.Log})
	if err != nil {
		return backup.Facts{}, err
	}
	files, err := compareFolder(ctx, r, folder, root)
	if err == nil && s.Files > 0 && files != s.Files {
		err = fmt.Errorf("%d files came back, and there were %d: %w", files, s.Files, repo.ErrDamaged)
	}
	if err != nil {
		return backup.Facts{}, err
	}
	return backup.Facts{Checked: fmt.Sprintf("files restored and read back: %d, all as they were", files), Notes: done.Notes}, nil
}

// compareFolder reads everything that was restored back from the disk, and counts the files.
func compareFolder(ctx context.Context, r *repo.Repository, folder repo.Node, root *os.Root) (files int64, err error) {
	for e, err := range r.Walk(ctx, *folder.Subtree) {
		if err != nil {
			return files, err
		}
		if e.Node.Type != "file" {
			continue
		}
		files++
		if err := compareFile(ctx, r, e.Node, root, filepath.Join(folder.Name, filepath.FromSlash(e.Path))); err != nil {
			return files, fmt.Errorf("%s: %w", e.Path, err)
		}
	}
	return files, nil
}

func compareFile(ctx context.Context, r *repo.Repository, n repo.Node, root *os.Root, path string) error {
	want, err := r.OpenFile(ctx, n)
	if err != nil {
		return err
	}
	defer want.Close()
	got, err := root.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(want.Matches(&contextReader{ctx, got}), got.Close())
}

var _ backup.FolderDriller = (*Files)(nil)
