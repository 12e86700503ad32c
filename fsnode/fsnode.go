// Package fsnode stands between the nodes of a repository and the files of this machine: it writes folders into
// snapshots and snapshots into folders, with all the metadata that restic keeps.
package fsnode

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/caddy-backup/caddy-backup/repo"
)

// Node reads the metadata of the file or folder at path: everything but its content. A link at path is followed, as
// Save does with its root.
func Node(path string) (repo.Node, error) {
	fi, err := os.Stat(path)
	if err != nil {
		return repo.Node{}, readable(err, path, "")
	}
	n := nodeOf(filepath.Base(path), fi, newOwners())
	if n.ExtendedAttributes, err = pathXAttrs(path); err != nil {
		return repo.Node{}, readable(err, path, "")
	}
	return n, nil
}

// storedBits are the bits of a mode that a repository keeps.
const storedBits = fs.ModePerm | fs.ModeType | fs.ModeSetuid | fs.ModeSetgid | fs.ModeSticky

// nodeOf gives the metadata that fi has: all but extended attributes and the target of a link. Times are UTC, so that
// a tree does not depend on the machine's zone.
func nodeOf(name string, fi fs.FileInfo, o *owners) repo.Node {
	n := repo.Node{
		Name:    name,
		Type:    typeOf(fi.Mode()),
		Mode:    fi.Mode() & storedBits,
		ModTime: fi.ModTime().UTC(),
		Links:   1,
	}
	n.AccessTime, n.ChangeTime = n.ModTime, n.ModTime // reading a file must not make it look changed
	addSystem(&n, fi)
	n.User, n.Group = o.user(n.UID), o.group(n.GID)
	if n.Type == "file" {
		n.Size = uint64(fi.Size())
	}
	if n.Type == "dir" || n.Type == "fifo" || n.Type == "socket" {
		n.Links = 0
	}
	return n
}

// typeOf is restic's word for a kind of file; "irregular" is never stored.
func typeOf(mode fs.FileMode) string {
	switch mode.Type() {
	case 0:
		return "file"
	case fs.ModeDir:
		return "dir"
	case fs.ModeSymlink:
		return "symlink"
	case fs.ModeDevice:
		return "dev"
	case fs.ModeDevice | fs.ModeCharDevice:
		return "chardev"
	case fs.ModeNamedPipe:
		return "fifo"
	case fs.ModeSocket:
		return "socket"
	}
	return "irregular"
}

// legalName reports whether a name can stand in a folder and leads nowhere else.
func legalName(name string) bool {
	return name != "" && name != "." && name != ".." && !strings.ContainsAny(name, "/\x00") && filepath.IsLocal(name) &&
		!strings.ContainsRune(name, filepath.Separator)
}

// known reports whether a time was stored at all.
func known(t time.Time) bool { return !t.IsZero() }
