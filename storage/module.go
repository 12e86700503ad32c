// Package storage has the places that a repository can lie in: folders of this machine, and memory for tests. Each
// implements repo.Storage; those that a configuration can name are Caddy modules below backup.storages.
package storage

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-backup/caddy-backup/backup"
	"github.com/caddy-backup/caddy-backup/internal/setting"
)

func init() {
	caddy.RegisterModule(LocalModule{})
}

// ModuleFor names the module, below "backup.storages.", that serves a location as it stands in a Caddyfile or on a
// command line: "/srv/backups" is "local". Its JSON key for the name is "scheme".
//
// A location that begins with a placeholder is taken for a path; what it turns out to be is checked when it is known.
func ModuleFor(location string) (string, error) {
	if strings.HasPrefix(location, "/") || strings.HasPrefix(location, "{") {
		return "local", nil
	}
	scheme, _, found := strings.Cut(location, ":")
	switch scheme = strings.ToLower(scheme); {
	case location == "":
		return "", errors.New("the storage's location is missing; write the absolute path of a folder, as /srv/backups")
	case found && (scheme == "sftp" || scheme == "s3" || scheme == "rest"):
		return "", fmt.Errorf("storage %q is not supported yet; write the absolute path of a folder, as /srv/backups", scheme)
	case found && !strings.Contains(scheme, "/"):
		return "", fmt.Errorf("unknown kind of storage %q; write the absolute path of a folder, as /srv/backups", scheme)
	}
	return "", fmt.Errorf("storage location %q is a relative path; write the absolute path of a folder, as /srv/backups", location)
}

// LocalModule keeps a repository in a folder of this machine.
type LocalModule struct {
	// The absolute path of the folder. It is made when the repository is created. Placeholders are replaced.
	Path string `json:"path"`

	*Local `json:"-"`
}

// CaddyModule returns the Caddy module information.
func (LocalModule) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "backup.storages.local",
		New: func() caddy.Module { return new(LocalModule) },
	}
}

// UnmarshalCaddyfile reads a location that is a path:
//
//	/srv/backups
func (m *LocalModule) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	if !d.Next() {
		return d.ArgErr()
	}
	m.Path = d.Val()
	if d.NextArg() {
		return d.Errf("unexpected %q after the storage's location", d.Val())
	}
	if d.NextBlock(0) {
		return d.Errf("a storage in a folder has no options, so %q means nothing here", d.Val())
	}
	return nil
}

// Provision replaces placeholders. It does not touch the folder.
func (m *LocalModule) Provision(caddy.Context) error {
	path, err := setting.Resolve("storage "+m.Path, m.Path)
	if err != nil {
		return err
	}
	m.Local = NewLocal(path) // cleans the path only, so that Validate still sees a relative one
	return nil
}

// Validate makes sure that the path is absolute: a relative one would follow the folder that Caddy was started in.
func (m *LocalModule) Validate() error {
	if m.Path == "" {
		return errors.New("the storage's path is missing; write the absolute path of a folder, as /srv/backups")
	}
	if !filepath.IsAbs(m.Location()) {
		return fmt.Errorf("the storage's path %q (from %q) is not absolute; write it from the root on, as /srv/backups", m.Location(), m.Path)
	}
	return nil
}

// Interface guards
var (
	_ backup.Storage        = (*LocalModule)(nil)
	_ caddy.Module          = (*LocalModule)(nil)
	_ caddy.Provisioner     = (*LocalModule)(nil)
	_ caddy.Validator       = (*LocalModule)(nil)
	_ caddyfile.Unmarshaler = (*LocalModule)(nil)
)
