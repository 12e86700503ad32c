package backup

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"slices"

	"github.com/caddy-backup/caddy-backup/repo"
)

// throughSource lets the source that made a part rebuild it at a new place.
func (x *restoreRun) throughSource(ctx context.Context, node repo.Node, full string) error {
	part, source, err := x.sourceOf(ctx, full)
	if err != nil {
		return err
	}
	if part.Folder {
		return x.folderThroughSource(ctx, node, full, part, source)
	}
	if node.Type != "file" {
		return fmt.Errorf("%w: %s is a folder: restore it into a target", ErrInvalid, full)
	}
	x.total = part.Size
	x.setProgress(func() Progress { return Progress{Bytes: x.done.Load(), Total: x.total} })
	x.setStep("restoring " + part.Name + " into " + x.request.Place)
	err = x.rebuilding(ctx, "restore of "+part.Name, func() error {
		f, err := x.repo.OpenFile(ctx, node)
		if err != nil {
			return err
		}
		defer f.Close()
		r := &sumReader{from: awaitedReader{f, &x.life}, hash: sha256.New(), want: part.SHA256, count: func(n int) { x.done.Add(int64(n)) }}
		if err := source.Restore(ctx, Part{Name: part.Name, Media: part.Media}, r, x.request.Place, x.task()); err != nil {
			return fmt.Errorf("source %s: %w", source.Name, err)
		}
		return r.finish()
	})
	if err != nil {
		return err
	}
	x.log.Info("part restored", "part", part.Name, "source", source.Name, "place", x.request.Place, "bytes", part.Size, "sha256", part.SHA256)
	return nil
}

// folderThroughSource is throughSource for a part that is a folder.
func (x *restoreRun) folderThroughSource(ctx context.Context, node repo.Node, full string, part *ManifestPart, source NamedSource) error {
	to, ok := source.Source.(FolderRestorer)
	if !ok || node.Subtree == nil {
		return fmt.Errorf("%w: %s is a folder: restore it into a target", ErrInvalid, full)
	}
	if tree := node.Subtree.String(); tree != part.Tree {
		return fmt.Errorf("%s has the tree %s, the manifest says %s: %w", part.Name, tree, part.Tree, repo.ErrDamaged)
	}
	if err := x.preflight(ctx, []repo.Node{node}); err != nil {
		return err
	}
	x.setStep("restoring " + part.Name + " into " + x.request.Place)
	err := x.rebuilding(ctx, "restore of "+part.Name, func() error {
		return to.RestoreFolder(ctx, Part{Name: part.Name, Folder: true}, x.repo, node, x.request.Place, x.task())
	})
	if err != nil {
		return fmt.Errorf("source %s: %w", source.Name, err)
	}
	x.done.Store(x.total)
	x.log.Info("part restored", "part", part.Name, "source", source.Name, "place", x.request.Place, "bytes", part.Size)
	return nil
}

// sourceOf finds the part at a path in the manifest, and its source in the job as it is configured now.
func (x *restoreRun) sourceOf(ctx context.Context, full string) (*ManifestPart, NamedSource, error) {
	name := jobOf(x.snapshot)
	if name == "" {
		return nil, NamedSource{}, fmt.Errorf("%w: the snapshot was not made by a job: restore into a target", ErrInvalid)
	}
	m, err := loadManifest(ctx, x.repo, x.snapshot)
	if err != nil {
		return nil, NamedSource{}, fmt.Errorf("%w; without the manifest only a restore into a target is possible", err)
	}
	i := slices.IndexFunc(m.Parts, func(p ManifestPart) bool { return full == "/"+name+"/"+p.Name })
	if i < 0 {
		return nil, NamedSource{}, fmt.Errorf("%w: %s is not a part of the snapshot: restore it into a target", ErrInvalid, full)
	}
	source, err := x.setup.sourceOf(name, &m.Parts[i])
	return &m.Parts[i], source, err
}

// sourceOf finds the source of a part in the job as it is configured now.
func (c *setup) sourceOf(job string, part *ManifestPart) (NamedSource, error) {
	j, err := c.job(job)
	if err != nil {
		return NamedSource{}, fmt.Errorf("%w; restore into a target, or bring the job back first: into the configuration, or by caddy backup add", err)
	}
	for _, s := range j.Sources {
		if s.Name == part.Source {
			return s, nil
		}
	}
	return NamedSource{}, fmt.Errorf("%w: job %s has no source %s any more: restore into a target", ErrNotFound, job, part.Source)
}

// sumReader reads a part and compares its SHA-256 with the manifest's before it lets the reader see the end: a source
// that is told of an error there undoes what it did.
type sumReader struct {
	from  io.Reader
	hash  hash.Hash
	want  string
	count func(int)
	end   error // what the end was
}

func (r *sumReader) Read(p []byte) (int, error) {
	if r.end != nil {
		return 0, r.end
	}
	n, err := r.from.Read(p)
	r.hash.Write(p[:n])
	r.count(n)
	if errors.Is(err, io.EOF) {
		if got := hex.EncodeToString(r.hash.Sum(nil)); got != r.want {
			err = fmt.Errorf("the content has SHA-256 %s, the manifest says %s: %w", got, r.want, repo.ErrDamaged)
		}
	}
	r.end = err
	return n, err
}

// finish reads what the source left unread.
func (r *sumReader) finish() error {
	_, err := io.Copy(io.Discard, r)
	return err
}
