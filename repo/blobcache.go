package repo

import (
	"container/list"
	"context"
	"sync"
)

// blobCache keeps decoded blobs, and folders on the way to a file, for those who come back for another piece of the same
// one: a blob of 2 MiB is decoded once for its many ranges. It holds a bounded number of bytes, and what was not asked
// for longest goes first. What reads a file from end to end stays away from it, or every backup restored would empty it.
type blobCache struct {
	limit int // bytes

	mu    sync.Mutex
	size  int
	known map[blobKey]*list.Element
	order list.List // of *cached, the last used in front
}

// cached is a blob's plaintext, or what it was decoded into. Nobody changes it any more.
type cached struct {
	key   blobKey
	value any
	size  int
}

// get returns what must not be changed, or nil.
func (c *blobCache) get(key blobKey) any {
	c.mu.Lock()
	defer c.mu.Unlock()
	e, ok := c.known[key]
	if !ok {
		return nil
	}
	c.order.MoveToFront(e)
	return e.Value.(*cached).value
}

// put gives something of so many bytes away into the cache. What would take more than a quarter of it is not kept.
func (c *blobCache) put(key blobKey, value any, size int) {
	if size > c.limit/4 {
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
	c.known[key] = c.order.PushFront(&cached{key, value, size})
	for c.size += size; c.size > c.limit; {
		last := c.order.Remove(c.order.Back()).(*cached)
		delete(c.known, last.key)
		c.size -= last.size
	}
}

// cachedBlob is a data blob's plaintext, verified, which must not be changed.
func (r *Repository) cachedBlob(ctx context.Context, id ID) ([]byte, error) {
	key := blobKey{DataBlob, id}
	if plain, ok := r.cache.get(key).([]byte); ok {
		return plain, nil
	}
	at, _ := r.find(DataBlob, id)
	s := r.borrowScratch()
	defer r.returnScratch(s)
	plain, err := r.readBlob(ctx, DataBlob, id, make([]byte, 0, at.guess()), s)
	if err != nil {
		return nil, err
	}
	r.cache.put(key, plain, cap(plain))
	return plain, nil
}

// cachedTree is a folder, which must not be changed.
func (r *Repository) cachedTree(ctx context.Context, id ID) ([]Node, error) {
	key := blobKey{TreeBlob, id}
	if nodes, ok := r.cache.get(key).([]Node); ok {
		return nodes, nil
	}
	nodes, err := r.LoadTree(ctx, id)
	if err != nil {
		return nil, err
	}
	size := 0
	for i := range nodes {
		size += nodeSize + len(nodes[i].Name) + len(nodes[i].Content)*len(ID{})
	}
	r.cache.put(key, nodes, size)
	return nodes, nil
}

// nodeSize is about what an entry of a folder takes in memory, its name and content aside.
const nodeSize = 600

// guess is the room to read a blob into: its length, unless that is one that only a damaged index lists.
func (b packedBlob) guess() int { return min(b.plainLength(), maxBlob) + decoderSlack }
