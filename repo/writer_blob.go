package repo

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
)

// chunk is a piece of plaintext on its way through the writer. Its buffer and its share of the budget go back when
// the last of its users releases it.
type chunk struct {
	w     *Writer
	data  []byte
	cost  int64 // taken from the budget
	users atomic.Int32
}

// newChunk copies data into a buffer of the pool, waiting until the budget allows it.
func (w *Writer) newChunk(data []byte, users int32) (*chunk, error) {
	c := &chunk{w: w, cost: min(int64(len(data)), chunkBudget)}
	if err := w.budget.Acquire(w.ctx, c.cost); err != nil {
		return nil, context.Cause(w.ctx)
	}
	c.data = append(w.repo.buffers.get(len(data)), data...)
	c.users.Store(users)
	return c, nil
}

func (c *chunk) release() {
	if c.users.Add(-1) == 0 {
		c.w.budget.Release(c.cost)
		c.w.repo.buffers.put(c.data)
	}
}

// job asks a worker to store a chunk as a blob.
type job struct {
	typ   BlobType
	chunk *chunk
	id    *ID // result
	done  *sync.WaitGroup
}

// submit hands a job to the workers. When it fails the job is not done and never will be.
func (w *Writer) submit(j job) error {
	w.submits.RLock()
	defer w.submits.RUnlock()
	if w.closed || w.ctx.Err() != nil {
		return context.Cause(w.ctx)
	}
	j.done.Add(1)
	select {
	case w.jobs <- j:
		return nil
	case <-w.ctx.Done():
		j.done.Done()
		return context.Cause(w.ctx)
	}
}

// work stores chunks until there are no more. After a failure it only passes them by, so that nobody waits for ever.
func (w *Writer) work() {
	s := w.repo.newScratch()
	defer s.release()
	for j := range w.jobs {
		if w.ctx.Err() == nil {
			if err := w.storeBlob(j, s); err != nil {
				w.fail(err)
			}
		}
		j.chunk.release()
		j.done.Done()
	}
}

// storeBlob hashes a chunk and, when the repository does not have it, compresses, seals and verifies it in a pack.
func (w *Writer) storeBlob(j job, s *scratch) error {
	plain := j.chunk.data
	*j.id = Hash(plain)
	if !w.claim(blobKey{j.typ, *j.id}) {
		return nil
	}
	w.stats.added.Add(int64(len(plain)))
	b := packedBlob{Type: j.typ, ID: *j.id}
	packer, blobs := w.data, &w.stats.dataBlobs
	if j.typ == TreeBlob {
		packer, blobs = w.trees, &w.stats.treeBlobs
	}
	blobs.Add(1)
	if j.typ == DataBlob && w.repo.opt.Compression == CompressionOff {
		return packer.add(b, plain, s)
	}
	b.Uncompressed = uint32(len(plain))
	s.packed = s.compressor.compress(s.packed[:0], plain)
	return packer.add(b, s.packed, s)
}

// scratch is what a worker reuses from blob to blob. The buffer of compressed bytes serves once more for the bytes
// that come back out of the seal.
type scratch struct {
	repo         *Repository
	compressor   *compressor
	decompressor *decompressor
	packed       []byte
	plain        []byte
}

func (r *Repository) newScratch() *scratch {
	return &scratch{repo: r, compressor: newCompressor(r.opt.Compression), decompressor: newDecompressor()}
}

func (s *scratch) release() {
	s.repo.buffers.put(s.packed)
	s.repo.buffers.put(s.plain)
}

// borrowScratch lends a scratch that can only read.
func (r *Repository) borrowScratch() *scratch {
	if s, ok := r.readers.Get().(*scratch); ok {
		return s
	}
	return &scratch{repo: r, decompressor: newDecompressor()}
}

func (r *Repository) returnScratch(s *scratch) { r.readers.Put(s) }

// verifySealed proves that a sealed blob opens to what its ID says, as a reader would: MAC, length, hash. It runs on
// the bytes in the upload buffer, while they are in the cache, so that bad memory or a faulty compressor is met before
// anything refers to the blob.
func (r *Repository) verifySealed(b packedBlob, sealed []byte, s *scratch) error {
	var err error
	s.plain, err = r.openBlob(s.plain[:0], b, sealed, s)
	if err != nil {
		return fmt.Errorf("a blob did not come back out of its pack (is the memory of this machine sound?): %w", err)
	}
	return nil
}
