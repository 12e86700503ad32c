package repo

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"testing"

	"github.com/klauspost/compress/zstd"
)

// sqlText is text like that of a dump, always the same.
func sqlText(n int) []byte {
	rnd := rand.New(rand.NewPCG(1, 2))
	b := make([]byte, 0, n+200)
	for i := 0; len(b) < n; i++ {
		b = fmt.Appendf(b, "%d\tcustomer-%d\t2024-%02d-%02d %02d:%02d:00\t%d.%02d\t\\N\tactive\n",
			i, rnd.IntN(50000), 1+rnd.IntN(12), 1+rnd.IntN(28), rnd.IntN(24), rnd.IntN(60), rnd.IntN(1000), rnd.IntN(100))
	}
	return b[:n]
}

func noise(n int) []byte {
	b := make([]byte, n)
	c := rand.NewChaCha8([32]byte{1})
	c.Read(b)
	return b
}

func TestCompress(t *testing.T) {
	d := newDecompressor()
	plains := [][]byte{{}, {1}, sqlText(100), sqlText(300 << 10), noise(1 << 20)}
	if !testing.Short() {
		plains = append(plains, sqlText(9<<20), make([]byte, 8<<20))
	}
	for _, level := range []Compression{CompressionAuto, CompressionMax, CompressionOff} {
		c := newCompressor(level)
		for _, plain := range plains {
			z := c.compress([]byte("ab"), plain)
			if string(z[:2]) != "ab" {
				t.Fatal("compress does not append")
			}
			var h zstd.Header // frames below 256 bytes have no room for their size
			if err := h.Decode(z[2:]); err != nil || h.HasFCS != (len(plain) >= 256 || len(plain) == 0) ||
				int(h.FrameContentSize) != len(plain) && h.HasFCS || h.HasCheckSum || h.WindowSize > 8<<20 {
				t.Errorf("%s, %d bytes: header %+v, %v", level, len(plain), h, err)
			}
			got, err := d.decompress([]byte("cd"), z[2:], len(plain))
			if err != nil || string(got[:2]) != "cd" || !bytes.Equal(got[2:], plain) {
				t.Errorf("%s, %d bytes: %v", level, len(plain), err)
			}
			if len(plain) > 0 {
				if got, err := d.decompress(nil, z[2:], len(plain)-1); !errors.Is(err, ErrDamaged) || len(got) > 0 {
					t.Errorf("%s, %d bytes with a limit one too small: %d bytes, %v", level, len(plain), len(got), err)
				}
			}
		}
	}
}

// TestForeignFrames reads what other writers of zstd may make.
func TestForeignFrames(t *testing.T) {
	if testing.Short() {
		t.Skip("one thing after the other: no races to be found")
	}
	plain := sqlText(3 << 20)
	encode := func(o ...zstd.EOption) []byte {
		e, err := zstd.NewWriter(nil, append(o, zstd.WithEncoderConcurrency(1))...)
		if err != nil {
			t.Fatal(err)
		}
		return e.EncodeAll(plain, nil)
	}
	stream := func(o ...zstd.EOption) []byte { // a stream does not know its size
		var b bytes.Buffer
		e, err := zstd.NewWriter(&b, append(o, zstd.WithEncoderConcurrency(1))...)
		if err != nil {
			t.Fatal(err)
		}
		for p := plain; len(p) > 0; p = p[min(len(p), 100_000):] {
			e.Write(p[:min(len(p), 100_000)])
		}
		if err := e.Close(); err != nil {
			t.Fatal(err)
		}
		return b.Bytes()
	}
	plainHalf := func(from, to int) []byte { return newCompressor(CompressionAuto).compress(nil, plain[from:to]) }
	skippable := []byte{0x50, 0x2a, 0x4d, 0x18, 4, 0, 0, 0, 1, 2, 3, 4}
	for name, z := range map[string][]byte{
		"checksum":           encode(zstd.WithEncoderCRC(true)),
		"512 KiB window":     encode(zstd.WithWindowSize(512 << 10)),
		"no size":            stream(),
		"8 MiB window":       stream(zstd.WithWindowSize(8 << 20)),
		"64 MiB window":      stream(zstd.WithWindowSize(64 << 20)),
		"two frames":         append(plainHalf(0, 1000), plainHalf(1000, len(plain))...),
		"many frames":        append(append(plainHalf(0, 1<<20), plainHalf(1<<20, 2<<20)...), plainHalf(2<<20, len(plain))...),
		"skippable in front": append(bytes.Clone(skippable), plainHalf(0, len(plain))...),
		"skippable behind":   append(plainHalf(0, len(plain)), skippable...),
	} {
		for _, limit := range []int{len(plain), len(plain) + 1, maxUnpacked} {
			got, err := newDecompressor().decompress(nil, z, limit)
			if err != nil || !bytes.Equal(got, plain) {
				t.Errorf("%s, limit %d: %d bytes, %v", name, limit, len(got), err)
			}
		}
		if _, err := newDecompressor().decompress(nil, z, len(plain)-1); !errors.Is(err, ErrDamaged) {
			t.Errorf("%s, limit too small: %v", name, err)
		}
	}
}

// TestBombs decompresses what claims or makes far more than the limit: it fails, and allocates little.
func TestBombs(t *testing.T) {
	zeros, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1))
	if err != nil {
		t.Fatal(err)
	}
	bomb := zeros.EncodeAll(make([]byte, 100<<20), nil)
	claim := []byte{0x28, 0xb5, 0x2f, 0xfd, 0xe0, 0, 0, 0, 0, 0, 0, 0, 0x10, 0x03, 0, 0} // 1 EiB in a single segment
	window := []byte{0x28, 0xb5, 0x2f, 0xfd, 0x00, 0xff, 0x01, 0, 0}                     // a window of 3.75 TiB
	for name, data := range map[string][]byte{"bomb": bomb, "claim": claim, "window": window, "many": bytes.Repeat(bomb, 20)} {
		d := newDecompressor()
		d.decompress(nil, bomb, 1<<10) // its own tables
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		got, err := d.decompress(nil, data, 1<<20)
		runtime.ReadMemStats(&after)
		if !errors.Is(err, ErrDamaged) || len(got) > 0 {
			t.Errorf("%s: %d bytes, %v", name, len(got), err)
		}
		if n := after.TotalAlloc - before.TotalAlloc; n > 4<<20 {
			t.Errorf("%s: %d bytes allocated for a limit of 1 MiB", name, n)
		}
	}
}

func TestDecompressInvalid(t *testing.T) {
	d := newDecompressor()
	z := newCompressor(CompressionAuto).compress(nil, sqlText(10_000))
	for n := 1; n < len(z); n += 7 {
		if got, err := d.decompress(nil, z[:n], 10_000); !errors.Is(err, ErrDamaged) {
			t.Errorf("cut to %d bytes: %d bytes, %v", n, len(got), err)
		}
	}
	if got, err := d.decompress(nil, []byte("not zstd at all"), 10); !errors.Is(err, ErrDamaged) {
		t.Errorf("no zstd: %q, %v", got, err)
	}
	if got, err := d.decompress(nil, z, 10_000); err != nil || len(got) != 10_000 { // it recovers
		t.Errorf("after errors: %d bytes, %v", len(got), err)
	}
}

func FuzzDecompress(f *testing.F) {
	c := newCompressor(CompressionAuto)
	f.Add(c.compress(nil, sqlText(1000)), 1000)
	f.Add(c.compress(nil, nil), 0)
	f.Add(c.compress(c.compress(nil, []byte("one")), []byte("two")), 6)
	d := newDecompressor()
	f.Fuzz(func(t *testing.T, data []byte, limit int) {
		limit = max(0, limit%(1<<20))
		got, err := d.decompress([]byte("x"), data, limit)
		if err != nil && !errors.Is(err, ErrDamaged) {
			t.Fatal(err)
		}
		if got[0] != 'x' || err == nil && len(got)-1 > limit || err != nil && len(got) > 1 {
			t.Fatalf("%d bytes for a limit of %d, %v", len(got)-1, limit, err)
		}
	})
}

func BenchmarkCompress(b *testing.B) {
	for _, size := range []int{32 << 10, 2 << 20} {
		b.Run(fmt.Sprint(size>>10, "KiB"), func(b *testing.B) {
			c := newCompressor(CompressionAuto)
			plain := sqlText(size)
			dst := c.compress(nil, plain)
			b.SetBytes(int64(size))
			b.ReportAllocs()
			for b.Loop() {
				dst = c.compress(dst[:0], plain)
			}
			b.ReportMetric(float64(size)/float64(len(dst)), "ratio")
		})
	}
}

func BenchmarkDecompress(b *testing.B) {
	plain := sqlText(1 << 20)
	z := newCompressor(CompressionAuto).compress(nil, plain)
	d := newDecompressor()
	dst := make([]byte, 0, len(plain)+decoderSlack)
	b.SetBytes(int64(len(plain)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := d.decompress(dst, z, len(plain)); err != nil {
			b.Fatal(err)
		}
	}
}
