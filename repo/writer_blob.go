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
	w      *Writer
	data   []byte
	cost   int64 // taken from the budget
	users  atomic.Int32
	hashed chan struct{} // closed when the hasher of the whole file is done with it; nil when there is none
}

// newChunk takes a share of the budget for data, waiting until there is one. data is a buffer of the pool.
func (w *Writer) newChunk(data []byte) (*chunk, error) {
	c := &chunk{w: w, data: data, cost: min(int64(len(data)), chunkBudget)}
	if err := w.budget.Acquire(w.ctx, c.cost); err != nil {
		return nil, context.Cause(w.ctx)
	}
	c.users.Store(1)
	return c, nil
}

// share adds the hasher of the whole file as a user.
func (c *chunk) share() {
	c.users.Add(1)
	c.hashed = make(chan struct{})
}

// own waits until the worker is the only user, and may write into data.
func (c *chunk) own() error {
	if c.hashed == nil {
		return nil
	}
	select {
	case <-c.hashed:
		return nil
	case <-c.w.ctx.Done():
		return context.Cause(c.w.ctx)
	}
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
	payload := plain
	if j.typ == TreeBlob || w.repo.opt.Compression != CompressionOff {
		b.Uncompressed = uint32(len(plain))
		s.packed = s.compressor.compress(s.packed[:0], plain)
		payload = s.packed
	}
	sealed, done, err := packer.seal(&b, payload)
	if err != nil {
		return err
	}
	if err = j.chunk.own(); err == nil {
		err = w.repo.verifySealed(b, sealed, plain, s)
	}
	if err != nil {
		w.fail(err) // before done, which lets the pack go: it must not be stored
	}
	done()
	return err
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
// anything refers to the blob. The plaintext comes out over the one that went in, which is not needed any more.
func (r *Repository) verifySealed(b packedBlob, sealed, plain []byte, s *scratch) error {
	if _, err := r.openBlob(plain[:0], b, sealed, s); err != nil {
		return fmt.Errorf("a blob did not come back out of its pack (is the memory of this machine sound?): %w", err)
	}
	return nil
}
