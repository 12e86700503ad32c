package repo

import (
	"context"
	"fmt"
	"iter"
	"strings"
)

// LoadTree reads, verifies and decodes one folder.
func (r *Repository) LoadTree(ctx context.Context, id ID) ([]Node, error) {
	if err := r.ensureIndexed(ctx, TreeBlob, id); err != nil {
		return nil, err
	}
	s := r.borrowScratch()
	defer r.returnScratch(s)
	data, err := r.readBlob(ctx, TreeBlob, id, nil, s)
	if err != nil {
		return nil, err
	}
	nodes, err := decodeTree(data)
	if err != nil {
		return nil, fmt.Errorf("tree %s: %w", id.Short(), err)
	}
	return nodes, nil
}

// ensureIndexed reloads the index once when a blob is not in it: somebody else may have written it since. Then packs that
// no index lists are asked themselves. Damaged index files matter only when they may be the ones that listed it.
func (r *Repository) ensureIndexed(ctx context.Context, t BlobType, ids ...ID) error {
	if _, ok := r.firstUnindexed(t, ids); ok {
		return nil
	}
	loadErr := r.LoadIndex(ctx)
	if _, ok := r.firstUnindexed(t, ids); ok {
		return nil
	}
	rescueErr := r.rescueBlobs(ctx)
	id, ok := r.firstUnindexed(t, ids)
	switch {
	case ok:
		return nil
	case loadErr != nil:
		return loadErr
	case rescueErr != nil:
		return rescueErr
	}
	return fmt.Errorf("%s %s is in no index: %w", t, id.Short(), ErrDamaged)
}

// firstUnindexed finds a blob that is in no index; ok when there is none.
func (r *Repository) firstUnindexed(t BlobType, ids []ID) (missing ID, ok bool) {
	for _, id := range ids {
		if _, found := r.find(t, id); !found {
			return id, false
		}
	}
	return ID{}, true
}

// Lookup finds the node at a slash-separated path below a tree; "" and "/" are the folder itself, a node with only
// Type and Subtree. ErrNotFound, ErrNotFolder.
func (r *Repository) Lookup(ctx context.Context, tree ID, path string) (Node, error) {
	node := Node{Type: "dir", Subtree: &tree}
	done := ""
	for name := range strings.SplitSeq(strings.Trim(path, "/"), "/") {
		if name == "" {
			continue
		}
		if node.Subtree == nil {
			return Node{}, fmt.Errorf("%s: %w", done, ErrNotFolder)
		}
		nodes, err := r.cachedTree(ctx, *node.Subtree)
		if err != nil {
			return Node{}, err
		}
		done += "/" + name
		found := false
		for _, n := range nodes {
			if n.Name == name {
				node, found = n, true
				break
			}
		}
		if !found {
			return Node{}, fmt.Errorf("%s: %w", done, ErrNotFound)
		}
	}
	return node, nil
}

// Walk yields every node below a tree with its path (relative, slash-separated, raw names), folders before what is in
// them, in order of raw name. An error is yielded once, last.
func (r *Repository) Walk(ctx context.Context, tree ID) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) { r.walk(ctx, tree, "", yield) }
}

// Entry is a node and where it stands.
type Entry struct {
	Path string // relative to the tree that was walked
	Node Node
}

// walk reports whether the caller wants more.
func (r *Repository) walk(ctx context.Context, tree ID, prefix string, yield func(Entry, error) bool) bool {
	nodes, err := r.LoadTree(ctx, tree)
	if err != nil {
		yield(Entry{Path: prefix}, fmt.Errorf("folder /%s: %w", prefix, err))
		return false
	}
	for _, n := range nodes {
		path := prefix + n.Name
		if !yield(Entry{Path: path, Node: n}, nil) {
			return false
		}
		if n.Subtree != nil && !r.walk(ctx, *n.Subtree, path+"/", yield) {
			return false
		}
	}
	return true
}
