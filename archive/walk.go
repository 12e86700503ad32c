package archive

import (
	"context"
	"fmt"
	"iter"
	"strings"

	"github.com/caddy-backup/caddy-backup/repo"
)

// entries yields the folder itself, if it has a name, and all that is in it, under the names that they have in the
// archive, without a slash at the end.
func entries(ctx context.Context, self repo.Node, tree Tree) iter.Seq2[repo.Entry, error] {
	return func(yield func(repo.Entry, error) bool) {
		prefix := ""
		if self.Name != "" {
			if !yield(repo.Entry{Path: self.Name, Node: self}, safe(self.Name)) {
				return
			}
			prefix = self.Name + "/"
		}
		for e, err := range tree.Walk(ctx) {
			e.Path = prefix + e.Path
			if err == nil {
				err = safe(e.Path)
			}
			if !yield(e, err) || err != nil {
				return
			}
		}
	}
}

// safe refuses a name that would lead out of where the archive is unpacked. Readers of trees refuse such names too; what
// stands here is what people unpack elsewhere, with any program.
func safe(path string) error {
	for name := range strings.SplitSeq(path, "/") {
		if name == "" || name == "." || name == ".." || strings.ContainsRune(name, 0) {
			return fmt.Errorf("%w: the name %q cannot stand in an archive", repo.ErrDamaged, path)
		}
	}
	return nil
}

// Check walks through a folder without reading its files, and tells whether an archive can be made of it: every
// subfolder can be read, and every name can stand in the format. ErrFormat where only another format will do.
func Check(ctx context.Context, f Format, self repo.Node, tree Tree) error {
	for e, err := range entries(ctx, self, tree) {
		if err != nil {
			return err
		}
		if f == Zip && strings.Contains(e.Path, `\`) {
			return fmt.Errorf("%w: the name %q has a backslash, which in a zip some programs take for a folder: use %s or %s",
				ErrFormat, e.Path, Tar, TarGzip)
		}
	}
	return nil
}
