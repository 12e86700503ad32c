package repo

import (
	"math/bits"
	"sync"
)

// bufferPool lends byte buffers. Backups and restores move gigabytes through a few megabytes of buffers; made anew each
// time they would be the garbage collector's main work. Everything from halfLarge up to a whole chunk shares one size:
// chunks differ in length, and a class for each length would keep many buffers idle. Pages that a short chunk does not
// touch cost no memory. Buffers that nobody wants are freed by the garbage collector.
type bufferPool struct {
	small [20]sync.Pool // of 1<<i bytes
	large sync.Pool     // of largeBuffer bytes
}

const (
	tinyBuffer  = 4 << 10 // below this a plain allocation is cheaper than sharing
	halfLarge   = 512 << 10
	largeBuffer = maxChunk + 4<<10 // room for a chunk and decoderSlack
)

// get returns an empty buffer that holds n bytes without growing.
func (p *bufferPool) get(n int) []byte {
	pool, capacity := p.class(n)
	if pool == nil {
		return make([]byte, 0, n)
	}
	if b, ok := pool.Get().(*[]byte); ok {
		return (*b)[:0]
	}
	return make([]byte, 0, capacity)
}

// put takes a buffer back that get lent; nobody may use it any more.
func (p *bufferPool) put(b []byte) {
	if pool, capacity := p.class(cap(b)); pool != nil && capacity == cap(b) {
		b = b[:0]
		pool.Put(&b)
	}
}

// class gives the pool for buffers of n bytes and their capacity; none for tiny and for huge ones.
func (p *bufferPool) class(n int) (*sync.Pool, int) {
	switch {
	case n < tinyBuffer || n > largeBuffer:
		return nil, n
	case n > halfLarge:
		return &p.large, largeBuffer
	}
	class := bits.Len(uint(n - 1))
	return &p.small[class], 1 << class
}
