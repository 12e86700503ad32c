package repo

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math"
	"slices"
	"testing"
)

// testPack makes a pack of n small blobs, every third plain, and what its header must say.
func testPack(k *masterKey, n int) ([]byte, []packedBlob) {
	var pack []byte
	var blobs []packedBlob
	for i := range n {
		plain := bytes.Repeat([]byte{byte(i)}, i)
		b := packedBlob{Type: BlobType(i % 2), ID: Hash(plain), Offset: uint32(len(pack))}
		if i%3 != 0 {
			b.Uncompressed = uint32(i) // the header is not asked whether that is true
		}
		pack = k.seal(pack, plain)
		b.Length = uint32(len(pack)) - b.Offset
		blobs = append(blobs, b)
	}
	return appendHeader(pack, blobs, k), blobs
}

func TestPackHeader(t *testing.T) {
	k := answerKey(t)
	for _, n := range []int{1, 2, 3, 10, 1000} {
		pack, blobs := testPack(k, n)
		size := int64(len(pack))
		if packSize(blobs) != size {
			t.Errorf("%d blobs: packSize = %d, want %d", n, packSize(blobs), size)
		}
		need, err := needTail(pack[size-4:], size)
		if err != nil || need != headerLength(blobs) {
			t.Errorf("%d blobs: needTail = %d, %v; want %d", n, need, err, headerLength(blobs))
		}
		for _, tail := range []int{need, need + 1, len(pack)} {
			got, err := parseHeader(k, pack[len(pack)-min(tail, len(pack)):], size)
			if err != nil || !slices.Equal(got, blobs) {
				t.Errorf("%d blobs, tail %d: %v, %v", n, tail, got, err)
			}
		}
	}
}

// TestPackHeaderBytes holds the layout of an entry to the format's table.
func TestPackHeaderBytes(t *testing.T) {
	id := Hash([]byte("x"))
	for _, c := range []struct {
		blob packedBlob
		want []byte
	}{
		{packedBlob{DataBlob, id, 0, 0x01020304, 0}, []byte{0, 4, 3, 2, 1}},
		{packedBlob{TreeBlob, id, 0, 0x01020304, 0}, []byte{1, 4, 3, 2, 1}},
		{packedBlob{DataBlob, id, 0, 0x01020304, 0x0a0b0c0d}, []byte{2, 4, 3, 2, 1, 0x0d, 0x0c, 0x0b, 0x0a}},
		{packedBlob{TreeBlob, id, 0, 0x01020304, 0x0a0b0c0d}, []byte{3, 4, 3, 2, 1, 0x0d, 0x0c, 0x0b, 0x0a}},
	} {
		if got := appendEntry(nil, c.blob); !bytes.Equal(got, append(c.want, id[:]...)) {
			t.Errorf("entry of %+v = %x", c.blob, got)
		}
	}
}

// TestPackHeaderDamaged flips every bit of header and trailer, and gives wrong sizes.
func TestPackHeaderDamaged(t *testing.T) {
	k := answerKey(t)
	pack, blobs := testPack(k, 4)
	start := len(pack) - headerLength(blobs)
	for i := start * 8; i < len(pack)*8; i++ {
		bad := bytes.Clone(pack)
		bad[i/8] ^= 1 << (i % 8)
		if _, err := parseHeader(k, bad, int64(len(bad))); !errors.Is(err, ErrDamaged) {
			t.Fatalf("bit %d flipped: %v", i, err)
		}
	}
	for _, size := range []int64{-1, 0, 1, 3, 72, 73, int64(len(pack)) - 1, int64(len(pack)) + 1, 1 << 32, math.MaxInt64} {
		if _, err := parseHeader(k, pack, size); !errors.Is(err, ErrDamaged) {
			t.Errorf("size %d instead of %d: %v", size, len(pack), err)
		}
	}
	for n := range len(pack) { // as a file that was cut, and as a tail that is too short
		if _, err := parseHeader(k, pack[:n], int64(n)); !errors.Is(err, ErrDamaged) {
			t.Errorf("cut to %d bytes: %v", n, err)
		}
		if n < headerLength(blobs) {
			if _, err := parseHeader(k, pack[len(pack)-n:], int64(len(pack))); !errors.Is(err, ErrDamaged) {
				t.Errorf("only the last %d bytes: %v", n, err)
			}
		}
	}
}

// TestPackHeaderRefuses seals headers that nobody should write.
func TestPackHeaderRefuses(t *testing.T) {
	k := answerKey(t)
	id := Hash([]byte("x"))
	entry := func(b packedBlob) []byte { return appendEntry(nil, b) }
	zeroLength := entry(packedBlob{DataBlob, id, 0, 40, 1})
	binary.LittleEndian.PutUint32(zeroLength[5:], 0)
	for name, header := range map[string][]byte{
		"no entries":            {},
		"type 4":                append([]byte{4}, entry(packedBlob{DataBlob, id, 0, 40, 0})[1:]...),
		"type 255":              append([]byte{255}, entry(packedBlob{DataBlob, id, 0, 40, 1})[1:]...),
		"half an entry":         append(entry(packedBlob{DataBlob, id, 0, 40, 0}), 0, 1, 2),
		"compressed to nothing": zeroLength,
		"stored below overhead": entry(packedBlob{DataBlob, id, 0, overhead - 1, 0}),
		"data too large":        entry(packedBlob{DataBlob, id, 0, 40, maxBlob + 1}),
		"plain data too large":  entry(packedBlob{DataBlob, id, 0, maxBlob + overhead + 1, 0}),
		"tree too large":        entry(packedBlob{TreeBlob, id, 0, 40, maxTree + 1}),
		"stored far too large":  entry(packedBlob{DataBlob, id, 0, 2 * maxBlob, 10}),
		"lengths do not add up": entry(packedBlob{DataBlob, id, 0, 41, 0}),
		"offsets overflow 2^32": bytes.Repeat(entry(packedBlob{TreeBlob, id, 0, maxTree, 0}), 65),
	} {
		pack := make([]byte, 40, 40+len(header)+overhead+4) // one blob of 40 bytes
		pack = k.seal(pack, header)
		pack = binary.LittleEndian.AppendUint32(pack, uint32(len(pack)-40))
		if blobs, err := parseHeader(k, pack, int64(len(pack))); !errors.Is(err, ErrDamaged) {
			t.Errorf("%s: %v, %v", name, blobs, err)
		}
	}
}

// FuzzPackHeader parses arbitrary header text under the right key: what it accepts must add up.
func FuzzPackHeader(f *testing.F) {
	k := answerKey(f)
	for _, name := range []string{"v1-0.14", "v2-latest", "upgraded-v1-to-v2"} {
		_, st, r := openFixture(f, name)
		for file, err := range st.List(f.Context(), "data") {
			if err != nil {
				f.Fatal(err)
			}
			pack, err := st.Get(f.Context(), file.Name, 0, -1)
			if err != nil {
				f.Fatal(err)
			}
			n, err := needTail(pack, file.Size)
			if err != nil {
				f.Fatal(err)
			}
			header, err := r.key.open(nil, pack[len(pack)-n:len(pack)-trailer])
			if err != nil {
				f.Fatal(err)
			}
			f.Add(header, file.Size)
		}
	}
	f.Fuzz(func(t *testing.T, header []byte, size int64) {
		tail := k.seal(nil, header)
		tail = binary.LittleEndian.AppendUint32(tail, uint32(len(tail)))
		blobs, err := parseHeader(k, tail, size)
		if err != nil {
			if !errors.Is(err, ErrDamaged) {
				t.Fatal(err)
			}
			return
		}
		if packSize(blobs) != size || headerLength(blobs) != len(tail) {
			t.Fatalf("size %d, header %d bytes: accepted as %v", size, len(tail), blobs)
		}
		var again []byte
		for _, b := range blobs {
			again = appendEntry(again, b)
		}
		if !bytes.Equal(again, header) {
			t.Fatalf("header %x is written again as %x", header, again)
		}
	})
}
