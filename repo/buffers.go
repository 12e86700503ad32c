package repo

import (
	"math/bits"
	"sync"
)

// bufferPool lends byte buffers by size. Backups and restores move gigabytes through a few megabytes of buffers: made
// anew each time they would be the garbage collector's main work. Classes are quarters of powers of two, so that at
// most a fifth of a buffer lies idle. Buffers that nobody wants are freed by the garbage collector.
type bufferPool struct {
	classes [4 * 28]sync.Pool
}

// smallBuffer is the length below which a plain allocation is cheaper than a shared pool.
const smallBuffer = 4 << 10

// class gives the smallest class that holds n bytes and its capacity.
func bufferClass(n int) (class, capacity int) {
	octave := bits.Len(uint(n-1)) - 3 // capacity = quarters << octave, with 5 to 8 quarters
	quarters := (n-1)>>octave + 1
	return 4*octave + quarters - 5, quarters << octave
}

// get returns an empty buffer that holds n bytes without growing.
func (p *bufferPool) get(n int) []byte {
	if n < smallBuffer || n > 1<<30 {
		return make([]byte, 0, n)
	}
	class, capacity := bufferClass(n)
	if b, ok := p.classes[class].Get().(*[]byte); ok {
		return (*b)[:0]
	}
	return make([]byte, 0, capacity)
}

// put takes a buffer back that get lent; nobody may use it any more.
func (p *bufferPool) put(b []byte) {
	n := cap(b)
	if n < smallBuffer || n > 1<<30 {
		return
	}
	if class, capacity := bufferClass(n); capacity == n {
		b = b[:0]
		p.classes[class].Put(&b)
	}
}
