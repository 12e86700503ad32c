package dump

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/caddy-backup/caddy-backup/backup"
	"github.com/caddy-backup/caddy-backup/fsnode"
	"github.com/caddy-backup/caddy-backup/repo"
)

// Live is the path of the folder, or of what is meant in it.
func (f *Files) Live(s backup.Stored) string {
	return filepath.Join(f.folder, filepath.FromSlash(s.Sub))
}

// Ready looks for what a folder that takes the place of another would tear down: mounted disks in it, and what no snapshot
// of it ever holds, our own repositories.
func (f *Files) Ready(_ context.Context, s backup.Stored, _ backup.Over, t *backup.Task) error {
	place := filepath.Join(followed(f.folder), filepath.FromSlash(s.Sub))
	above := f.above(s)
	if err := syscall.Access(above, 2|1); err != nil { // W_OK and X_OK
		return fmt.Errorf("folder %s cannot be written to by user %s: %w", above, userName(), err)
	}
	for _, inside := range append(mountsBelow(place), f.skip.get()...) {
		if inside = followed(inside); inside == place || strings.HasPrefix(inside, place+"/") {
			return fmt.Errorf("%w: %s lies in %s, or is mounted there, and would be lost with it: restore what you need of it one by "+
				"one, or into a new folder with --target", backup.ErrConflict, inside, place)
		}
	}
	if err := backup.RequireSpace(filepath.Dir(place), s.Size); err != nil {
		return err
	}
	if _, err := os.Lstat(place); errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s %w", place, backup.ErrAbsent)
	}
	t.Log.Info("programs that have files in " + place + " open go on with the old ones: end them first, or start them anew")
	return nil
}

// OverwriteFolder restores beside the live one, and then has both change places, in one step where the system can. The old
// one goes only after that, but for what the source leaves out: that is taken over.
func (f *Files) OverwriteFolder(ctx context.Context, s backup.Stored, r *repo.Repository, node repo.Node, o backup.Over, t *backup.Task) (err error) {
	place := filepath.Join(followed(f.folder), filepath.FromSlash(s.Sub))
	made, err := f.makeAbove(s, t)
	defer func() { made.close(err) }()
	if err != nil {
		return fmt.Errorf("restoring over %s: %w", place, err)
	}
	x, err := f.beside(ctx, s, r, node, t)
	if err != nil {
		return fmt.Errorf("restoring over %s: %w", place, err)
	}
	defer x.close()
	if cause := context.Cause(ctx); cause != nil { // from here on it is a matter of a moment
		return cause
	}
	there, err := x.change()
	if err != nil {
		return fmt.Errorf("restoring over %s: %w", place, err)
	}
	if !there {
		return nil
	}
	if whole := f.takeOver(x, s.Sub, t); o.Aside || !whole {
		x.keepOld(place, t)
	}
	x.settled()
	return nil
}

// beside restores a node into a private folder beside its place.
func (f *Files) beside(ctx context.Context, s backup.Stored, r *repo.Repository, node repo.Node, t *backup.Task) (*change, error) {
	parent, name, err := f.parent(s)
	if err != nil {
		return nil, err
	}
	x, err := newChange(parent, name)
	if err != nil {
		parent.Close()
		return nil, err
	}
	node.Name = changeNew
	done, err := fsnode.Restore(ctx, r, node, x.private, fsnode.RestoreOptions{Log: t.Log})
	for _, note := range done.Notes {
		t.Log.Warn(note)
	}
	if err != nil {
		x.close()
		return nil, err
	}
	return x, nil
}

// parent opens the folder in which what is meant lies. What is below the source's folder is reached without leaving it,
// whatever links there are.
func (f *Files) parent(s backup.Stored) (*os.Root, string, error) {
	place := followed(f.folder)
	if s.Sub == "" {
		root, err := os.OpenRoot(filepath.Dir(place))
		return root, filepath.Base(place), err
	}
	root, err := os.OpenRoot(place)
	if err != nil {
		return nil, "", err
	}
	defer root.Close()
	parent, err := root.OpenRoot(filepath.FromSlash(path.Dir(s.Sub)))
	return parent, path.Base(s.Sub), err
}

// takeOver moves what the source leaves out from the old folder, which is at sub in the source's, into the new one. False when
// something had to stay.
func (f *Files) takeOver(x *change, sub string, t *backup.Task) bool {
	all := true
	err := x.eachOld(func(rel string, folder bool) error {
		for _, pattern := range f.Exclude {
			if !fsnode.Match(pattern, path.Join(sub, rel), folder) {
				continue
			}
			if err := x.takeOver(rel); err != nil {
				t.Log.Warn("what is excluded could not be taken over into the new folder", "path", rel, "error", err)
				all = false
			}
			if folder {
				return fs.SkipDir
			}
			return nil
		}
		return nil
	})
	if err != nil {
		t.Log.Warn("the old folder cannot be looked through for what is excluded", "error", err)
	}
	return all && err == nil
}

var _ backup.FolderOverwriter = (*Files)(nil)
