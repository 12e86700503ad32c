package repo

import (
	"context"
	"fmt"
	"slices"
	"strings"
)

// The kinds of a Change.
const (
	Added    = "added"
	Removed  = "removed"
	Changed  = "changed"  // the content of a file, the target of a link
	Metadata = "metadata" // owner, mode, time of change or attributes only
	Retyped  = "retyped"  // it is something else now
)

// Change is a difference between two snapshots.
type Change struct {
	Kind   string `json:"change"`
	Path   string `json:"path"`   // from the top of the snapshots
	Type   string `json:"type"`   // "file", "dir" …; of what is there now, or was there if it is removed
	Before int64  `json:"before"` // size of a file in bytes, 0 when there was none
	After  int64  `json:"after"`  // 0 when there is none now
}

// DiffSummary counts changes. Sizes in bytes.
type DiffSummary struct {
	Added    int `json:"added"`
	Removed  int `json:"removed"`
	Changed  int `json:"changed"` // retyped ones too
	Metadata int `json:"metadata"`

	New        int64 `json:"new"`        // of blobs, data and trees, that only the second needs, before compression
	NewStored  int64 `json:"new_stored"` // what they take
	Gone       int64 `json:"gone"`       // that only the first needs
	GoneStored int64 `json:"gone_stored"`
}

// Diff tells what changed from one snapshot to another, folder by folder in order of name; an error of tell ends it. It takes no
// lock: a prune of others meanwhile is ErrDamaged.
func (r *Repository) Diff(ctx context.Context, a, b Snapshot, tell func(Change) error) (DiffSummary, error) {
	r = newRepository(r.storage, r.key, r.config, r.opt) // so that the index is one for all of it
	var sum DiffSummary
	c, err := r.loadCatalog(ctx)
	if err != nil {
		return sum, err
	}
	d := differ{repo: r, tell: tell, sum: &sum}
	if err := d.folders(ctx, "", &a.Tree, &b.Tree); err != nil {
		return sum, fmt.Errorf("comparing snapshots %s and %s%s: %w", a.ID.Short(), b.ID.Short(), r.at(), err)
	}
	var used [2][2]bitset // by snapshot
	for i, s := range []Snapshot{a, b} {
		for t := range c.used {
			c.used[t] = newBitset(len(c.entries[t]))
		}
		w := &needWalk{repo: r, catalog: c}
		if err := w.all(ctx, []Snapshot{s}, func(int) {}); err != nil {
			return sum, err
		}
		used[i] = c.used
	}
	c.eachBlob(func(t BlobType, first, _ int) {
		l := c.location(t, first).packedBlob
		switch inA, inB := used[0][t].has(first), used[1][t].has(first); {
		case inB && !inA:
			sum.New += int64(l.plainLength())
			sum.NewStored += stored(l)
		case inA && !inB:
			sum.Gone += int64(l.plainLength())
			sum.GoneStored += stored(l)
		}
	})
	return sum, nil
}

// differ is a comparison under way. It holds two trees for each level of folders.
type differ struct {
	repo *Repository
	tell func(Change) error
	sum  *DiffSummary
}

// folders compares two folders; nil is none.
func (d *differ) folders(ctx context.Context, path string, a, b *ID) error {
	if a != nil && b != nil && *a == *b {
		return nil
	}
	before, err := d.load(ctx, a)
	if err != nil {
		return fmt.Errorf("folder %s/: %w", path, err)
	}
	after, err := d.load(ctx, b)
	if err != nil {
		return fmt.Errorf("folder %s/: %w", path, err)
	}
	for len(before) > 0 || len(after) > 0 {
		var x, y *Node
		order := 0
		if len(before) > 0 && len(after) > 0 {
			order = strings.Compare(before[0].Name, after[0].Name)
		}
		if len(before) > 0 && (len(after) == 0 || order <= 0) {
			x, before = &before[0], before[1:]
		}
		if len(after) > 0 && (x == nil || order == 0) {
			y, after = &after[0], after[1:]
		}
		if err := d.nodes(ctx, path, x, y); err != nil {
			return err
		}
	}
	return nil
}

// load reads a folder, in order of name: foreign ones may have another.
func (d *differ) load(ctx context.Context, tree *ID) ([]Node, error) {
	if tree == nil {
		return nil, nil
	}
	nodes, err := d.repo.LoadTree(ctx, *tree)
	slices.SortStableFunc(nodes, func(a, b Node) int { return strings.Compare(a.Name, b.Name) })
	return nodes, err
}

// nodes compares two nodes of one name; nil is none, but for one of them.
func (d *differ) nodes(ctx context.Context, path string, a, b *Node) error {
	now := b
	if now == nil {
		now = a
	}
	change := Change{Kind: kindOfChange(a, b), Path: path + "/" + now.Name, Type: now.Type}
	var before, after *ID
	if a != nil {
		change.Before, before = int64(a.Size), a.Subtree
	}
	if b != nil {
		change.After, after = int64(b.Size), b.Subtree
	}
	if change.Kind != "" {
		d.count(change.Kind)
		if err := d.tell(change); err != nil {
			return err
		}
	}
	if before == nil && after == nil {
		return nil
	}
	return d.folders(ctx, change.Path, before, after)
}

func (d *differ) count(kind string) {
	switch kind {
	case Added:
		d.sum.Added++
	case Removed:
		d.sum.Removed++
	case Metadata:
		d.sum.Metadata++
	default:
		d.sum.Changed++
	}
}

// kindOfChange is "" for none.
func kindOfChange(a, b *Node) string {
	switch {
	case a == nil:
		return Added
	case b == nil:
		return Removed
	case a.Type != b.Type:
		return Retyped
	case !slices.Equal(a.Content, b.Content) || a.Size != b.Size || a.LinkTarget != b.LinkTarget || a.Device != b.Device:
		return Changed
	case a.Mode != b.Mode || !a.ModTime.Equal(b.ModTime) || a.UID != b.UID || a.GID != b.GID || a.User != b.User ||
		a.Group != b.Group || !slices.EqualFunc(a.ExtendedAttributes, b.ExtendedAttributes, equalXAttrs):
		return Metadata
	}
	return ""
}

func equalXAttrs(a, b XAttr) bool { return a.Name == b.Name && string(a.Value) == string(b.Value) }
