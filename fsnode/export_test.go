package fsnode

import (
	"context"
	"os"

	"github.com/caddy-backup/caddy-backup/repo"
)

// RestoreNodes restores nodes as one folder's, whatever they are: the reader of trees would not let all of them through.
func RestoreNodes(ctx context.Context, r *repo.Repository, nodes []repo.Node, root *os.Root) (Restored, error) {
	dir, err := root.Open(".")
	if err != nil {
		return Restored{}, err
	}
	defer dir.Close()
	x := restorer{ctx: ctx, repo: r, top: root, links: map[linkKey]linked{}, notes: newNotes(nil), progress: func(int64) {}}
	for _, n := range nodes {
		if err := x.node(place{root: root, dir: dir}, n); err != nil {
			return x.restored, err
		}
	}
	x.restored.Notes = x.notes.all()
	return x.restored, nil
}
