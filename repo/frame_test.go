package repo

import (
	"bytes"
	"errors"
	"slices"
	"testing"

	"github.com/klauspost/compress/zstd"
)

// browser decodes as an HTTP client does: no window above 8 MiB (RFC 9659).
func browser(t testing.TB) *zstd.Decoder {
	t.Helper()
	d, err := zstd.NewReader(nil, zstd.WithDecoderMaxWindow(8<<20), zstd.WithDecoderConcurrency(1))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.Close)
	return d
}

func TestRawFrame(t *testing.T) {
	d := browser(t)
	for _, n := range []int{0, 1, 2, 255, 256, 65792, rawBlock - 1, rawBlock, rawBlock + 1, 3 * rawBlock, 1<<20 + 7, maxFramed} {
		data := noise(n)
		frame := appendRawFrame([]byte("before"), data)[len("before"):]
		if len(frame) != rawFrameLength(n) {
			t.Errorf("%d bytes: the frame has %d bytes, foretold were %d", n, len(frame), rawFrameLength(n))
		}
		if got, err := d.DecodeAll(frame, nil); err != nil || !bytes.Equal(got, data) {
			t.Errorf("%d bytes: read back %d, %v", n, len(got), err)
		}
		if err := narrowWindows(frame); err != nil {
			t.Errorf("%d bytes: %v", n, err)
		}
	}
}

// stream compresses as a program does that does not know the length beforehand: the header asks for the whole window.
func stream(t testing.TB, window int, data []byte, o ...zstd.EOption) []byte {
	t.Helper()
	var b bytes.Buffer
	e, err := zstd.NewWriter(&b, append(o, zstd.WithWindowSize(window), zstd.WithEncoderConcurrency(1))...)
	if err != nil {
		t.Fatal(err)
	}
	for part := range slices.Chunk(data, 100_000) {
		if _, err := e.Write(part); err != nil {
			t.Fatal(err)
		}
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestNarrowWindows(t *testing.T) {
	if testing.Short() {
		t.Skip("one thing after the other: no races to be found")
	}
	d := browser(t)
	data := sqlText(3 << 20)
	skippable := append([]byte{0x50, 0x2A, 0x4D, 0x18, 3, 0, 0, 0}, "abc"...)
	zeros := make([]byte, 300<<10) // blocks of one byte, repeated
	for name, frames := range map[string][][]byte{
		"narrow":           {newCompressor(CompressionAuto).compress(nil, data)},
		"wide":             {stream(t, 128<<20, data)},
		"wide, a checksum": {stream(t, 32<<20, data, zstd.WithEncoderCRC(true))},
		"several": {stream(t, 64<<20, data[:1<<20], zstd.WithEncoderCRC(true)), skippable, stream(t, 1<<20, zeros),
			stream(t, 16<<20, data[1<<20:]), appendRawFrame(nil, data[:5])},
	} {
		all := bytes.Join(frames, nil)
		want, err := newDecompressor().decompress(nil, all, maxFramed)
		if err != nil {
			t.Fatal(err)
		}
		cut := bytes.Clone(all[:len(all)-1])
		if err := narrowWindows(all); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if got, err := d.DecodeAll(all, nil); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: %d bytes of %d, %v", name, len(got), len(want), err)
		}
		if err := narrowWindows(cut); !errors.Is(err, ErrDamaged) {
			t.Errorf("%s: cut short: %v", name, err)
		}
	}
}

// What a reader could decode, a browser can decode afterwards, to the same.
func FuzzNarrowWindows(f *testing.F) {
	f.Add(stream(f, 32<<20, sqlText(1000)))
	f.Add(append(stream(f, 16<<20, sqlText(50), zstd.WithEncoderCRC(true)), appendRawFrame(nil, []byte("raw"))...))
	f.Add([]byte{0x50, 0x2A, 0x4D, 0x18, 0xff, 0xff, 0xff, 0xff})
	d, reader := browser(f), newDecompressor()
	f.Fuzz(func(t *testing.T, data []byte) {
		want, err := reader.decompress(nil, data, 1<<20)
		if narrowed := narrowWindows(data); err == nil && narrowed != nil {
			t.Fatalf("refused: %v", narrowed)
		}
		if err != nil {
			return
		}
		if got, err := d.DecodeAll(data, nil); err != nil || !bytes.Equal(got, want) {
			t.Fatalf("%d bytes of %d, %v", len(got), len(want), err)
		}
	})
}

func TestBlobCache(t *testing.T) {
	c := blobCache{limit: 100}
	key := func(i byte) blobKey { return blobKey{DataBlob, ID{i}} }
	for i := range byte(10) {
		c.put(key(i), i, 10)
	}
	c.get(key(0))
	c.put(key(10), 10, 15) // pushes out what was not used for longest: 1 and 2
	c.put(key(11), 11, 26) // larger than a quarter
	for i := range byte(12) {
		if has := c.get(key(i)) != nil; has != (i != 1 && i != 2 && i != 11) {
			t.Errorf("blob %d: there %v", i, has)
		}
	}
	if c.size != 95 || c.order.Len() != 9 {
		t.Errorf("%d bytes in %d blobs", c.size, c.order.Len())
	}
	c.put(key(10), 0, 5) // it is there
	if c.get(key(10)) != 10 || c.get(blobKey{TreeBlob, ID{0}}) != nil {
		t.Error("a blob was replaced, or taken for a tree")
	}
}
