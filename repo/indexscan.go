package repo

import (
	"bytes"
	"encoding/hex"
)

// indexScanner reads index files in exactly the form in which restic and we write them, some ten times as fast as
// encoding/json: with a million blobs that is what opening a repository costs.
type indexScanner struct{ rest []byte }

// scanIndex returns nil for a file that has any other form, or anything wrong in it; the caller decodes it again, and
// finds out which.
func scanIndex(text []byte, version uint) *indexList {
	s := indexScanner{text}
	list := new(indexList)
	for t := range list.entries { // the exact sizes, so that nothing is copied or wasted by growing
		list.entries[t] = make([]indexEntry, 0, bytes.Count(text, []byte(`,"type":"`+BlobType(t).String()+`",`)))
	}
	if !s.skip(`{"packs":[`) || !s.skip("]") && !s.packs(list, version) {
		return nil
	}
	if !s.skip("}") || len(bytes.TrimRight(s.rest, "\n")) > 0 {
		return nil
	}
	return list
}

func (s *indexScanner) packs(list *indexList, version uint) bool {
	for s.pack(list, version) {
		if !s.skip(",") {
			return s.skip("]")
		}
	}
	return false
}

func (s *indexScanner) pack(list *indexList, version uint) bool {
	if !s.skip(`{"id":"`) {
		return false
	}
	id, ok := s.id()
	if !ok || !s.skip(`","blobs":[`) {
		return false
	}
	list.addPack(id)
	for {
		b, ok := s.blob(version)
		if !ok {
			return false
		}
		list.addBlob(b)
		if !s.skip(",") {
			return s.skip("]}")
		}
	}
}

func (s *indexScanner) blob(version uint) (packedBlob, bool) {
	if !s.skip(`{"id":"`) {
		return packedBlob{}, false
	}
	id, ok := s.id()
	b := indexBlob{ID: id, Type: "data"}
	if !ok || !s.skip(`","type":"data","offset":`) {
		if b.Type = "tree"; !ok || !s.skip(`","type":"tree","offset":`) {
			return packedBlob{}, false
		}
	}
	if b.Offset, ok = s.number(); !ok || !s.skip(`,"length":`) {
		return packedBlob{}, false
	}
	if b.Length, ok = s.number(); !ok {
		return packedBlob{}, false
	}
	if s.skip(`,"uncompressed_length":`) {
		if b.Uncompressed, ok = s.number(); !ok {
			return packedBlob{}, false
		}
	}
	if !s.skip("}") {
		return packedBlob{}, false
	}
	p, err := b.packed(version)
	return p, err == nil
}

// skip reads the given text, if it comes next.
func (s *indexScanner) skip(text string) bool {
	if len(s.rest) < len(text) || string(s.rest[:len(text)]) != text {
		return false
	}
	s.rest = s.rest[len(text):]
	return true
}

func (s *indexScanner) id() (id ID, ok bool) {
	if len(s.rest) < 64 {
		return id, false
	}
	for _, c := range s.rest[:64] {
		if c >= 'A' && c <= 'F' {
			return id, false
		}
	}
	_, err := hex.Decode(id[:], s.rest[:64])
	s.rest = s.rest[64:]
	return id, err == nil && !id.IsZero()
}

// number reads what JSON calls a number and is a whole one of at most ten digits.
func (s *indexScanner) number() (n int64, ok bool) {
	i := 0
	for i < len(s.rest) && i < 11 && s.rest[i] >= '0' && s.rest[i] <= '9' {
		n = 10*n + int64(s.rest[i]-'0')
		i++
	}
	ok = i > 0 && i < 11 && (s.rest[0] != '0' || i == 1)
	s.rest = s.rest[i:]
	return n, ok
}
