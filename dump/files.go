package dump

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-backup/caddy-backup/backup"
	"github.com/caddy-backup/caddy-backup/fsnode"
	"github.com/caddy-backup/caddy-backup/internal/setting"
	"github.com/caddy-backup/caddy-backup/repo"
)

func init() { caddy.RegisterModule(new(Files)) }

// Files saves a folder with everything in it: files, folders, links, devices, and all their metadata. A folder that is
// not there is an error, an empty one is not. Files are read one after the other while others may write to them: what
// must be of one moment needs a snapshot of the file system, or a source that knows it, as databases do.
type Files struct {
	// Folder is the path of the folder, absolute. Placeholders are replaced. When it is a link, the folder that it leads
	// to is saved; links in it are saved as links.
	Folder string `json:"folder,omitempty"`
	// Exclude leaves out what matches one of these patterns: *.tmp anywhere, cache/* from the folder on.
	Exclude []string `json:"exclude,omitempty"`

	folder string
	skip   skipped
}

// CaddyModule tells Caddy about the source.
func (*Files) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: namespace + "files", New: func() caddy.Module { return new(Files) }}
}

// UnmarshalCaddyfile reads
//
//	files <folder> {
//		exclude <pattern...>
//	}
//
// exclude may stand more than once.
func (f *Files) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // the module's name
	if !d.AllArgs(&f.Folder) {
		return d.ArgErr()
	}
	for d.NextBlock(0) {
		switch word := d.Val(); word {
		case "exclude":
			patterns := d.RemainingArgs()
			if len(patterns) == 0 {
				return d.ArgErr()
			}
			for _, p := range patterns {
				if err := fsnode.CheckPattern(p); err != nil {
					return d.WrapErr(err)
				}
			}
			f.Exclude = append(f.Exclude, patterns...)
		default:
			return d.Errf("unrecognized subdirective '%s'", word)
		}
	}
	return nil
}

// Provision replaces the placeholders.
func (f *Files) Provision(caddy.Context) (err error) {
	f.folder, err = setting.Resolve("folder", f.Folder)
	return err
}

// Validate checks the settings. Whether the folder is there is seen when it is saved.
func (f *Files) Validate() error {
	if f.folder == "" {
		return errors.New("files is missing its folder")
	}
	if !filepath.IsAbs(f.folder) {
		return fmt.Errorf("folder '%s' is not an absolute path", f.folder)
	}
	f.folder = filepath.Clean(f.folder)
	for _, p := range f.Exclude {
		if err := fsnode.CheckPattern(p); err != nil {
			return err
		}
	}
	return nil
}

// SkipPaths leaves out these absolute paths too, from the next dump on: our own repositories and password files.
func (f *Files) SkipPaths(paths []string) { f.skip.set(paths) }

// LocalPaths is the folder.
func (f *Files) LocalPaths() []string { return []string{f.folder} }

// Parts is the one folder, which bears the source's name.
func (f *Files) Parts(_ context.Context, name string) ([]backup.Part, error) {
	return []backup.Part{{Name: name, Folder: true}}, nil
}

// Root gives the metadata of the folder.
func (f *Files) Root(backup.Part) (repo.Node, error) { return fsnode.Node(f.folder) }

// DumpFolder saves what is in the folder.
func (f *Files) DumpFolder(ctx context.Context, _ backup.Part, dir *repo.Dir, t *backup.Task) (backup.Facts, error) {
	saved, err := fsnode.Save(ctx, f.folder, dir, fsnode.SaveOptions{Exclude: f.Exclude, Skip: f.skip.get(), Log: t.Log})
	if err != nil {
		return backup.Facts{}, err
	}
	return backup.Facts{
		Source:  "folder " + f.folder,
		Checked: "every file read to its end",
		Notes:   saved.Notes,
	}, nil
}

// Dump does nothing: a folder is no stream.
func (f *Files) Dump(_ context.Context, p backup.Part, _ io.Writer, _ *backup.Task) (backup.Facts, error) {
	return backup.Facts{}, fmt.Errorf("%w: %s is a folder, not a file", backup.ErrInvalid, p.Name)
}

// Restore does nothing: folders are restored as they are, file by file.
func (f *Files) Restore(_ context.Context, p backup.Part, _ io.Reader, _ string, _ *backup.Task) error {
	return fmt.Errorf("%w: %s is a folder; restore it as files with --target", backup.ErrInvalid, p.Name)
}

// Interface guards
var (
	_ backup.FolderSource   = (*Files)(nil)
	_ backup.LocalSource    = (*Files)(nil)
	_ caddy.Provisioner     = (*Files)(nil)
	_ caddy.Validator       = (*Files)(nil)
	_ caddyfile.Unmarshaler = (*Files)(nil)
)
