package repo

import (
	"bytes"
	"context"
	"errors"
	"sync"

	"golang.org/x/sync/errgroup"
)

// treeWalk checks trees that snapshots reach.
type treeWalk struct {
	c     *checker
	group *errgroup.Group
	mu    sync.Mutex
	seen  map[ID]bool
}

// visit checks a tree and everything below it, unless that was done already. It goes deep on the calling goroutine and
// wide on others as far as there are any free.
func (w *treeWalk) visit(ctx context.Context, id ID, path string) {
	w.mu.Lock()
	done := w.seen[id]
	w.seen[id] = true
	w.mu.Unlock()
	if done || ctx.Err() != nil {
		return
	}
	nodes, err := w.load(ctx, id)
	if err != nil {
		w.c.problem(path+"/", "folder cannot be read: %v", err)
		if errors.Is(err, ErrDamaged) {
			w.c.distrust(w.c.repo.index.copies(TreeBlob, id))
		}
		return
	}
	for i := range nodes {
		n := &nodes[i]
		w.checkNode(n, path+"/"+n.Name)
		if n.Subtree == nil {
			continue
		}
		next := func() error { w.visit(ctx, *n.Subtree, path+"/"+n.Name); return nil }
		if !w.group.TryGo(next) {
			_ = next()
		}
	}
}

// load reads a tree, and notes what restic could not write again byte for byte.
func (w *treeWalk) load(ctx context.Context, id ID) ([]Node, error) {
	r := w.c.repo
	s := r.borrowScratch()
	defer r.returnScratch(s)
	data, err := r.readBlob(ctx, TreeBlob, id, nil, s)
	if err != nil {
		return nil, err
	}
	nodes, err := decodeTree(data)
	if err != nil {
		return nil, err
	}
	if again, err := encodeTree(nodes); err != nil {
		return nil, err
	} else if !bytes.Equal(again, data) {
		w.c.note("tree "+id.Short(), "tree is not in the usual form; it can be read all the same")
	}
	return nodes, nil
}

// checkNode proves that what a node refers to is indexed and that sizes add up; restic's check does not do the latter,
// and its restore would then pad or cut the file.
func (w *treeWalk) checkNode(n *Node, path string) {
	x := w.c.repo.index
	switch n.Type {
	case "file", "dir", "symlink", "dev", "chardev", "fifo", "socket":
	default:
		w.c.problem(path, "node is of the type %q, which nobody knows how to restore", n.Type)
	}
	if n.Subtree != nil {
		if _, ok := x.lookup(TreeBlob, *n.Subtree); !ok {
			w.c.problem(path, "folder's tree %s is in no index", n.Subtree.Short())
		}
	}
	size := uint64(0)
	for _, id := range n.Content {
		l, ok := x.lookup(DataBlob, id)
		if !ok {
			w.c.problem(path, "data %s is in no index", id.Short())
			return
		}
		size += uint64(l.plainLength())
	}
	if n.Type == "file" && size != n.Size {
		w.c.problem(path, "file is said to have %d bytes, its data have %d", n.Size, size)
	}
}
