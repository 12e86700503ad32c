package repo

import (
	"bytes"
	"encoding/binary"
	"slices"
)

// indexEntry is a blob in a segment, 48 bytes.
type indexEntry struct {
	id           ID
	pack         uint32 // its place in segment.packs
	offset       uint32
	length       uint32
	uncompressed uint32
}

// segment is an immutable part of the index.
type segment struct {
	packs   []ID
	entries [2][]indexEntry // by BlobType, sorted by ID
}

func (s *segment) len() int { return len(s.entries[DataBlob]) + len(s.entries[TreeBlob]) }

// add appends a pack; sort must follow.
func (s *segment) add(pack ID, blobs []packedBlob) {
	n := uint32(len(s.packs))
	s.packs = append(s.packs, pack)
	for _, b := range blobs {
		s.entries[b.Type] = append(s.entries[b.Type], indexEntry{b.ID, n, b.Offset, b.Length, b.Uncompressed})
	}
}

func (s *segment) sort() {
	for t := range s.entries {
		slices.SortFunc(s.entries[t], func(a, b indexEntry) int { return compareIDs(&a.id, &b.id) })
	}
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

// find returns the place of the first entry with this ID, or -1.
func (s *segment) find(t BlobType, id ID) int {
	list := s.entries[t]
	low, high := 0, len(list)
	for low < high {
		mid := int(uint(low+high) / 2)
		if compareIDs(&list[mid].id, &id) < 0 {
			low = mid + 1
		} else {
			high = mid
		}
	}
	if low < len(list) && list[low].id == id {
		return low
	}
	return -1
}

func (s *segment) location(t BlobType, i int) location {
	e := &s.entries[t][i]
	return location{s.packs[e.pack], packedBlob{t, e.id, e.offset, e.length, e.uncompressed}}
}

// pushSegment adds a segment to a list, and merges from its end until each is at least twice as large as the next.
// The list itself is not changed.
func pushSegment(list []*segment, s *segment) []*segment {
	if s.len() == 0 {
		return list
	}
	n := len(list)
	size := s.len()
	for n > 0 && list[n-1].len() < 2*size {
		n--
		size += list[n].len()
	}
	if n < len(list) {
		s = mergeSegments(append(slices.Clone(list[n:]), s))
	}
	return append(slices.Clone(list[:n]), s)
}

// mergeSegments makes one of several. Sorting the whole again takes no memory beside the result, and sorted runs sort
// fast.
func mergeSegments(parts []*segment) *segment {
	if len(parts) == 1 {
		return parts[0]
	}
	out := new(segment)
	var n [2]int
	for _, p := range parts {
		n[0] += len(p.entries[0])
		n[1] += len(p.entries[1])
	}
	for t := range n {
		out.entries[t] = make([]indexEntry, 0, n[t])
	}
	places := make(map[ID]uint32)
	for _, p := range parts {
		renumber := make([]uint32, len(p.packs))
		for i, id := range p.packs {
			place, ok := places[id]
			if !ok {
				place = uint32(len(out.packs))
				places[id] = place
				out.packs = append(out.packs, id)
			}
			renumber[i] = place
		}
		for t := range p.entries {
			start := len(out.entries[t])
			out.entries[t] = append(out.entries[t], p.entries[t]...)
			for i := range out.entries[t][start:] {
				e := &out.entries[t][start+i]
				e.pack = renumber[e.pack]
			}
		}
	}
	out.sort()
	return out
}
