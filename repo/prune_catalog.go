package repo

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sync/atomic"
)

// catalog is the whole index as a prune sees it: read anew, each blob of each pack once, and what belongs to each of them
// in bits and numbers beside it. With a million blobs that is the index (49 bytes a blob) and some five bytes more.
type catalog struct {
	*segment               // packs each once, entries each once
	files    []catalogFile // index files, by ID
	listings []uint8       // how often index files list a pack: 1, or more, up to 2
	numbers  map[ID]uint32 // of packs

	// used has a bit for the first of equal entries: set, a snapshot needs the blob. counts has one for each entry: set, it
	// is the copy that counts.
	used, counts [2]bitset

	order  []uint32 // places of entries, pack by pack; the highest bit is the type
	starts []uint32 // where each pack begins in order
}

// catalogFile is an index file and the numbers of the packs that it lists.
type catalogFile struct {
	id    ID
	packs []uint32
}

// loadCatalog reads every index file; a damaged one is an error of all, since what it lists would be taken for unused.
// The repository's index in memory is the same list then.
func (r *Repository) loadCatalog(ctx context.Context) (*catalog, error) {
	list, load, err := r.loadIndexFiles(ctx, nil, nil)
	if err == nil {
		err = load.bad.orNil()
	}
	if err != nil {
		return nil, fmt.Errorf("cannot load the index%s: %w", r.at(), err)
	}
	c := newCatalog(list, load.fresh)
	files := make(map[ID]bool, len(load.fresh))
	for id := range load.fresh {
		files[id] = true
	}
	r.index.mu.Lock()
	defer r.index.mu.Unlock()
	r.index.state.Store(&indexState{files, []*segment{c.segment}})
	return c, nil
}

// newCatalog takes the list over.
func newCatalog(list indexList, spans map[ID]packSpan) *catalog {
	c := &catalog{numbers: make(map[ID]uint32, len(list.packs))}
	number := make([]uint32, len(list.packs)) // by place in the list, where a pack may stand twice
	var packs []ID
	for i, id := range list.packs {
		n, ok := c.numbers[id]
		if !ok {
			n = uint32(len(packs))
			c.numbers[id] = n
			packs, c.listings = append(packs, id), append(c.listings, 0)
		}
		c.listings[n] = min(c.listings[n]+1, 2)
		number[i] = n
	}
	for id, span := range spans {
		c.files = append(c.files, catalogFile{id, number[span.first:span.behind]})
	}
	slices.SortFunc(c.files, func(a, b catalogFile) int { return compareIDs(&a.id, &b.id) })
	twice := len(packs) < len(list.packs)
	list.packs = packs
	for t, entries := range list.entries {
		for i := range entries {
			entries[i].pack = number[entries[i].pack]
		}
		if twice { // several index files list a pack: a crash of a prune leaves that
			slices.SortFunc(entries, compareEntries)
			list.entries[t] = slices.Compact(entries)
		}
	}
	c.segment = newSegment(list)
	for t, entries := range c.entries {
		c.used[t], c.counts[t] = newBitset(len(entries)), newBitset(len(entries))
	}
	c.sortByPack()
	return c
}

func compareEntries(a, b indexEntry) int {
	return cmp.Or(compareIDs(&a.id, &b.id), cmp.Compare(a.pack, b.pack), cmp.Compare(a.offset, b.offset),
		cmp.Compare(a.length, b.length), cmp.Compare(a.uncompressed, b.uncompressed))
}

const treeBit = 1 << 31

// sortByPack fills in order and starts, by counting.
func (c *catalog) sortByPack() {
	c.starts = make([]uint32, len(c.packs)+1)
	for _, entries := range c.entries {
		for i := range entries {
			c.starts[entries[i].pack+1]++
		}
	}
	for i := range c.packs {
		c.starts[i+1] += c.starts[i]
	}
	next := slices.Clone(c.starts)
	c.order = make([]uint32, c.len())
	for t, entries := range c.entries {
		for i := range entries {
			pack := entries[i].pack
			c.order[next[pack]] = uint32(t)*treeBit | uint32(i)
			next[pack]++
		}
	}
}

// size is how many blobs a pack has.
func (c *catalog) size(pack uint32) int { return int(c.starts[pack+1] - c.starts[pack]) }

// blobs gives what a pack holds, by offset; with counting, only the copies that count.
func (c *catalog) blobs(pack uint32, counting bool) []packedBlob {
	list := make([]packedBlob, 0, c.size(pack))
	for _, ref := range c.order[c.starts[pack]:c.starts[pack+1]] {
		t, i := ref/treeBit, ref%treeBit
		if !counting || c.counts[t].has(int(i)) {
			list = append(list, c.location(BlobType(t), int(i)).packedBlob)
		}
	}
	slices.SortFunc(list, func(a, b packedBlob) int { return cmp.Compare(a.Offset, b.Offset) })
	return list
}

// need marks a blob as needed, and tells whether it was not so before. Not ok: it is in no index. Many may call it at
// once.
func (c *catalog) need(t BlobType, id ID) (first, ok bool) {
	i := c.find(t, id)
	if i < 0 {
		return false, false
	}
	return c.used[t].set(i), true
}

// bitset is a bit for each of so many things. set may be called by many goroutines at once.
type bitset []uint32

func newBitset(n int) bitset { return make(bitset, (n+31)/32) }

// set reports whether the bit was not set before.
func (b bitset) set(i int) bool {
	bit := uint32(1) << (i % 32)
	return atomic.OrUint32(&b[i/32], bit)&bit == 0
}

func (b bitset) has(i int) bool { return b[i/32]&(1<<(i%32)) != 0 }
