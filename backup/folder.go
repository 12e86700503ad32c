package backup

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"iter"

	"github.com/caddy-backup/caddy-backup/repo"
)

// Folder is a folder of a snapshot with all that is in it. It holds nothing that must be closed.
type Folder struct {
	Self     repo.Node // without a name it is the root of the snapshot
	Path     string    // from the root of the snapshot
	Snapshot Snapshot
	Filename string // for people who save it, without an ending: <job>_<date>_<time>Z.<part>
	Version  string // of the folder and all that is in it: another content has another one. Made of letters and digits

	repo *repo.Repository
}

// OpenFolder finds a folder of a snapshot; id and path as for List. ErrNotFolder.
func (s *Service) OpenFolder(ctx context.Context, repository, id, path string) (*Folder, error) {
	var f *Folder
	err := s.at(ctx, repository, id, path, func(p placed) error {
		if p.node.Subtree == nil {
			return fmt.Errorf("%s: %w", p.full, repo.ErrNotFolder)
		}
		if _, err := p.repo.LoadTree(ctx, *p.node.Subtree); err != nil { // where the index is stale, this finds out
			return err
		}
		text, err := json.Marshal(p.node)
		if err != nil {
			return err
		}
		f = &Folder{
			Self: p.node, Path: p.full, Snapshot: snapshotOf(p.vault, p.snapshot), Filename: folderName(p),
			Version: repo.Hash(text).String(), repo: p.repo,
		}
		return nil
	})
	return f, err
}

// folderName is what a folder is called when it is saved.
func folderName(p placed) string {
	job := jobOf(p.snapshot)
	switch {
	case p.node.Name == "" || p.full == "/"+job:
		return dated(cmp.Or(job, p.snapshot.Hostname, "snapshot"), p.snapshot)
	case job != "" && p.full == "/"+job+"/"+p.node.Name:
		return dated(job, p.snapshot) + "." + p.node.Name
	}
	return p.node.Name
}

// Walk yields all that is in the folder: see repo.Repository.Walk.
func (f *Folder) Walk(ctx context.Context) iter.Seq2[repo.Entry, error] {
	return f.repo.Walk(ctx, *f.Self.Subtree)
}

// Open opens a file in the folder. Reading ends when ctx is done.
func (f *Folder) Open(ctx context.Context, file repo.Node) (io.ReadCloser, error) {
	return f.repo.OpenFile(ctx, file)
}
