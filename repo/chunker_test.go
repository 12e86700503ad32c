package repo

import (
	"encoding/binary"
	"math/rand/v2"
	"slices"
	"testing"
)

const testPolynomial = "3da3358b4dc173"

// generated gives n bytes: SHA-256 of a big-endian counter, one after the other.
func generated(n int) []byte {
	out := make([]byte, 0, n+32)
	for i := uint64(0); len(out) < n; i++ {
		sum := Hash(binary.BigEndian.AppendUint64(nil, i))
		out = append(out, sum[:]...)
	}
	return out[:n]
}

// cuts gives the lengths of the chunks of data, handed to the cutter in steps of the given size.
func cuts(t testing.TB, data []byte, step int) []int {
	t.Helper()
	table, err := newGearTable(testPolynomial)
	if err != nil {
		t.Fatal(err)
	}
	c := cutter{table: table}
	var lengths []int
	start, end := 0, 0
	for start < len(data) {
		end = min(end+step, len(data))
		for {
			n := c.cut(data[start:end])
			if n == 0 {
				break
			}
			lengths = append(lengths, n)
			start += n
		}
		if end == len(data) {
			break
		}
	}
	if start < len(data) {
		lengths = append(lengths, len(data)-start)
	}
	return lengths
}

// TestGoldenCuts holds the cuts for ever: a change here makes every user's next backup store everything again.
func TestGoldenCuts(t *testing.T) {
	if testing.Short() {
		t.Skip("one thing after the other: no races to be found")
	}
	table, _ := newGearTable(testPolynomial)
	if got := [2]uint64{table[0], table[255]}; got != [2]uint64{0xc1a6ed9929bdf65, 0x717f2f2689f4b8aa} {
		t.Errorf("table starts %#x", got)
	}
	for _, c := range []struct {
		name string
		data []byte
		want []int
	}{
		{"empty", nil, nil},
		{"below the shortest", generated(minChunk - 1), []int{minChunk - 1}},
		{"generated", generated(24 << 20), []int{
			2653351, 1930648, 2658436, 4094072, 2283885, 2553072, 2172466, 2509886, 1177469, 2421047, 711492,
		}},
		{"zeros", make([]byte, 3*maxChunk+5), []int{maxChunk, maxChunk, maxChunk, 5}},
	} {
		if got := cuts(t, c.data, 1<<20); !slices.Equal(got, c.want) {
			t.Errorf("%s: cut at %v, want %v", c.name, got, c.want)
		}
	}
}

func TestCutsDoNotDependOnSteps(t *testing.T) {
	if testing.Short() {
		t.Skip("one thing after the other: no races to be found")
	}
	data := generated(20 << 20)
	want := cuts(t, data, len(data))
	for _, step := range []int{4099, minChunk - gearWindow, minChunk - 1, minChunk, 1 << 20, maxChunk + 3} {
		if got := cuts(t, data, step); !slices.Equal(got, want) {
			t.Errorf("in steps of %d: %v, want %v", step, got, want)
		}
	}
}

// TestCutsHeal shows what content-defined cutting is for: bytes put in early move the cuts, and soon they are the same.
func TestCutsHeal(t *testing.T) {
	if testing.Short() {
		t.Skip("one thing after the other: no races to be found")
	}
	data := generated(24 << 20)
	changed := slices.Insert(slices.Clone(data), 1_000_000, []byte("a line that was not there")...)
	a, b := cuts(t, data, 1<<20), cuts(t, changed, 1<<20)
	same := 0
	for same < min(len(a), len(b)) && a[len(a)-1-same] == b[len(b)-1-same] {
		same++
	}
	if same < len(a)-3 {
		t.Errorf("only the last %d chunks are the same: %v and %v", same, a, b)
	}
}

func TestChunkLengths(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	if testing.Short() {
		t.Skip("one thing after the other: no races to be found")
	}
	data := make([]byte, 256<<20)
	for i := 0; i < len(data); i += 8 {
		binary.LittleEndian.PutUint64(data[i:], rng.Uint64())
	}
	lengths := cuts(t, data, 1<<20)
	for _, n := range lengths[:len(lengths)-1] {
		if n < minChunk || n > maxChunk {
			t.Fatalf("a chunk of %d bytes", n)
		}
	}
	if mean := len(data) / len(lengths); mean < 1<<20 || mean > 3<<20 {
		t.Errorf("chunks are %d bytes long on average", mean)
	}
}

func BenchmarkCutter(b *testing.B) {
	data := generated(32 << 20)
	table, _ := newGearTable(testPolynomial)
	b.SetBytes(int64(len(data)))
	for b.Loop() {
		c := cutter{table: table}
		for rest := data; ; {
			n := c.cut(rest)
			if n == 0 {
				break
			}
			rest = rest[n:]
		}
	}
}
