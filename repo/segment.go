package repo

import (
	"bytes"
	"encoding/binary"
	"math/bits"
	"slices"
)

// indexEntry is where a blob lies, 48 bytes.
type indexEntry struct {
	id           ID
	pack         uint32 // its place in the list of packs
	offset       uint32
	length       uint32
	uncompressed uint32
}

// indexList is the content of an index file, or of several: packs, and the blobs in them.
type indexList struct {
	packs   []ID
	entries [2][]indexEntry // by BlobType
}

func (l *indexList) len() int { return len(l.entries[DataBlob]) + len(l.entries[TreeBlob]) }

// addPack appends a pack; blobs added after it lie in it.
func (l *indexList) addPack(pack ID) { l.packs = append(l.packs, pack) }

func (l *indexList) addBlob(b packedBlob) {
	e := indexEntry{b.ID, uint32(len(l.packs) - 1), b.Offset, b.Length, b.Uncompressed}
	l.entries[b.Type] = append(l.entries[b.Type], e)
}

// segment is an immutable, sorted part of the index. IDs are hashes, so that their first bits spread them evenly over
// buckets of about eight: a lookup is one step into the table of buckets and a bisection of one of them.
type segment struct {
	indexList             // entries are sorted by ID
	starts    [2][]uint32 // starts[t][i] is where bucket i begins in entries[t]; one more tells the end of the last
}

const bucketSize = 8

// newSegment sorts lists, which may be segments too, into one. It takes linear time and no memory beside the result:
// entries are counted by bucket, put into their bucket, and the few in each sorted.
func newSegment(lists ...*indexList) *segment {
	s := new(segment)
	renumber := s.addPacks(lists)
	for t := range s.entries {
		n := 0
		for _, l := range lists {
			n += len(l.entries[t])
		}
		starts := make([]uint32, 1<<bits.Len(uint(n/bucketSize))+1)
		s.starts[t] = starts
		for _, l := range lists {
			for i := range l.entries[t] {
				starts[s.bucket(t, &l.entries[t][i].id)+1]++
			}
		}
		for i := range starts[1:] {
			starts[i+1] += starts[i]
		}
		s.entries[t] = make([]indexEntry, n)
		next := slices.Clone(starts)
		for j, l := range lists {
			for _, e := range l.entries[t] {
				e.pack = renumber[j][e.pack]
				place := &next[s.bucket(t, &e.id)]
				s.entries[t][*place] = e
				*place++
			}
		}
		for i := range starts[1:] {
			slices.SortFunc(s.entries[t][starts[i]:starts[i+1]], func(a, b indexEntry) int { return compareIDs(&a.id, &b.id) })
		}
	}
	return s
}

// addPacks collects the packs of all lists, each once, and tells for every list which number its packs have now.
func (s *segment) addPacks(lists []*indexList) [][]uint32 {
	places := make(map[ID]uint32)
	renumber := make([][]uint32, len(lists))
	for j, l := range lists {
		renumber[j] = make([]uint32, len(l.packs))
		for i, id := range l.packs {
			place, ok := places[id]
			if !ok {
				place = uint32(len(s.packs))
				places[id] = place
				s.packs = append(s.packs, id)
			}
			renumber[j][i] = place
		}
	}
	return renumber
}

// bucket is the number of the bucket that an ID belongs into: its first bits, as many as the table has.
func (s *segment) bucket(t int, id *ID) int {
	width := bits.Len(uint(len(s.starts[t])-1)) - 1
	return int(uint64(binary.BigEndian.Uint32(id[:])) >> (32 - width))
}

// find returns the place of the first entry with this ID, or -1.
func (s *segment) find(t BlobType, id ID) int {
	bucket := s.bucket(int(t), &id)
	low, high := int(s.starts[t][bucket]), int(s.starts[t][bucket+1])
	end := high
	list := s.entries[t]
	for low < high {
		mid := int(uint(low+high) / 2)
		if compareIDs(&list[mid].id, &id) < 0 {
			low = mid + 1
		} else {
			high = mid
		}
	}
	if low < end && list[low].id == id {
		return low
	}
	return -1
}

func (s *segment) location(t BlobType, i int) location {
	e := &s.entries[t][i]
	return location{s.packs[e.pack], packedBlob{t, e.id, e.offset, e.length, e.uncompressed}}
}

// compareIDs is bytes.Compare, with the answer nearly always from the first eight bytes.
func compareIDs(a, b *ID) int {
	x, y := binary.BigEndian.Uint64(a[:]), binary.BigEndian.Uint64(b[:])
	switch {
	case x < y:
		return -1
	case x > y:
		return 1
	}
	return bytes.Compare(a[8:], b[8:])
}

// pushSegment adds lists to segments as a new one, merged with as many at the end as it takes for each segment to be
// at least twice as large as the next. The given slice is not changed.
func pushSegment(segments []*segment, lists ...*indexList) []*segment {
	size := 0
	for _, l := range lists {
		size += l.len()
	}
	if size == 0 {
		return segments
	}
	n := len(segments)
	for n > 0 && segments[n-1].len() < 2*size {
		n--
		size += segments[n].len()
		lists = append(lists, &segments[n].indexList)
	}
	return append(slices.Clone(segments[:n]), newSegment(lists...))
}
