package repo

import (
	"encoding/binary"
	"fmt"

	"github.com/klauspost/compress/zstd"
)

// Stored blobs as zstd frames (RFC 8878). A compressed blob is one, or several behind each other; a plain one is wrapped
// into a frame of raw blocks. Frames behind each other decompress to what is in them, in order, so that a whole file can
// leave without being decompressed. RFC 9659 lets HTTP clients refuse windows above 8 MiB.

// maxFramed is the longest blob that leaves as a frame, in bytes of plaintext.
const maxFramed = maxWindow

// form is how the blobs of a file leave: as their plaintext, or as frames.
type form int

const (
	plain form = iota
	framed
)

// length is the number of bytes in which the blob leaves.
func (f form) length(b packedBlob) int {
	switch {
	case f == plain:
		return b.plainLength()
	case b.Uncompressed != 0:
		return int(b.Length) - overhead
	}
	return rawFrameLength(b.plainLength())
}

// open turns a sealed blob into what leaves, appended to dst. Anything that is not what was stored is ErrDamaged.
func (f form) open(r *Repository, dst []byte, b packedBlob, sealed []byte, s *scratch) ([]byte, error) {
	if f == plain {
		return r.openBlob(dst, b, sealed, s)
	}
	return r.openFrame(dst, b, sealed, s)
}

// openFrame is openBlob for frames. Only the MAC is proved, which vouches for whoever wrote the blob.
func (r *Repository) openFrame(dst []byte, b packedBlob, sealed []byte, s *scratch) (_ []byte, err error) {
	if b.Uncompressed == 0 {
		if s.packed, err = r.key.open(s.packed[:0], sealed); err != nil {
			return nil, err
		}
		return appendRawFrame(dst, s.packed), nil
	}
	start := len(dst)
	if dst, err = r.key.open(dst, sealed); err != nil {
		return nil, err
	}
	return dst, narrowWindows(dst[start:])
}

const (
	frameMagic    = 0xFD2FB528
	rawBlock      = 128 << 10 // the longest block that there is, in bytes
	rawFrameStart = 4 + 1 + 4 // magic, descriptor, content size
	blockHeader   = 3
	singleSegment = 1 << 5 // of the descriptor: no window byte, the window is the content
	contentSize4  = 2 << 6 // of the descriptor: the content size has four bytes
)

// rawFrameLength is the length of appendRawFrame's frame for n bytes.
func rawFrameLength(n int) int {
	if n == 0 {
		return 0
	}
	return rawFrameStart + (n+rawBlock-1)/rawBlock*blockHeader + n
}

// appendRawFrame appends one frame that holds data as it is; nothing for no data.
func appendRawFrame(dst, data []byte) []byte {
	if len(data) == 0 {
		return dst
	}
	dst = binary.LittleEndian.AppendUint32(dst, frameMagic)
	dst = append(dst, contentSize4|singleSegment)
	dst = binary.LittleEndian.AppendUint32(dst, uint32(len(data)))
	for len(data) > 0 {
		n := min(len(data), rawBlock)
		header := uint32(n) << 3 // type 0: raw
		if n == len(data) {
			header |= 1 // the last
		}
		dst = append(dst, byte(header), byte(header>>8), byte(header>>16))
		dst = append(dst, data[:n]...)
		data = data[n:]
	}
	return dst
}

// windowByte is the window descriptor that means maxWindow: 1 << (10 + 13) bytes.
const windowByte = 13 << 3

// narrowWindows has every frame of a blob ask for a window of no more than maxWindow. A blob that is no longer than that
// never looks further back, whatever its frames say, so that one byte in their header can be put right.
func narrowWindows(frames []byte) error {
	for len(frames) > 0 {
		var h zstd.Header
		if err := h.Decode(frames); err != nil {
			return fmt.Errorf("%w: the blob is no zstd frame: %w", ErrDamaged, err)
		}
		if h.WindowSize > maxWindow && !h.SingleSegment && !h.Skippable {
			frames[5] = windowByte // behind magic and descriptor
		}
		n := frameLength(frames, h)
		if n > uint64(len(frames)) {
			return fmt.Errorf("%w: the blob is cut in the middle of a zstd frame", ErrDamaged)
		}
		frames = frames[n:]
	}
	return nil
}

// frameLength is the length of the frame at the beginning of data, which may be more than data holds.
func frameLength(data []byte, h zstd.Header) uint64 {
	n := uint64(h.HeaderSize)
	if h.Skippable {
		return n + uint64(h.SkippableSize)
	}
	for last := false; !last; {
		if n+blockHeader > uint64(len(data)) {
			return n + blockHeader
		}
		header := uint64(data[n]) | uint64(data[n+1])<<8 | uint64(data[n+2])<<16
		size := header >> 3
		if header>>1&3 == 1 { // one byte, repeated
			size = 1
		}
		last = header&1 == 1
		n += blockHeader + size
	}
	if h.HasCheckSum {
		n += 4
	}
	return n
}
