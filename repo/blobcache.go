package repo

import (
	"container/list"
	"context"
	"sync"
)

// blobCache keeps decoded blobs for those who come back for another piece of the same one: a blob of 2 MiB is decoded
// once for its many ranges. It holds a bounded number of bytes, and what was not asked for longest goes first. What
// reads a file from end to end stays away from it, or every backup restored would empty it.
type blobCache struct {
	limit int // bytes

	mu    sync.Mutex
	size  int
	known map[blobKey]*list.Element
	order list.List // of *cachedBlob, the last used in front
}

type cachedBlob struct {
	key   blobKey
	plain []byte // nobody changes it any more
}

// get returns a blob that must not be changed, or nil.
func (c *blobCache) get(key blobKey) []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	e, ok := c.known[key]
	if !ok {
		return nil
	}
	c.order.MoveToFront(e)
	return e.Value.(*cachedBlob).plain
}

// put gives a blob away into the cache. One that would take more than a quarter of it is not kept.
func (c *blobCache) put(key blobKey, plain []byte) {
	if cap(plain) > c.limit/4 {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, ok := c.known[key]; ok {
		return
	}
	if c.known == nil {
		c.known = make(map[blobKey]*list.Element)
	}
	c.known[key] = c.order.PushFront(&cachedBlob{key, plain})
	for c.size += cap(plain); c.size > c.limit; {
		last := c.order.Remove(c.order.Back()).(*cachedBlob)
		delete(c.known, last.key)
		c.size -= cap(last.plain)
	}
}

// cachedBlob is a blob's plaintext, verified, which must not be changed.
func (r *Repository) cachedBlob(ctx context.Context, t BlobType, id ID) ([]byte, error) {
	key := blobKey{t, id}
	if plain := r.cache.get(key); plain != nil {
		return plain, nil
	}
	at, _ := r.find(t, id)
	s := r.borrowScratch()
	defer r.returnScratch(s)
	plain, err := r.readBlob(ctx, t, id, make([]byte, 0, at.guess()), s)
	if err != nil {
		return nil, err
	}
	r.cache.put(key, plain)
	return plain, nil
}

// guess is the room to read a blob into: its length, unless that is one that only a damaged index lists.
func (b packedBlob) guess() int { return min(b.plainLength(), maxBlob) + decoderSlack }
