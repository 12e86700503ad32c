package fsnode

import (
	"errors"
	"io/fs"
	"path"
	"path/filepath"
	"slices"

	"github.com/caddy-backup/caddy-backup/repo"
)

// linkKey is what the names of one file had in common when it was saved.
type linkKey struct {
	inode, device uint64
	kind          string
}

// linked is the first of them that was restored.
type linked struct {
	path    string // below the restore's root
	content []repo.ID
	target  string
}

// linkedOr makes a hard link to the file that was restored under another of its names, or else makes the file. Names of
// one inode that differ in content were saved at two times, and stay two files.
func (x *restorer) linkedOr(p place, n repo.Node, restore func(place, repo.Node) error) error {
	if n.Links < 2 || n.Inode == 0 {
		return restore(p, n)
	}
	key, here := linkKey{n.Inode, n.DeviceID, n.Type}, path.Join(p.rel, n.Name)
	first, ok := x.links[key]
	if ok && slices.Equal(first.content, n.Content) && first.target == n.LinkTarget {
		err := x.top.Link(filepath.FromSlash(first.path), filepath.FromSlash(here))
		if err == nil {
			x.count(n)
			return nil
		}
		if errors.Is(err, fs.ErrExist) {
			return x.writable(err, p, n)
		}
		x.notes.add("%s could not be linked to %s, and is a file of its own: %v", here, first.path, err)
	}
	if err := restore(p, n); err != nil {
		return err
	}
	if !ok {
		x.links[key] = linked{here, n.Content, n.LinkTarget}
	}
	return nil
}

// count counts an entry that took no content.
func (x *restorer) count(n repo.Node) {
	if n.Type == "file" {
		x.restored.Files++
	} else {
		x.restored.Others++
	}
}
