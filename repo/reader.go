package repo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sort"
	"sync"
)

// File reads a stored file: random access by bisection over the blobs' cumulative sizes, ordered read-ahead on all
// cores when read in sequence. No byte leaves it before its blob's MAC, length and SHA-256 are verified. One goroutine
// at a time, but for ReadAt.
type File struct {
	repo   *Repository
	ctx    context.Context
	cancel context.CancelFunc
	blobs  []ID
	ends   []int64 // ends[i] is the offset behind blob i
	pos    int64

	run   []byte // decoded blobs, verified
	start int64  // offset of run in the file
	next  int    // the blob behind run
	ahead *readAhead
	pool  sync.WaitGroup // goroutines of read-aheads
}

var (
	_ io.ReadSeekCloser = (*File)(nil)
	_ io.ReaderAt       = (*File)(nil)
	_ io.WriterTo       = (*File)(nil)
)

// OpenFile prepares reading. It fails when a blob is not indexed or the sizes do not add up to the node's. Close stops
// the read-ahead.
func (r *Repository) OpenFile(ctx context.Context, n Node) (*File, error) {
	if n.Type == "dir" {
		return nil, fmt.Errorf("%s: %w", n.Name, ErrIsFolder)
	}
	if n.Type != "file" {
		return nil, fmt.Errorf("%s is a %s, not a file: %w", n.Name, n.Type, ErrNotFound)
	}
	if err := r.ensureIndexed(ctx, DataBlob, n.Content...); err != nil {
		return nil, fmt.Errorf("%s: %w", n.Name, err)
	}
	f := &File{repo: r, blobs: n.Content, ends: make([]int64, len(n.Content)), next: -1}
	size := int64(0)
	for i, id := range n.Content {
		l, _ := r.index.lookup(DataBlob, id)
		size += int64(l.plainLength())
		f.ends[i] = size
	}
	if size != int64(n.Size) {
		return nil, fmt.Errorf("%s: its blobs are %d bytes long, its node says %d: %w", n.Name, size, n.Size, ErrDamaged)
	}
	f.ctx, f.cancel = context.WithCancel(ctx)
	return f, nil
}

// Size is the file's length in bytes.
func (f *File) Size() int64 {
	if len(f.ends) == 0 {
		return 0
	}
	return f.ends[len(f.ends)-1]
}

// ContentID identifies the content without reading it: the SHA-256 of the list of blob IDs. Equal IDs mean equal
// content; equal content that was cut otherwise has another ID.
func (f *File) ContentID() ID {
	list := make([]byte, 0, len(f.blobs)*len(ID{}))
	for _, id := range f.blobs {
		list = append(list, id[:]...)
	}
	return Hash(list)
}

// Seek as in io.Seeker. Behind the end is allowed, and reads there find the end.
func (f *File) Seek(off int64, whence int) (int64, error) {
	switch whence {
	case io.SeekCurrent:
		off += f.pos
	case io.SeekEnd:
		off += f.Size()
	}
	if off < 0 {
		return 0, errors.New("seek before the start of the file")
	}
	f.pos = off
	return off, nil
}

// Read as in io.Reader.
func (f *File) Read(p []byte) (int, error) {
	if f.pos >= f.Size() {
		return 0, io.EOF
	}
	rest, err := f.rest()
	if err != nil {
		return 0, err
	}
	n := copy(p, rest)
	f.pos += int64(n)
	return n, nil
}

// WriteTo writes everything from the current offset on, reading ahead from the first byte.
func (f *File) WriteTo(w io.Writer) (int64, error) {
	written := int64(0)
	if f.pos < f.Size() && f.ahead == nil {
		f.next = f.blobAt(f.pos)
	}
	for f.pos < f.Size() {
		rest, err := f.rest()
		if err != nil {
			return written, err
		}
		n, err := w.Write(rest)
		f.pos += int64(n)
		written += int64(n)
		if err != nil {
			return written, err
		}
	}
	return written, nil
}

// ReadAt as in io.ReaderAt. It reads just the blobs that it needs, and may be called by many goroutines at once.
func (f *File) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 {
		return 0, errors.New("read before the start of the file")
	}
	s := f.repo.borrowScratch()
	defer f.repo.returnScratch(s)
	read := 0
	for read < len(p) {
		if off >= f.Size() {
			return read, io.EOF
		}
		i := f.blobAt(off)
		data, err := f.repo.readBlob(f.ctx, DataBlob, f.blobs[i], s.plain[:0], s)
		if err != nil {
			return read, err
		}
		s.plain = data
		if int64(len(data)) != f.ends[i]-f.startOf(i) {
			return read, fmt.Errorf("blob %d has %d bytes, not %d: %w", i, len(data), f.ends[i]-f.startOf(i), ErrDamaged)
		}
		n := copy(p[read:], data[off-f.startOf(i):])
		read, off = read+n, off+int64(n)
	}
	return read, nil
}

// Close stops the read-ahead and waits for it.
func (f *File) Close() error {
	f.cancel()
	f.stopAhead()
	f.pool.Wait()
	return nil
}

// blobAt is the blob that holds the byte at off, which must be below Size. Blobs without bytes are never the answer.
func (f *File) blobAt(off int64) int {
	return sort.Search(len(f.ends), func(i int) bool { return f.ends[i] > off })
}

func (f *File) startOf(blob int) int64 {
	if blob == 0 {
		return 0
	}
	return f.ends[blob-1]
}

// rest is what is decoded from the current offset on, at least one byte.
func (f *File) rest() ([]byte, error) {
	if f.pos < f.start || f.pos >= f.start+int64(len(f.run)) {
		if err := f.load(f.blobAt(f.pos)); err != nil {
			return nil, err
		}
	}
	return f.run[f.pos-f.start:], nil
}

// load decodes from a blob on. The blob behind the last one means reading in sequence: from then on it is read ahead.
func (f *File) load(blob int) error {
	if f.ahead != nil && f.next != blob {
		f.stopAhead()
	}
	sequence := f.ahead != nil || f.next == blob
	f.repo.buffers.put(f.run)
	f.run, f.next = nil, -1
	var b batch
	if sequence {
		if f.ahead == nil {
			f.ahead = f.startAhead(blob)
		}
		b = f.ahead.take()
	} else {
		b = f.read(f.ctx, f.plan(blob, 0))
	}
	if b.err != nil {
		f.stopAhead()
		return b.err
	}
	f.run, f.start, f.next = b.plain, f.startOf(b.first), b.behind
	return nil
}

func (f *File) stopAhead() {
	if f.ahead != nil {
		f.ahead.stop()
		f.ahead = nil
	}
}
