package repo

// compressor compresses blobs; one per worker, buffers are reused. Not for use by several goroutines at once.
type compressor struct{}

func newCompressor(c Compression) *compressor { panic("to come") }

// compress appends one zstd frame holding plain to dst (window as large as maxBlob, no checksum, content size present).
func (c *compressor) compress(dst, plain []byte) []byte { panic("to come") }

// decompressor undoes compress, and any valid zstd data, within a bound. Not for use by several goroutines at once.
type decompressor struct{}

func newDecompressor() *decompressor { panic("to come") }

// decompress appends the plaintext of data to dst. More than limit bytes, or invalid data, is ErrDamaged; never
// allocates beyond the limit (plus a small constant), whatever the frame header claims.
func (d *decompressor) decompress(dst, data []byte, limit int) ([]byte, error) { panic("to come") }
