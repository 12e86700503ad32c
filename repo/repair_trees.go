package repo

import (
	"context"
	"fmt"
	"slices"
	"strings"
)

// treeState is what is known of a tree.
type treeState struct {
	lost   bool // it cannot be read
	broken bool // it, or anything below it, is lost
}

const (
	lostMark = ".LOST"
	lostList = "LOST" // name of the list, without its end
	listEnd  = ".txt"
	maxName  = 255     // bytes in a file name that file systems take
	maxList  = 1 << 20 // bytes of the list
)

// rewrite finds out what a snapshot lost, and stores what it becomes; nil when it lost nothing.
func (x *snapshotsRepair) rewrite(ctx context.Context, s Snapshot) (*RepairedSnapshot, error) {
	state, err := x.examine(ctx, s.Tree)
	if err != nil || !state.broken {
		return nil, err
	}
	b := &RepairedSnapshot{Old: s, New: s}
	list := newLossList(s)
	if err := x.losses(ctx, s.Tree, "", func(l Loss) {
		list.add(l)
		b.Files++
		b.Bytes += l.Lost
		if len(b.Lost) < maxLosses {
			b.Lost = append(b.Lost, l)
		}
	}); err != nil {
		return nil, err
	}
	folder := ""
	if x.opt.Folder != nil && !state.lost {
		if folder, err = x.listFolder(ctx, s); err != nil {
			return nil, err
		}
	}
	note, err := x.store(DataBlob, list.text())
	if err != nil {
		return nil, err
	}
	b.New.ID, b.New.Parent = ID{}, nil
	stable := s.StableID()
	b.New.Original = &stable
	if !slices.Contains(s.Tags, TagRepaired) {
		b.New.Tags = append(slices.Clip(s.Tags), TagRepaired)
	}
	b.New.Tree, err = x.rebuild(ctx, s.Tree, "", &lossNote{folder, s.Time.UTC(), note, uint64(len(list.text()))})
	return b, err
}

// listFolder is where the list of what is lost goes: "" for the top.
func (x *snapshotsRepair) listFolder(ctx context.Context, s Snapshot) (string, error) {
	name := x.opt.Folder(s)
	if name == "" {
		return "", nil
	}
	nodes, err := x.repo.loadKnownTree(ctx, s.Tree)
	if err != nil {
		return "", err
	}
	for _, n := range nodes {
		if n.Name == name && n.Subtree != nil {
			state, err := x.examine(ctx, *n.Subtree)
			if err != nil || state.lost {
				return "", err
			}
			return "/" + name, nil
		}
	}
	return "", nil
}

// loadKnownTree reads a tree that the index lists.
func (r *Repository) loadKnownTree(ctx context.Context, id ID) ([]Node, error) {
	s := r.borrowScratch()
	defer r.returnScratch(s)
	var nodes []Node
	err := twice(func() error {
		data, err := r.readBlob(ctx, TreeBlob, id, nil, s)
		if err == nil {
			nodes, err = decodeTree(data)
		}
		return err
	})
	return nodes, err
}

// examine finds out, once for each tree, whether anything in it or below it is lost.
func (x *snapshotsRepair) examine(ctx context.Context, tree ID) (treeState, error) {
	if state, done := x.trees[tree]; done {
		return state, nil
	}
	if ctx.Err() != nil {
		return treeState{}, context.Cause(ctx)
	}
	nodes, lost, err := x.tree(ctx, tree)
	if err != nil {
		return treeState{}, err
	}
	state := treeState{lost, lost}
	x.trees[tree] = state // a tree cannot be in itself, but who knows what a repository holds
	for i := range nodes {
		n := &nodes[i]
		if n.Subtree != nil {
			below, err := x.examine(ctx, *n.Subtree)
			if err != nil {
				return treeState{}, err
			}
			state.broken = state.broken || below.broken
		}
		l, err := x.loss(ctx, n)
		if err != nil {
			return treeState{}, err
		}
		state.broken = state.broken || l != nil
	}
	x.trees[tree] = state
	return state, nil
}

// tree reads a tree, if it is not lost.
func (x *snapshotsRepair) tree(ctx context.Context, tree ID) (nodes []Node, lost bool, err error) {
	_, ok, err := x.known(ctx, TreeBlob, tree)
	if err != nil || !ok {
		return nil, true, err
	}
	nodes, err = x.repo.loadKnownTree(ctx, tree)
	if err != nil && damagedOrGone(err) {
		return nil, true, nil
	}
	return nodes, false, err
}

// loss tells what a file lost; nil when nothing, and of everything that is no file.
func (x *snapshotsRepair) loss(ctx context.Context, n *Node) (*Loss, error) {
	_, l, err := x.remains(ctx, n)
	return l, err
}

// remains gives the blobs of a file that are left, and what it lost.
func (x *snapshotsRepair) remains(ctx context.Context, n *Node) (left []ID, _ *Loss, err error) {
	if n.Type != "file" {
		return nil, nil, nil
	}
	var size, before, behind uint64 // of what is left: all, before the first gap, behind the last one
	gaps := 0
	left = []ID{}
	for _, id := range n.Content {
		at, ok, err := x.known(ctx, DataBlob, id)
		if err != nil {
			return nil, nil, err
		}
		if !ok {
			gaps++
			behind = 0
			continue
		}
		left = append(left, id)
		length := uint64(at.plainLength())
		size += length
		behind += length
		if gaps == 0 {
			before = size
		}
	}
	if gaps == 0 && size == n.Size {
		return left, nil, nil
	}
	l := &Loss{Size: n.Size, Lost: n.Size - min(size, n.Size), From: before, To: n.Size - min(behind, n.Size)}
	return left, l, nil
}

// rebuild stores a tree without what is lost in it and below it, and returns its ID. What is whole stays as it is.
func (x *snapshotsRepair) rebuild(ctx context.Context, tree ID, path string, note *lossNote) (ID, error) {
	here, above := note.folder == path, strings.HasPrefix(note.folder, path+"/")
	if !x.trees[tree].broken && !here && !above {
		return tree, nil
	}
	nodes, _, err := x.tree(ctx, tree) // of a lost tree, none
	if err != nil {
		return ID{}, err
	}
	taken := map[string]bool{}
	for _, n := range nodes {
		taken[n.Name] = true
	}
	for i := range nodes {
		if err := x.mend(ctx, &nodes[i], path, taken, note); err != nil {
			return ID{}, err
		}
	}
	if here {
		nodes = append(nodes, Node{
			Name: freeName(lostList, listEnd, taken), Type: "file", Mode: 0o644, ModTime: note.time, AccessTime: note.time,
			ChangeTime: note.time, Links: 1, Size: note.size, Content: []ID{note.blob},
		})
	}
	data, err := encodeTree(nodes)
	if err != nil {
		return ID{}, err
	}
	return x.store(TreeBlob, data)
}

// mend makes of a node what is left of it.
func (x *snapshotsRepair) mend(ctx context.Context, n *Node, path string, taken map[string]bool, note *lossNote) error {
	if n.Subtree != nil {
		state := x.trees[*n.Subtree]
		below, err := x.rebuild(ctx, *n.Subtree, path+"/"+n.Name, note)
		if err != nil {
			return err
		}
		n.Subtree = &below
		if state.lost {
			n.Name = freeName(n.Name, lostMark, taken)
		}
		return nil
	}
	left, l, err := x.remains(ctx, n)
	if err != nil || l == nil {
		return err
	}
	n.Name, n.Content, n.Size = freeName(n.Name, lostMark, taken), left, 0
	for _, id := range left {
		at, _ := x.repo.index.lookup(DataBlob, id)
		n.Size += uint64(at.plainLength())
	}
	n.Inode, n.Links = 0, 1 // no hard link of a file that is whole elsewhere
	return nil
}

// store stores a blob, but for a dry run.
func (x *snapshotsRepair) store(t BlobType, data []byte) (ID, error) {
	if x.writer == nil {
		return Hash(data), nil
	}
	return x.writer.storeBytes(t, data)
}

// freeName puts an end to a name so that nothing else in the folder bears it.
func freeName(name, end string, taken map[string]bool) string {
	for n := 1; ; n++ {
		mark := end
		if n > 1 {
			mark = fmt.Sprintf("-%d%s", n, end)
		}
		free := name[:min(len(name), maxName-len(mark))] + mark
		if !taken[free] {
			taken[free] = true
			return free
		}
	}
}
