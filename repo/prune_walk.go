package repo

import (
	"context"
	"fmt"

	"golang.org/x/sync/errgroup"
)

// needs marks in the catalog everything that snapshots reach. It fails at the first tree that cannot be read and at the
// first blob that no index lists: a prune that went on would delete what is below.
func (p *pruner) needs(ctx context.Context, snapshots []Snapshot) error {
	w := &needWalk{repo: p.repo, catalog: p.catalog}
	return w.all(ctx, snapshots, func(i int) { p.progress(PruneWalking, int64(i), int64(len(snapshots))) })
}

// needWalk walks trees, each once.
type needWalk struct {
	repo    *Repository
	catalog *catalog
	group   *errgroup.Group
	look    func(tree ID, nodes []Node) // shown each tree once, several at once; nil: nobody looks
}

// all walks snapshots, and tells before which one it is.
func (w *needWalk) all(ctx context.Context, snapshots []Snapshot, at func(int)) error {
	w.group, ctx = errgroup.WithContext(ctx)
	w.group.SetLimit(max(loads, w.repo.opt.Cores))
	for i, s := range snapshots {
		if ctx.Err() != nil {
			break
		}
		at(i)
		err := w.visit(ctx, s.Tree, "snapshot "+s.ID.Short()+":")
		w.group.Go(func() error { return err })
	}
	return w.group.Wait()
}

// visit marks a tree and all below it, unless that was done. It goes deep on the calling goroutine and wide on others as
// far as there are any free.
func (w *needWalk) visit(ctx context.Context, tree ID, path string) error {
	switch first, ok := w.catalog.need(TreeBlob, tree); {
	case !ok:
		return fmt.Errorf("%s/: its tree %s is in no index: %w", path, tree, ErrDamaged)
	case !first:
		return nil
	case ctx.Err() != nil:
		return context.Cause(ctx)
	}
	nodes, err := w.repo.LoadTree(ctx, tree)
	if err != nil {
		return fmt.Errorf("%s/: %w", path, err)
	}
	if w.look != nil {
		w.look(tree, nodes)
	}
	for i := range nodes {
		n := &nodes[i]
		for _, id := range n.Content {
			if _, ok := w.catalog.need(DataBlob, id); !ok {
				return fmt.Errorf("%s/%s: its data %s is in no index: %w", path, n.Name, id, ErrDamaged)
			}
		}
		if n.Subtree == nil {
			continue
		}
		below := func() error { return w.visit(ctx, *n.Subtree, path+"/"+n.Name) }
		if w.group.TryGo(below) {
			continue
		}
		if err := below(); err != nil {
			return err
		}
	}
	return nil
}
