package archive

import (
	"archive/zip"
	"context"
	"fmt"
	"io"
	"io/fs"

	"github.com/klauspost/compress/flate"

	"github.com/caddy-backup/caddy-backup/repo"
)

// writeZip writes a zip with Unix modes, symbolic links and names in UTF-8; files and archives above 4 GiB get the
// records of Zip64. Devices, pipes and sockets are left out, owners and extended attributes too: a zip cannot hold them.
// The list at its end takes some 200 bytes of memory for each entry.
func writeZip(ctx context.Context, w io.Writer, self repo.Node, tree Tree) error {
	z := zip.NewWriter(w)
	z.RegisterCompressor(zip.Deflate, func(w io.Writer) (io.WriteCloser, error) { return flate.NewWriter(w, flate.DefaultCompression) })
	for e, err := range entries(ctx, self, tree) {
		if err == nil {
			err = addToZip(ctx, z, tree, e)
		}
		if err != nil {
			return err
		}
	}
	return z.Close()
}

func addToZip(ctx context.Context, z *zip.Writer, tree Tree, e repo.Entry) error {
	h := &zip.FileHeader{Name: e.Path, Modified: e.Node.ModTime.UTC()}
	h.SetMode(e.Node.Mode)
	switch e.Node.Type {
	case "dir":
		h.Name += "/"
		h.SetMode(e.Node.Mode | fs.ModeDir)
	case "symlink":
		h.SetMode(fs.ModeSymlink | 0o777)
	case "file":
		h.SetMode(e.Node.Mode &^ fs.ModeType)
		h.Method = zip.Deflate
	default:
		return nil
	}
	w, err := z.CreateHeader(h)
	if err != nil {
		return fmt.Errorf("%s: %w", e.Path, err)
	}
	switch e.Node.Type {
	case "file":
		return writeFile(ctx, w, tree, e)
	case "symlink":
		_, err = io.WriteString(w, e.Node.LinkTarget)
	}
	return err
}
