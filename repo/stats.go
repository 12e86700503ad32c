package repo

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sync"
)

// RepositoryStats is what a repository holds and what that takes. Sizes in bytes.
type RepositoryStats struct {
	Snapshots int   `json:"snapshots"`
	Files     int64 `json:"files"` // of all snapshots, equal ones counted as often as they occur
	Bytes     int64 `json:"bytes"` // of these

	Blobs  int   `json:"blobs"`  // different ones that snapshots need, data and trees
	Plain  int64 `json:"plain"`  // of these, before compression
	Stored int64 `json:"stored"` // what they take in packs

	Packs          int   `json:"packs"`
	PackBytes      int64 `json:"pack_bytes"`
	Unused         int64 `json:"unused"`    // in packs, needed by no snapshot
	Duplicate      int64 `json:"duplicate"` // in packs, further copies of what is needed
	Unindexed      int   `json:"unindexed"` // packs that no index lists
	UnindexedBytes int64 `json:"unindexed_bytes"`

	Compression float64 `json:"compression"` // Plain / Stored; 0 when there is nothing
	Dedup       float64 `json:"dedup"`       // Bytes / plain data that are needed; 0 when there is nothing

	Groups []GroupStats `json:"groups"` // as the caller groups snapshots, by name
}

// GroupStats is the part of some snapshots in RepositoryStats.
type GroupStats struct {
	Name      string `json:"name"`
	Snapshots int    `json:"snapshots"`
	Files     int64  `json:"files"`
	Bytes     int64  `json:"bytes"`
}

// Stats counts what is in the repository, by groups of snapshots. It reads every tree that a snapshot reaches, once, and takes no
// lock: a prune of others meanwhile is ErrDamaged, and so is everything that is missing.
func (r *Repository) Stats(ctx context.Context, group func(Snapshot) string) (*RepositoryStats, error) {
	r = newRepository(r.storage, r.key, r.config, r.opt) // what memory holds may be of yesterday
	snapshots, err := r.Snapshots(ctx)
	if err != nil {
		return nil, err
	}
	c, err := r.loadCatalog(ctx)
	if err != nil {
		return nil, err
	}
	sums := treeSums{}
	w := &needWalk{repo: r, catalog: c, look: sums.look}
	if err := w.all(ctx, snapshots, func(int) {}); err != nil {
		return nil, fmt.Errorf("counting what is in the repository%s: %w", r.at(), err)
	}
	s := &RepositoryStats{Snapshots: len(snapshots), Groups: []GroupStats{}}
	for _, x := range snapshots {
		t := sums.total(x.Tree)
		s.add(group(x), t.files, t.bytes)
	}
	s.count(c)
	return s, r.eachPack(ctx, func(id ID, f FileInfo) {
		s.Packs++
		s.PackBytes += f.Size
		if _, listed := c.numbers[id]; !listed {
			s.Unindexed++
			s.UnindexedBytes += f.Size
		}
	})
}

// add counts a snapshot.
func (s *RepositoryStats) add(group string, files, bytes int64) {
	s.Files += files
	s.Bytes += bytes
	i, found := slices.BinarySearchFunc(s.Groups, group, func(g GroupStats, name string) int { return cmp.Compare(g.Name, name) })
	if !found {
		s.Groups = slices.Insert(s.Groups, i, GroupStats{Name: group})
	}
	g := &s.Groups[i]
	g.Snapshots++
	g.Files += files
	g.Bytes += bytes
}

// count sums up the blobs, by what was marked as needed.
func (s *RepositoryStats) count(c *catalog) {
	data := int64(0)
	c.eachBlob(func(t BlobType, first, behind int) {
		for i := first; i < behind; i++ {
			b := c.location(t, i).packedBlob
			switch {
			case !c.used[t].has(first):
				s.Unused += stored(b)
			case i > first:
				s.Duplicate += stored(b)
			default:
				s.Blobs++
				s.Stored += stored(b)
				s.Plain += int64(b.plainLength())
				if t == DataBlob {
					data += int64(b.plainLength())
				}
			}
		}
	})
	s.Compression, s.Dedup = ratio(s.Plain, s.Stored), ratio(s.Bytes, data)
}

func ratio(a, b int64) float64 {
	if b == 0 {
		return 0
	}
	return float64(a) / float64(b)
}

// treeSums counts the files of trees, each tree once, however many snapshots share it.
type treeSums struct {
	mu    sync.Mutex
	trees map[ID]*treeSum
}

type treeSum struct {
	files, bytes int64 // in the tree itself; once it is summed up, below it too
	below        []ID
	summed       bool
}

func (s *treeSums) look(tree ID, nodes []Node) {
	t := &treeSum{}
	for i := range nodes {
		n := &nodes[i]
		if n.Type == "file" {
			t.files++
			t.bytes += int64(n.Size)
		}
		if n.Subtree != nil {
			t.below = append(t.below, *n.Subtree)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.trees == nil {
		s.trees = make(map[ID]*treeSum)
	}
	s.trees[tree] = t
}

// total sums a tree up. All trees were looked at before.
func (s *treeSums) total(tree ID) treeSum {
	t := s.trees[tree]
	if t == nil {
		return treeSum{}
	}
	if !t.summed {
		t.summed = true
		for _, id := range t.below {
			b := s.total(id)
			t.files += b.files
			t.bytes += b.bytes
		}
		t.below = nil
	}
	return *t
}
