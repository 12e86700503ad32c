//go:build !linux

package fsnode

import (
	"errors"
	"io/fs"
	"os"

	"github.com/caddy-backup/caddy-backup/repo"
)

// Elsewhere than on Linux, files keep their content, mode and times; owners, devices and extended attributes are left
// out, with a note where that loses something.

const dontWait = 0

func addSystem(*repo.Node, fs.FileInfo) {}

func sameTimes(a, b fs.FileInfo) bool { return a.ModTime().Equal(b.ModTime()) }

func openFolder(at *os.Root, name string) (*os.Root, error) { return at.OpenRoot(name) }

func fileXAttrs(*os.File) ([]repo.XAttr, error)         { return nil, nil }
func pathXAttrs(string) ([]repo.XAttr, error)           { return nil, nil }
func linkXAttrs(*os.Root, string) ([]repo.XAttr, error) { return nil, nil }

func setOwner(*os.Root, repo.Node) error { return nil }

func setXAttrs(_ place, _ *os.File, n repo.Node) error {
	if len(n.ExtendedAttributes) > 0 {
		return errors.ErrUnsupported
	}
	return nil
}

func setTimes(p place, n repo.Node) error {
	if n.Type == "symlink" {
		return nil
	}
	return p.root.Chtimes(n.Name, n.AccessTime, n.ModTime)
}

func makeSpecial(place, repo.Node) error { return errors.ErrUnsupported }

func syncAll(*os.Root) error { return nil }
