package repo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/minio/sha256-simd"
)

// FileSum is what became of a file's content.
type FileSum struct {
	Size   int64 // bytes
	SHA256 ID    // of the whole content
}

// FileWriter takes the content of one file as a stream, in memory bounded by the writer's budget.
type FileWriter struct {
	w       *Writer
	node    Node
	fill    []byte // the chunk that is being filled, and what came behind its end
	cutter  cutter
	blobs   []*ID
	size    int64
	pending sync.WaitGroup
	hasher  chan *chunk // takes the chunks in order; nil while there is only one
	sum     ID          // of the whole, once hasher has ended
	closed  bool
}

var _ io.ReaderFrom = (*FileWriter)(nil)

// readStep bounds one read, so that little must be moved to the front after a cut.
const readStep = 256 << 10

// Write cuts, and hands chunks to the workers; it blocks while the budget is used up.
func (f *FileWriter) Write(p []byte) (int, error) {
	written := 0
	for written < len(p) {
		n := min(len(p)-written, readStep, f.room())
		f.fill = append(f.fill, p[written:written+n]...)
		written += n
		if err := f.advance(n); err != nil {
			return written, err
		}
	}
	return written, nil
}

// ReadFrom reads r to its end straight into the chunk buffer.
func (f *FileWriter) ReadFrom(r io.Reader) (int64, error) {
	var read int64
	for {
		room := min(f.room(), readStep)
		n, err := r.Read(f.fill[len(f.fill) : len(f.fill)+room])
		f.fill = f.fill[:len(f.fill)+n]
		read += int64(n)
		if cutErr := f.advance(n); cutErr != nil {
			return read, cutErr
		}
		if errors.Is(err, io.EOF) {
			return read, nil
		}
		if err != nil {
			return read, err
		}
	}
}

// room is how much the fill buffer can take, making the buffer at first use. It is never 0: a chunk of maxChunk bytes
// is always cut.
func (f *FileWriter) room() int {
	if f.fill == nil {
		f.fill = f.w.repo.buffers.get(largeBuffer)
	}
	return maxChunk - len(f.fill)
}

// advance counts n new bytes and hands over the chunks that they complete.
func (f *FileWriter) advance(n int) error {
	if f.closed {
		return fmt.Errorf("%s: write after close", f.node.Name)
	}
	if f.w.ctx.Err() != nil {
		return context.Cause(f.w.ctx)
	}
	f.size += int64(n)
	f.w.stats.read.Add(int64(n))
	for {
		end := f.cutter.cut(f.fill)
		if end == 0 {
			return nil
		}
		if err := f.emit(end, false); err != nil {
			return err
		}
	}
}

// emit hands the first n bytes of the fill buffer to a worker, and to the hasher of the whole unless they are the whole.
func (f *FileWriter) emit(n int, whole bool) error {
	c, err := f.w.newChunk(f.take(n))
	if err != nil {
		return err
	}
	if !whole {
		c.share()
		f.startHasher()
	}
	id := new(ID)
	f.blobs = append(f.blobs, id)
	if err := f.w.submit(job{typ: DataBlob, chunk: c, id: id, done: &f.pending}); err != nil {
		return err
	}
	if whole {
		return nil
	}
	select {
	case f.hasher <- c:
		return nil
	case <-f.w.ctx.Done():
		return context.Cause(f.w.ctx)
	}
}

// take cuts n bytes off the fill buffer. A large chunk takes the buffer with it, and the little behind it moves to a
// new one; a small one is copied out, so that many small files do not each hold a large buffer.
func (f *FileWriter) take(n int) []byte {
	pool := &f.w.repo.buffers
	if n <= halfLarge-decoderSlack {
		data := append(pool.get(n+decoderSlack), f.fill[:n]...)
		f.fill = f.fill[:copy(f.fill, f.fill[n:])]
		return data
	}
	data := f.fill[:n]
	f.fill = append(pool.get(largeBuffer), f.fill[n:]...)
	return data
}

func (f *FileWriter) startHasher() {
	if f.hasher != nil {
		return
	}
	f.hasher = make(chan *chunk, 2)
	f.pending.Add(1)
	f.w.helpers.Go(func() {
		defer f.pending.Done()
		f.hash()
	})
}

// hash takes the SHA-256 of the whole content, beside the workers that take those of the chunks.
func (f *FileWriter) hash() {
	h := sha256.New()
	for {
		select {
		case c, ok := <-f.hasher:
			if !ok {
				h.Sum(f.sum[:0])
				return
			}
			h.Write(c.data)
			close(c.hashed)
			c.release()
		case <-f.w.ctx.Done():
			return
		}
	}
}

// Close ends the content. A file that is not closed makes Dir.Close fail.
func (f *FileWriter) Close() error {
	if f.closed {
		return nil
	}
	var err error
	if len(f.fill) > 0 {
		err = f.emit(len(f.fill), len(f.blobs) == 0)
	}
	f.closed = true
	if f.hasher != nil {
		close(f.hasher)
	}
	f.w.repo.buffers.put(f.fill)
	f.fill = nil
	f.w.stats.files.Add(1)
	return err
}

// Sum waits until every chunk is hashed, and stored or known; valid after Close.
func (f *FileWriter) Sum() (FileSum, error) {
	if !f.closed {
		return FileSum{}, fmt.Errorf("file %q was not closed", f.node.Name)
	}
	f.pending.Wait()
	if f.w.ctx.Err() != nil {
		return FileSum{}, context.Cause(f.w.ctx)
	}
	sum := FileSum{Size: f.size, SHA256: f.sum}
	switch len(f.blobs) {
	case 0:
		sum.SHA256 = Hash(nil)
	case 1:
		if f.hasher == nil {
			sum.SHA256 = *f.blobs[0]
		}
	}
	return sum, nil
}

// finished is the file's node with its content.
func (f *FileWriter) finished() Node {
	n := f.node
	n.Type, n.Size, n.Subtree = "file", uint64(f.size), nil
	n.Links = max(n.Links, 1)
	n.Content = make([]ID, len(f.blobs))
	for i, id := range f.blobs {
		n.Content[i] = *id
	}
	return n
}
