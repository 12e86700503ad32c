package repo

// BlobType tells data blobs from tree blobs. The same ID may exist as both.
type BlobType uint8

// The types as restic's index spells them: "data" and "tree".
const (
	DataBlob BlobType = iota
	TreeBlob
)

// maxBlob bounds the plaintext of a blob that we accept from a repository, in bytes.
const maxBlob = 16 << 20

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

// headerLength is the number of bytes that the sealed header and its trailer take for these blobs:
// sum of entries + overhead + 4.
func headerLength(blobs []packedBlob) int { panic("to come") }

// appendHeader appends the sealed header and the 4-byte trailer to a pack that holds blobs, in order of Offset.
func appendHeader(pack []byte, blobs []packedBlob, k *masterKey) []byte { panic("to come") }

// parseHeader reads the header of a pack of size bytes, of which tail is the end (at least the last
// min(size, maxHeader) bytes, or enough of them: needTail tells how many). Offsets are filled in and proved to add up
// to the size exactly. Anything else is ErrDamaged.
func parseHeader(k *masterKey, tail []byte, size int64) ([]packedBlob, error) { panic("to come") }
