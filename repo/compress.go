package repo

import (
	"errors"
	"fmt"
	"slices"

	"github.com/klauspost/compress/zstd"
)

const (
	// How far back compression looks. An encoder takes this much memory, and there is one per worker; with the default
	// level the tables forget what is further back than 4 MiB anyway (8 MiB saved 0.01 %). Never more than 8 MiB:
	// RFC 9659 lets browsers refuse that, and our downloads hand stored frames through.
	defaultWindow = 4 << 20
	maxWindow     = 8 << 20

	// readWindow is what a reader accepts: the largest that the zstd program makes without --ultra or --long.
	// Decoding writes straight into the result, so a large window costs no memory of its own.
	readWindow = 128 << 20

	// decoderSlack is room behind the result that lets the decoder use its fast copy loops up to the last byte.
	decoderSlack = 32
)

// compressor compresses blobs; one per worker, buffers are reused. Not for use by several goroutines at once.
type compressor struct{ zstd *zstd.Encoder }

// newCompressor returns a compressor of that level. CompressionOff is the default level: trees and unpacked files are
// compressed all the same, and it is the writer that leaves data blobs alone.
func newCompressor(c Compression) *compressor {
	level, window := zstd.SpeedDefault, defaultWindow
	if c == CompressionMax {
		level, window = zstd.SpeedBestCompression, maxWindow
	}
	e, err := zstd.NewWriter(nil,
		zstd.WithEncoderLevel(level),
		zstd.WithWindowSize(window),
		zstd.WithEncoderConcurrency(1),
		zstd.WithEncoderCRC(false), // the MAC and the SHA-256 do that
		zstd.WithLowerEncoderMem(true),
		zstd.WithZeroFrames(true),
	)
	if err != nil {
		panic(err) // wrong options: cannot happen
	}
	return &compressor{e}
}

// compress appends one zstd frame holding plain to dst: no checksum, and the content size in it unless the frame is
// tiny.
func (c *compressor) compress(dst, plain []byte) []byte { return c.zstd.EncodeAll(plain, dst) }

// decompressor undoes compress, and any valid zstd data, within a bound. Not for use by several goroutines at once.
type decompressor struct{ zstd *zstd.Decoder }

func newDecompressor() *decompressor {
	d, err := zstd.NewReader(nil,
		zstd.WithDecoderConcurrency(1),
		zstd.WithDecoderLowmem(true),
		zstd.WithDecoderMaxWindow(readWindow),
		zstd.WithDecoderMaxMemory(max(maxUnpacked, maxTree, maxBlob)+decoderSlack),
		zstd.WithDecodeAllCapLimit(true), // never more than the room that we give it
	)
	if err != nil {
		panic(err) // wrong options: cannot happen
	}
	return &decompressor{d}
}

// decompress appends the plaintext of data to dst. More than limit bytes, or invalid data, is ErrDamaged; never
// allocates beyond the limit (plus a small constant), whatever the frame header claims.
func (d *decompressor) decompress(dst, data []byte, limit int) ([]byte, error) {
	for room := d.guess(data, limit); ; room = min(4*room, limit) {
		start := len(dst)
		dst = slices.Grow(dst, room+decoderSlack)
		end := start + room + decoderSlack
		plain, err := d.zstd.DecodeAll(data, dst[start:start:end])
		switch {
		case err == nil && len(plain) <= limit:
			return dst[:start+len(plain)], nil
		case err == nil:
			return dst, fmt.Errorf("%w: it decompresses to more than %d bytes", ErrDamaged, limit)
		case !errors.Is(err, zstd.ErrDecoderSizeExceeded) || room == limit:
			return dst, fmt.Errorf("%w: cannot decompress to at most %d bytes: %w", ErrDamaged, limit, err)
		}
	}
}

// guess is the room to try first, so that a limit that is only a cap (unpacked files) is not what is allocated. What
// the frame header claims is believed up to the limit only; it may be absent, or of the first of several frames.
func (d *decompressor) guess(data []byte, limit int) int {
	room := max(8*len(data), 4<<10)
	var h zstd.Header
	if h.Decode(data) == nil && h.HasFCS && h.FrameContentSize <= uint64(limit) {
		room = max(int(h.FrameContentSize), 1)
	}
	return min(room, limit)
}
