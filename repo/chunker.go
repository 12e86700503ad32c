package repo

import (
	"encoding/binary"
	"strconv"

	"github.com/minio/sha256-simd"
)

// ChunkerVersion names how streams are cut; it stands in every manifest. Readers do not need it: any cut is valid.
// A repository whose chunker changed stores everything once more, so the constants below are fixed for ever under this
// name.
const ChunkerVersion = "gear-1"

// Lengths of chunks in bytes: none is shorter than minChunk but the last of a stream, none longer than maxChunk, and
// most are close to two MiB: large chunks compress well and cost few references. Cuts are rarer before normalChunk than
// behind it, which keeps the lengths together (normalised chunking: Xia et al., FastCDC, USENIX ATC 2016); fewer than
// one chunk in a hundred is cut for its length alone. Memory everywhere goes with maxChunk.
const (
	minChunk    = 512 << 10
	normalChunk = 1792 << 10
	maxChunk    = 4 << 20
)

// A position is a cut when these bits of the rolling hash are zero: 23 bits before normalChunk, 19 behind it. The bits
// are high ones because those depend on all of the last 64 bytes.
const (
	strictMask = (1<<23 - 1) << 40
	looseMask  = (1<<19 - 1) << 44
	gearWindow = 64 // bytes after which a byte has left the hash
)

// gearTable maps bytes to random words; it is what makes cuts depend on the content.
type gearTable [256]uint64

// newGearTable derives the table from the repository's chunker polynomial, which is random and secret: lengths of
// chunks then tell nothing about known files. Word i is the first 8 bytes, little-endian, of
// SHA-256("caddy-backup gear-1" || polynomial as 8 bytes big-endian || byte i).
func newGearTable(polynomial string) (*gearTable, error) {
	p, err := strconv.ParseUint(polynomial, 16, 64)
	if err != nil {
		return nil, err
	}
	seed := binary.BigEndian.AppendUint64([]byte("caddy-backup "+ChunkerVersion), p)
	var t gearTable
	for i := range t {
		sum := sha256.Sum256(append(seed[:len(seed):len(seed)], byte(i)))
		t[i] = binary.LittleEndian.Uint64(sum[:])
	}
	return &t, nil
}

// cutter finds the end of one chunk after the other. The zero position is the start of a chunk. It is the seam for
// other ways of cutting (two levels, whole pages): they need the same method.
type cutter struct {
	table *gearTable
	n     int    // bytes of the chunk that were looked at
	hash  uint64 // gear hash after byte n
}

// cut looks at a chunk that began at chunk[0] and returns its length, or 0 when its end has not been seen yet; then the
// same bytes with more behind them must be given next. After a cut the next chunk starts afresh.
func (c *cutter) cut(chunk []byte) int {
	// The hash sees the last 64 bytes only, so everything before that window of the first possible cut can be skipped.
	c.n = max(c.n, minChunk-gearWindow)
	if end := min(minChunk-1, len(chunk)); c.n < end {
		c.warm(chunk[c.n:end])
	}
	if end := min(normalChunk, len(chunk)); c.n < end && c.scan(chunk[c.n:end], strictMask) {
		return c.restart()
	}
	if end := min(maxChunk, len(chunk)); c.n < end && c.scan(chunk[c.n:end], looseMask) {
		return c.restart()
	}
	if c.n == maxChunk {
		return c.restart()
	}
	return 0
}

// scan rolls the hash over p and stops behind the first byte at which it fits the mask. It takes two bytes a step: each
// hash needs the one before, and that chain, not the work, is what bounds a byte at a time.
func (c *cutter) scan(p []byte, mask uint64) bool {
	h, table := c.hash, c.table
	i := 0
	for ; i+2 <= len(p); i += 2 {
		first, second := table[p[i]], table[p[i+1]]
		between := h<<1 + first
		h = h<<2 + (first<<1 + second)
		if between&mask == 0 {
			return c.stop(i+1, between)
		}
		if h&mask == 0 {
			return c.stop(i+2, h)
		}
	}
	if i < len(p) {
		h = h<<1 + table[p[i]]
		if h&mask == 0 {
			return c.stop(len(p), h)
		}
	}
	c.n, c.hash = c.n+len(p), h
	return false
}

func (c *cutter) stop(n int, hash uint64) bool {
	c.n, c.hash = c.n+n, hash
	return true
}

// warm rolls the hash over bytes at which no cut is possible.
func (c *cutter) warm(p []byte) {
	for _, b := range p {
		c.hash = c.hash<<1 + c.table[b]
	}
	c.n += len(p)
}

func (c *cutter) restart() int {
	n := c.n
	c.n, c.hash = 0, 0
	return n
}
