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

// indexList is the content of index files: packs, and the blobs in them.
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

// addList appends a copy of another list. A pack that is in both is there twice then, which only costs its 32 bytes.
func (l *indexList) addList(other *indexList) {
	base := uint32(len(l.packs))
	l.packs = append(l.packs, other.packs...)
	for t := range l.entries {
		start := len(l.entries[t])
		l.entries[t] = append(l.entries[t], other.entries[t]...)
		for i := start; i < len(l.entries[t]); i++ {
			l.entries[t][i].pack += base
		}
	}
}

// reserve makes room for a list that is about to be added, from a file of so many bytes, and for what is expected in all
// the bytes that are left, if there is none.
func (l *indexList) reserve(next *indexList, size, left int64) {
	for t := range l.entries {
		n := len(next.entries[t])
		if cap(l.entries[t])-len(l.entries[t]) >= n {
			continue
		}
		expected := float64(n) * 1.02 * float64(left) / float64(max(size, 1))
		most := float64(left) / 32 // since an ID alone takes that much, whatever a file that compresses well makes us expect
		l.entries[t] = slices.Grow(l.entries[t], max(n, int(min(expected, most))))
	}
}

// segment is an immutable, sorted part of the index. IDs are hashes, so that their first bits spread them evenly over
// buckets of about eight: a lookup is one step into the table of buckets and a bisection of one of them.
type segment struct {
	indexList             // entries are sorted by ID
	starts    [2][]uint32 // starts[t][i] is where bucket i begins in entries[t]; one more tells the end of the last
}

const bucketSize = 8

// newSegment sorts a list, which is the segment's from then on. It takes linear time and no memory: entries are counted
// by bucket, swapped into their bucket, and the few in each sorted.
func newSegment(list indexList) *segment {
	s := &segment{indexList: list}
	for t, entries := range s.entries {
		starts := make([]uint32, 1<<bits.Len(uint(len(entries)/bucketSize))+1)
		s.starts[t] = starts
		for i := range entries {
			starts[s.bucket(t, &entries[i].id)+1]++
		}
		for i := range starts[1:] {
			starts[i+1] += starts[i]
		}
		next := slices.Clone(starts) // where the next entry of a bucket belongs
		for b := range starts[1:] {
			for next[b] < starts[b+1] {
				e := &entries[next[b]]
				home := s.bucket(t, &e.id)
				if home != b {
					other := &entries[next[home]]
					*e, *other = *other, *e
				}
				next[home]++
			}
			slices.SortFunc(entries[starts[b]:starts[b+1]], func(x, y indexEntry) int { return compareIDs(&x.id, &y.id) })
		}
	}
	return s
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

// pushSegment adds a list to segments as a new one, merged with as many at the end as it takes for each segment to be
// at least twice as large as the next. The list is given away; the given slice is not changed.
func pushSegment(segments []*segment, list indexList) []*segment {
	size := list.len()
	if size == 0 {
		return segments
	}
	n := len(segments)
	for n > 0 && segments[n-1].len() < 2*size {
		n--
		size += segments[n].len()
	}
	if n < len(segments) {
		list = concat(append(indexLists(segments[n:]), &list))
	}
	return append(slices.Clone(segments[:n]), newSegment(list))
}

func indexLists(segments []*segment) []*indexList {
	lists := make([]*indexList, len(segments), len(segments)+1)
	for i, s := range segments {
		lists[i] = &s.indexList
	}
	return lists
}

// concat copies lists into one.
func concat(lists []*indexList) (all indexList) {
	for t := range all.entries {
		n := 0
		for _, l := range lists {
			n += len(l.entries[t])
		}
		all.entries[t] = make([]indexEntry, 0, n)
	}
	for _, l := range lists {
		all.addList(l)
	}
	return all
}
