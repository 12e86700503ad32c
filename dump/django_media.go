package dump

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/caddy-backup/caddy-backup/backup"
	"github.com/caddy-backup/caddy-backup/repo"
)

// mediaOf is the source of MEDIA_ROOT, which is there.
func (d *Django) mediaOf(p djangoProject) (*Files, error) {
	media, err := d.mediaPlace(p)
	if err != nil {
		return nil, err
	}
	if _, err := os.Stat(media.folder); err != nil {
		return nil, fmt.Errorf("media: %w", err)
	}
	return media, nil
}

// mediaPlace is the source of MEDIA_ROOT, whether that is there or not.
func (d *Django) mediaPlace(p djangoProject) (*Files, error) {
	if p.Media == "" {
		return nil, errors.New(strings.TrimSuffix("media: "+d.Manage+" has no MEDIA_ROOT; "+p.doubtMedia(), "; "))
	}
	folder := p.Media
	if !filepath.IsAbs(folder) {
		folder = filepath.Join(filepath.Dir(d.Manage), folder)
	}
	files := &Files{Folder: folder, folder: filepath.Clean(folder)}
	files.SkipPaths(d.skip.get())
	return files, nil
}

// doubtMedia says that MEDIA_ROOT is not all; "" when it is.
func (p djangoProject) doubtMedia() string {
	if p.Elsewhere == "" {
		return ""
	}
	return "files that people send go to the storage " + p.Elsewhere + ", which is not saved here: save them where that keeps them"
}

// media asks the project for MEDIA_ROOT.
func (d *Django) media(ctx context.Context, t *backup.Task, of func(djangoProject) (*Files, error)) (*Files, error) {
	project, err := d.project(ctx, t)
	if err != nil {
		return nil, err
	}
	return of(project)
}

// SkipPaths leaves out these absolute paths of MEDIA_ROOT; see Files.
func (d *Django) SkipPaths(paths []string) { d.skip.set(paths) }

// DumpFolder saves MEDIA_ROOT.
func (d *Django) DumpFolder(ctx context.Context, p backup.Part, dir *repo.Dir, t *backup.Task) (backup.Facts, error) {
	project, err := d.project(ctx, t)
	if err != nil {
		return backup.Facts{}, err
	}
	media, err := d.mediaOf(project)
	if err != nil {
		return backup.Facts{}, err
	}
	facts, err := media.DumpFolder(ctx, p, dir, t)
	if doubt := project.doubtMedia(); doubt != "" {
		facts.Notes = append(facts.Notes, doubt)
	}
	return facts, err
}

// Root gives the metadata of MEDIA_ROOT.
func (d *Django) Root(p backup.Part) (repo.Node, error) {
	media, err := d.media(context.Background(), nil, d.mediaOf)
	if err != nil {
		return repo.Node{}, err
	}
	return media.Root(p)
}

// readyMedia is Ready for MEDIA_ROOT.
func (d *Django) readyMedia(ctx context.Context, s backup.Stored, o backup.Over, t *backup.Task) error {
	media, err := d.media(ctx, t, d.mediaPlace)
	if err != nil {
		return err
	}
	t.Log.Info("MEDIA_ROOT is " + media.folder)
	return media.Ready(ctx, s, o, t)
}

// OverwriteFolder puts a folder, or something in it, into the place of MEDIA_ROOT, as the project names it now.
func (d *Django) OverwriteFolder(ctx context.Context, s backup.Stored, r *repo.Repository, node repo.Node, o backup.Over, t *backup.Task) error {
	media, err := d.media(ctx, t, d.mediaPlace)
	if err != nil {
		return err
	}
	return media.OverwriteFolder(ctx, s, r, node, o, t)
}

// DrillFolder restores MEDIA_ROOT, and reads every file back from the disk.
func (d *Django) DrillFolder(ctx context.Context, s backup.Stored, r *repo.Repository, folder repo.Node, at backup.Scratch, t *backup.Task) (backup.Facts, error) {
	return drillFolder(ctx, s, r, folder, at, t)
}

var (
	_ backup.FolderDriller    = (*Django)(nil)
	_ backup.FolderSource     = (*Django)(nil)
	_ backup.FolderOverwriter = (*Django)(nil)
)
