package dump

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/certmagic"

	"github.com/caddy-backup/caddy-backup/backup"
	"github.com/caddy-backup/caddy-backup/repo"
)

func init() { caddy.RegisterModule(new(Caddy)) }

// Caddy saves Caddy itself: its storage, whatever module that is, with all certificates and private keys, and its
// configuration, as one folder:
//
//	storage/     the keys of the storage as files, without locks and without what backups keep there
//	caddyfile/   the Caddyfile and what it imports, by their paths
//	config.json  the configuration that runs, as Caddy keeps it: with placeholders, not with what they stand for
//
// It is nothing but secrets: whoever can read the repository, or download from it, can be the server.
type Caddy struct {
	// Caddyfile is where the configuration was read from, the Caddyfile first and then what it imports. The Caddyfile's
	// own parser fills it in; without it there is none to save.
	Caddyfile []ConfigFile `json:"caddyfile,omitempty"`

	storage  certmagic.Storage
	skip     skipped
	autosave string        // path of what Caddy keeps of the configuration that runs
	pause    time.Duration // between looks at what changes
}

// ConfigFile is a file of the configuration, as it was when it was parsed.
type ConfigFile struct {
	Path   string `json:"path"`   // absolute
	SHA256 string `json:"sha256"` // hexadecimal
}

// CaddyModule tells Caddy about the source.
func (*Caddy) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: namespace + "caddy", New: func() caddy.Module { return new(Caddy) }}
}

// UnmarshalCaddyfile reads
//
//	caddy
func (c *Caddy) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // the module's name
	c.Caddyfile = configFiles(d.File(), d.Line(), d.Val())
	if d.NextArg() {
		return d.ArgErr()
	}
	if d.NextBlock(0) {
		return d.Errf("unrecognized subdirective '%s'", d.Val())
	}
	return nil
}

// Provision takes the storage of the configuration that the source belongs to.
func (c *Caddy) Provision(ctx caddy.Context) error {
	c.storage, c.autosave, c.pause = ctx.Storage(), caddy.ConfigAutosavePath, 200*time.Millisecond
	return nil
}

// SkipPaths leaves out these absolute paths, where the storage is a folder: our own repositories and password files.
func (c *Caddy) SkipPaths(paths []string) { c.skip.set(paths) }

// Parts is the one folder, which bears the source's name.
func (c *Caddy) Parts(_ context.Context, name string) ([]backup.Part, error) {
	return []backup.Part{{Name: name, Folder: true}}, nil
}

// Root gives the metadata of a folder of secrets.
func (c *Caddy) Root(backup.Part) (repo.Node, error) { return secretNode("", true, time.Now()), nil }

// secretNode is the metadata of what comes from no file system: for the user that we run as, and nobody else. What has no
// time of its own gets the same every time, so that an unchanged folder stays unchanged.
func secretNode(name string, folder bool, modified time.Time) repo.Node {
	if modified.IsZero() {
		modified = time.Unix(0, 0)
	}
	n := repo.Node{
		Name: name, Mode: 0o600, ModTime: modified.UTC(), User: userName(),
		UID: uint32(max(os.Getuid(), 0)), GID: uint32(max(os.Getgid(), 0)),
	}
	if folder {
		n.Mode = fs.ModeDir | 0o700
	}
	n.AccessTime, n.ChangeTime = n.ModTime, n.ModTime
	return n
}

// DumpFolder saves storage and configuration.
func (c *Caddy) DumpFolder(ctx context.Context, _ backup.Part, dir *repo.Dir, t *backup.Task) (backup.Facts, error) {
	version, _ := caddy.Version()
	facts := backup.Facts{Engine: "Caddy " + version, Source: "storage " + c.place() + " and the configuration"}
	settings, _ := c.storage.List(ctx, settingsKeys, false) // what is wrong with it, the walk says
	w := keyWalk{Caddy: c, ctx: ctx, hidden: c.hidden(), settings: len(settings) > 0, notes: &facts.Notes}
	if err := w.save(dir); err != nil {
		return backup.Facts{}, err
	}
	if err := c.saveConfig(ctx, dir, &facts.Notes); err != nil {
		return backup.Facts{}, err
	}
	facts.Checked = fmt.Sprintf("every key read, and unchanged after that; %d certificates fit their private keys", w.pairs)
	if w.unsteady > 0 {
		facts.Checked = fmt.Sprintf("every key read, %d folders while they changed, see notes", w.unsteady)
	}
	return facts, nil
}

// place names the storage, without the settings of its module: they may hold secrets.
func (c *Caddy) place() string {
	if f, ok := c.storage.(*certmagic.FileStorage); ok {
		return f.Path
	}
	return strings.TrimPrefix(fmt.Sprintf("%T", c.storage), "*")
}

// hidden are the paths of ours that lie below the storage's folder, if it is one, as keys.
func (c *Caddy) hidden() map[string]bool {
	keys := map[string]bool{}
	f, ok := c.storage.(*certmagic.FileStorage)
	if !ok {
		return keys
	}
	for _, path := range c.skip.get() {
		for _, pair := range [][2]string{{f.Path, path}, {followed(f.Path), followed(path)}} {
			if rel, err := filepath.Rel(pair[0], pair[1]); err == nil {
				keys[filepath.ToSlash(rel)] = true
			}
		}
	}
	return keys
}

// followed is the path behind all links, or the path itself where nothing is.
func followed(path string) string {
	if real, err := filepath.EvalSymlinks(path); err == nil {
		return real
	}
	return path
}

// Dump does nothing: a folder is no stream.
func (c *Caddy) Dump(_ context.Context, p backup.Part, _ io.Writer, _ *backup.Task) (backup.Facts, error) {
	return backup.Facts{}, fmt.Errorf("%w: %s is a folder, not a file", backup.ErrInvalid, p.Name)
}

// Restore does nothing: see RestoreFolder.
func (c *Caddy) Restore(_ context.Context, p backup.Part, _ io.Reader, _ string, _ *backup.Task) error {
	return fmt.Errorf("%w: %s is a folder, not a file", backup.ErrInvalid, p.Name)
}

// Interface guards
var (
	_ backup.FolderRestorer = (*Caddy)(nil)
	_ caddy.Provisioner     = (*Caddy)(nil)
	_ caddyfile.Unmarshaler = (*Caddy)(nil)
)
