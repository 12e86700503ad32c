package repo

import (
	"slices"
	"sync"

	"github.com/minio/sha256-simd"
)

// indexAudit remembers which index files list a pack, and what each says is in it. In memory the index is the union of
// its files, in which one cannot see that a pack is split over two of them: restic refuses such an index.
type indexAudit struct {
	mu    sync.Mutex
	packs map[ID]*listing
}

// listing is what index files say about one pack.
type listing struct {
	files  []ID
	sum    ID   // of what the first of them says
	differ bool // they do not agree
}

// look takes in one index file.
func (a *indexAudit) look(file ID, list *indexList) {
	packs := list.byPack()
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.packs == nil {
		a.packs = make(map[ID]*listing, len(packs))
	}
	for id, blobs := range packs {
		sum := sumOf(blobs)
		l := a.packs[id]
		if l == nil {
			l = &listing{sum: sum}
			a.packs[id] = l
		}
		l.files = append(l.files, file)
		l.differ = l.differ || l.sum != sum
	}
}

// tell reports packs that several index files list.
func (a *indexAudit) tell(c *checker) {
	for id, l := range a.packs {
		if len(l.files) < 2 {
			continue
		}
		slices.SortFunc(l.files, func(a, b ID) int { return compareIDs(&a, &b) })
		if l.differ {
			c.problem(packName(id), "%d index files do not agree about what this pack holds, %s and %s among them; repair the index",
				len(l.files), l.files[0].Short(), l.files[1].Short())
		} else {
			c.note(packName(id), "pack is listed in %d index files, which agree; a repair of the index tidies up", len(l.files))
		}
	}
}

// byPack gives what the list says about each pack, ordered by offset. A pack without blobs is there too.
func (l *indexList) byPack() map[ID][]packedBlob {
	packs := make(map[ID][]packedBlob, len(l.packs))
	for _, id := range l.packs {
		packs[id] = nil
	}
	for t, entries := range l.entries {
		for _, e := range entries {
			id := l.packs[e.pack]
			packs[id] = append(packs[id], packedBlob{BlobType(t), e.id, e.offset, e.length, e.uncompressed})
		}
	}
	for id, blobs := range packs {
		packs[id] = sortBlobs(blobs)
	}
	return packs
}

// sumOf is equal for equal lists.
func sumOf(blobs []packedBlob) (sum ID) {
	h := sha256.New()
	var entry []byte
	for _, b := range blobs {
		entry = appendEntry(entry[:0], b)
		h.Write(append(entry, byte(b.Offset), byte(b.Offset>>8), byte(b.Offset>>16), byte(b.Offset>>24)))
	}
	h.Sum(sum[:0])
	return sum
}
