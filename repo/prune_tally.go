package repo

import (
	"bytes"
	"cmp"
)

// packState is what the plan of a prune knows of a pack. Sizes in bytes; those of blobs are as stored, with their
// entries in the header.
type packState struct {
	id       ID
	size     int64 // in the storage; -1 when it is not there
	expected int64 // by the index
	suspect  bool  // a check found it damaged

	data, trees int  // blobs of either type
	plainTrees  bool // in a repository that compresses trees
	total       int64
	needed      int64 // of blobs that snapshots need, wherever the copy lies that counts
	neededBlobs int
	sole        int64 // of those, the ones that lie nowhere else
	used        int64 // of the copies that count
	usedBlobs   int
}

// sound reports whether the pack is there as the index says, as far as anybody knows.
func (p *packState) sound() bool { return p.size == p.expected && !p.suspect }

// tidy reports whether the pack is in the form in which it may stay.
func (p *packState) tidy() bool { return !p.plainTrees && (p.data == 0 || p.trees == 0) }

// kind is the type of the pack's blobs, when it is tidy.
func (p *packState) kind() BlobType {
	if p.trees > 0 {
		return TreeBlob
	}
	return DataBlob
}

func (p *packState) unused() int64 { return p.total - p.used }

// stored is what a blob takes in a pack.
func stored(b packedBlob) int64 { return int64(b.Length) + int64(b.entryLength()) }

// tally sums up each pack from the catalog and its marks, and decides for each blob that lies in several packs which
// copy counts; sizes are those of the packs in the storage, by number, -1 for missing ones.
//
// All packs are in one order of rank, and a blob counts in the pack of the highest rank that has it. So of two packs that
// share what they hold, one takes all, and the other is left with nothing and goes without having been copied.
func tally(c *catalog, sizes []int64, suspect map[ID]bool, version uint) []packState {
	packs := make([]packState, len(c.packs))
	for n := range packs {
		packs[n] = packState{id: c.packs[n], size: sizes[n], expected: int64(headerLength(nil)), suspect: suspect[c.packs[n]]}
	}
	c.eachBlob(func(t BlobType, first, behind int) {
		used := c.used[t].has(first)
		for i := first; i < behind; i++ {
			l := c.location(t, i)
			packs[c.entries[t][i].pack].add(l.packedBlob, used, behind-first == 1, version)
		}
	})
	c.eachBlob(func(t BlobType, first, behind int) {
		if !c.used[t].has(first) {
			return
		}
		best := first
		for i := first + 1; i < behind; i++ {
			if rank(&packs[c.entries[t][i].pack], &packs[c.entries[t][best].pack]) < 0 {
				best = i
			}
		}
		c.counts[t].set(best)
		p := &packs[c.entries[t][best].pack]
		p.used += stored(c.location(t, best).packedBlob)
		p.usedBlobs++
	})
	return packs
}

// eachBlob visits the entries of each blob, from first to behind.
func (c *catalog) eachBlob(visit func(t BlobType, first, behind int)) {
	for t, entries := range c.entries {
		for first := 0; first < len(entries); {
			behind := first + 1
			for behind < len(entries) && entries[behind].id == entries[first].id {
				behind++
			}
			visit(BlobType(t), first, behind)
			first = behind
		}
	}
}

// add counts a blob in.
func (p *packState) add(b packedBlob, needed, sole bool, version uint) {
	n := stored(b)
	p.total += n
	p.expected += n
	if b.Type == TreeBlob {
		p.trees++
		p.plainTrees = p.plainTrees || b.Uncompressed == 0 && version > 1
	} else {
		p.data++
	}
	if needed {
		p.needed += n
		p.neededBlobs++
		if sole {
			p.sole += n
		}
	}
}

// rank orders packs: negative when the copies in a are to be preferred to those in b.
func rank(a, b *packState) int {
	return cmp.Or(
		compareBools(b.sound(), a.sound()),
		compareBools(b.tidy(), a.tidy()),
		// The larger part of it is needed, the likelier it stays as it is. Compared by cross-multiplication.
		cmp.Compare(float64(b.needed)*float64(a.total), float64(a.needed)*float64(b.total)),
		cmp.Compare(b.sole, a.sole),
		bytes.Compare(a.id[:], b.id[:]),
	)
}

// compareBools has false before true.
func compareBools(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return 1
	}
	return -1
}
