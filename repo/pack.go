package repo

import (
	"encoding/binary"
	"fmt"
)

// BlobType tells data blobs from tree blobs. The same ID may exist as both.
type BlobType uint8

// The types as restic's index spells them: "data" and "tree".
const (
	DataBlob BlobType = iota
	TreeBlob
)

// String is the type as restic's index spells it.
func (t BlobType) String() string {
	if t == TreeBlob {
		return "tree"
	}
	return "data"
}

const (
	// maxBlob bounds the plaintext of a data blob that we accept from a repository, in bytes.
	maxBlob = 16 << 20

	// maxTree bounds the plaintext of a tree blob. A folder is one blob however many entries it has (some 400 bytes
	// each) and however long its files are (67 bytes a chunk): this is room for 600,000 files, or for 7 TiB.
	maxTree = 256 << 20
)

// maxPlain bounds the plaintext of a blob of this type.
func (t BlobType) maxPlain() int {
	if t == TreeBlob {
		return maxTree
	}
	return maxBlob
}

// packedBlob is one entry of a pack's header.
type packedBlob struct {
	Type         BlobType
	ID           ID
	Offset       uint32
	Length       uint32 // as stored, with IV and MAC
	Uncompressed uint32 // plaintext length when compressed; 0 = stored plain
}

// plainLength is the blob's length as a reader sees it, in bytes.
func (b packedBlob) plainLength() int {
	if b.Uncompressed != 0 {
		return int(b.Uncompressed)
	}
	return int(b.Length) - overhead
}

// validate refuses lengths that no reader should allocate for.
func (b packedBlob) validate() error {
	limit := b.Type.maxPlain()
	switch {
	case b.Length < overhead:
		return fmt.Errorf("%w: blob %s has a stored length of %d bytes, less than encryption adds", ErrDamaged, b.ID, b.Length)
	case b.plainLength() > limit:
		return fmt.Errorf("%w: %s blob %s of %d bytes is larger than the %d bytes that we accept",
			ErrDamaged, b.Type, b.ID, b.plainLength(), limit)
	case int(b.Length) > limit+limit/64+overhead: // what zstd adds to data that it cannot compress is far less
		return fmt.Errorf("%w: %s blob %s takes %d bytes for %d", ErrDamaged, b.Type, b.ID, b.Length, b.plainLength())
	}
	return nil
}

// The header (restic-format: pack files). A pack is its blobs, then the sealed header, then the length of that:
//
//	blob 1 | … | blob n | IV | entry 1 … entry n, encrypted | MAC | length of IV … MAC, 4 bytes
//
// An entry is a type byte, the stored length, the plaintext length if compressed, and the ID.
const (
	plainEntry      = 1 + 4 + 32
	compressedEntry = 1 + 4 + 4 + 32
	trailer         = 4                               // the length of the sealed header, little-endian
	minPack         = plainEntry + overhead + trailer // one empty blob's entry
	maxHeader       = 16<<20 + trailer                // sealed header and trailer, as restic bounds it
)

// entryLength is the number of bytes of the blob's header entry.
func (b packedBlob) entryLength() int {
	if b.Uncompressed != 0 {
		return compressedEntry
	}
	return plainEntry
}

// headerLength is the number of bytes that the sealed header and its trailer take for these blobs:
// sum of entries + overhead + 4.
func headerLength(blobs []packedBlob) int {
	n := overhead + trailer
	for _, b := range blobs {
		n += b.entryLength()
	}
	return n
}

// packSize is the exact size that a pack of these blobs must have, in bytes.
func packSize(blobs []packedBlob) int64 {
	size := int64(headerLength(blobs))
	for _, b := range blobs {
		size += int64(b.Length)
	}
	return size
}

// appendHeader appends the sealed header and the 4-byte trailer to a pack that holds blobs, in order of Offset.
func appendHeader(pack []byte, blobs []packedBlob, k *masterKey) []byte {
	n := headerLength(blobs)
	plain := make([]byte, 0, n-overhead-trailer)
	for _, b := range blobs {
		plain = appendEntry(plain, b)
	}
	pack = k.seal(pack, plain)
	return binary.LittleEndian.AppendUint32(pack, uint32(n-trailer))
}

// appendEntry writes types 0 and 1 for plain, 2 and 3 for compressed data and trees.
func appendEntry(dst []byte, b packedBlob) []byte {
	kind := byte(b.Type)
	if b.Uncompressed != 0 {
		kind |= 2
	}
	dst = append(dst, kind)
	dst = binary.LittleEndian.AppendUint32(dst, b.Length)
	if b.Uncompressed != 0 {
		dst = binary.LittleEndian.AppendUint32(dst, b.Uncompressed)
	}
	return append(dst, b.ID[:]...)
}

// needTail tells how many bytes from the end of a pack of size bytes parseHeader needs, from the last four bytes (or
// more) of it.
func needTail(tail []byte, size int64) (int, error) {
	if size < minPack || len(tail) < trailer {
		return 0, fmt.Errorf("%w: a pack of %d bytes is too short to hold a blob", ErrDamaged, size)
	}
	n := int64(binary.LittleEndian.Uint32(tail[len(tail)-trailer:])) + trailer
	if n < minPack || n > maxHeader || n > size {
		return 0, fmt.Errorf("%w: the pack's last bytes tell of a header of %d bytes, which cannot be", ErrDamaged, n-trailer)
	}
	return int(n), nil
}

// parseHeader reads the header of a pack of size bytes, of which tail is the end (at least the last
// min(size, maxHeader) bytes, or enough of them: needTail tells how many). Offsets are filled in and proved to add up
// to the size exactly. Anything else is ErrDamaged.
func parseHeader(k *masterKey, tail []byte, size int64) ([]packedBlob, error) {
	n, err := needTail(tail, size)
	if err != nil {
		return nil, err
	}
	if n > len(tail) {
		return nil, fmt.Errorf("%w: the pack's header has %d bytes, but only the last %d could be read", ErrDamaged, n, len(tail))
	}
	plain, err := k.open(nil, tail[len(tail)-n:len(tail)-trailer])
	if err != nil {
		return nil, fmt.Errorf("header of the pack: %w", err)
	}
	blobs := make([]packedBlob, 0, len(plain)/plainEntry)
	end := int64(0)
	for len(plain) > 0 {
		var b packedBlob
		if b, plain, err = cutEntry(plain); err != nil {
			return nil, err
		}
		if end > size {
			break
		}
		b.Offset = uint32(end)
		end += int64(b.Length)
		blobs = append(blobs, b)
	}
	if end+int64(n) != size || size > 1<<32 {
		return nil, fmt.Errorf("%w: the pack's header tells of %d bytes, but it has %d", ErrDamaged, end+int64(n), size)
	}
	return blobs, nil
}

// cutEntry reads the first entry of a header, and returns what follows it.
func cutEntry(p []byte) (b packedBlob, rest []byte, err error) {
	kind := p[0]
	length := plainEntry
	if kind&2 != 0 {
		length = compressedEntry
	}
	if kind > 3 || len(p) < length {
		return b, nil, fmt.Errorf("%w: the pack's header has an entry of type %d and %d bytes", ErrDamaged, kind, len(p))
	}
	b.Type = BlobType(kind & 1)
	b.Length = binary.LittleEndian.Uint32(p[1:])
	if kind&2 != 0 {
		if b.Uncompressed = binary.LittleEndian.Uint32(p[5:]); b.Uncompressed == 0 {
			return b, nil, fmt.Errorf("%w: the pack's header has a compressed blob without a length", ErrDamaged)
		}
	}
	b.ID = ID(p[length-len(b.ID):])
	return b, p[length:], b.validate()
}
