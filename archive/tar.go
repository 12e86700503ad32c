package archive

import (
	"archive/tar"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"maps"

	"github.com/caddy-backup/caddy-backup/repo"
)

// writeTar writes a tar in the format of POSIX (PAX): names of any length, times with their fractions, files of any
// size, extended attributes. Sockets are left out: no tar can hold them, and no program misses them.
func writeTar(ctx context.Context, w io.Writer, self repo.Node, tree Tree) error {
	t := tarWriter{tar.NewWriter(w), tree, make(map[inode]first)}
	for e, err := range entries(ctx, self, tree) {
		if err == nil && e.Node.Type != "socket" {
			err = t.add(ctx, e)
		}
		if err != nil {
			return err
		}
	}
	return t.Close()
}

type tarWriter struct {
	*tar.Writer
	tree  Tree
	links map[inode]first // files of several names
}

type inode struct{ device, number uint64 }

// first is the name under which a file of several names was written, and what it held.
type first struct {
	path    string
	content repo.ID
}

func (t *tarWriter) add(ctx context.Context, e repo.Entry) error {
	h, err := tarHeader(e)
	if err != nil {
		return err
	}
	if e.Node.Type == "file" && e.Node.Links > 1 && t.linked(e) {
		h.Typeflag, h.Linkname, h.Size = tar.TypeLink, t.links[inodeOf(e.Node)].path, 0
	}
	if err := t.WriteHeader(h); err != nil {
		return fmt.Errorf("%s: %w", e.Path, err)
	}
	if h.Typeflag != tar.TypeReg {
		return nil
	}
	return writeFile(ctx, t, t.tree, e)
}

func inodeOf(n repo.Node) inode { return inode{n.DeviceID, n.Inode} }

// linked reports whether the file was written already under another name, and remembers it if not. One inode whose
// content changed while it was backed up is two files.
func (t *tarWriter) linked(e repo.Entry) bool {
	text, _ := json.Marshal(e.Node.Content) // a list of IDs
	content := repo.Hash(text)
	known, ok := t.links[inodeOf(e.Node)]
	if !ok {
		t.links[inodeOf(e.Node)] = first{e.Path, content}
	}
	return ok && known.content == content
}

var tarTypes = map[string]byte{
	"file": tar.TypeReg, "dir": tar.TypeDir, "symlink": tar.TypeSymlink, "fifo": tar.TypeFifo, "dev": tar.TypeBlock,
	"chardev": tar.TypeChar,
}

func tarHeader(e repo.Entry) (*tar.Header, error) {
	n := e.Node
	kind, ok := tarTypes[n.Type]
	if !ok {
		return nil, fmt.Errorf("%s is a %q, which no archive can hold: %w", e.Path, n.Type, repo.ErrUnsupported)
	}
	h := &tar.Header{
		Format: tar.FormatPAX, Typeflag: kind, Name: e.Path, Mode: unixMode(n.Mode), ModTime: n.ModTime.UTC(),
		Uid: int(n.UID), Gid: int(n.GID), Uname: n.User, Gname: n.Group,
	}
	switch kind {
	case tar.TypeReg:
		h.Size = int64(n.Size)
	case tar.TypeDir:
		h.Name += "/"
	case tar.TypeSymlink:
		h.Linkname = n.LinkTarget
	case tar.TypeBlock, tar.TypeChar:
		h.Devmajor, h.Devminor = deviceNumbers(n.Device)
	}
	if len(n.ExtendedAttributes) > 0 {
		h.PAXRecords = maps.Collect(func(yield func(string, string) bool) {
			for _, x := range n.ExtendedAttributes {
				if !yield("SCHILY.xattr."+x.Name, string(x.Value)) {
					return
				}
			}
		})
	}
	return h, nil
}

// unixMode gives the permissions and the three bits before them as Unix counts them.
func unixMode(m fs.FileMode) int64 {
	mode := int64(m.Perm())
	for bit, value := range map[fs.FileMode]int64{fs.ModeSetuid: 0o4000, fs.ModeSetgid: 0o2000, fs.ModeSticky: 0o1000} {
		if m&bit != 0 {
			mode |= value
		}
	}
	return mode
}

// deviceNumbers splits a device as Linux packs it.
func deviceNumbers(d uint64) (major, minor int64) {
	return int64(d>>8&0xfff | d>>32&^0xfff), int64(d&0xff | d>>12&^0xff)
}

// writeFile writes the content of a file.
func writeFile(ctx context.Context, w io.Writer, tree Tree, e repo.Entry) error {
	f, err := tree.Open(ctx, e.Node)
	if err != nil {
		return fmt.Errorf("%s: %w", e.Path, err)
	}
	defer f.Close()
	if err := copyAll(w, f); err != nil {
		return fmt.Errorf("%s: %w", e.Path, err)
	}
	return nil
}
