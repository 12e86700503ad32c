package repo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sort"
	"sync"
	"time"
)

// File reads a stored file: random access by bisection over the blobs' cumulative sizes, ordered read-ahead on all
// cores when read in sequence. No byte leaves it before its blob's MAC, length and SHA-256 are verified (of Frames: the
// MAC). One goroutine at a time, but for ReadAt.
//
// While it is not read, it gives its memory back and keeps some 64 KiB (but within WriteTo, the chunk that is being
// written): see readMemory.
type File struct {
	repo   *Repository
	ctx    context.Context
	cancel context.CancelFunc
	form   form
	blobs  []ID
	ends   []int64 // ends[i] is the offset behind blob i
	pos    int64
	wanted int64 // nothing behind this offset is read ahead
	ranged bool  // Want was called

	mu    sync.Mutex // held while reading, against look
	run   batch      // what is opened, verified
	begun int64      // offset of run in the file
	next  int        // the blob behind run
	lent  bool       // WriteTo is writing from run
	ahead []*pending
	used  time.Time   // of the last read
	timer *time.Timer // until the next look; nil before the first load
	pool  sync.WaitGroup
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
	f := r.newFile(ctx, plain, n.Content)
	if f.Size() != int64(n.Size) {
		return nil, errors.Join(f.Close(),
			fmt.Errorf("%s: its blobs are %d bytes long, its node says %d: %w", n.Name, f.Size(), n.Size, ErrDamaged))
	}
	return f, nil
}

// newFile prepares reading indexed blobs.
func (r *Repository) newFile(ctx context.Context, form form, blobs []ID) *File {
	f := &File{repo: r, form: form, blobs: blobs, ends: make([]int64, len(blobs)), next: -1}
	for i, id := range blobs {
		l, _ := r.find(DataBlob, id)
		f.wanted += int64(form.length(l.packedBlob))
		f.ends[i] = f.wanted
	}
	f.ctx, f.cancel = context.WithCancel(ctx)
	return f
}

// Frames is the file as it is stored: zstd frames, which behind each other decompress to the file, none of them with a
// window above 8 MiB. Reading them costs no decompression; the MAC is verified, the SHA-256 is not. It is a File of its
// own, to be closed too. There is none for an empty file, nor for one with blobs of more than 8 MiB, which a few
// programs write.
func (f *File) Frames(ctx context.Context) (*File, bool) {
	for i := range f.blobs {
		if f.length(i) > maxFramed {
			return nil, false
		}
	}
	return f.repo.newFile(ctx, framed, f.blobs), f.Size() > 0
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
	f.mu.Lock() // look reads the offset
	defer f.mu.Unlock()
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

// Want says that nothing at or behind an offset will be read, so that no time is spent on reading it ahead, and that
// other pieces of the file may be wanted soon: short ones go through the repository's cache.
func (f *File) Want(end int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.wanted, f.ranged = min(end, f.Size()), true
}

// Read as in io.Reader.
func (f *File) Read(p []byte) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.pos >= f.Size() {
		return 0, io.EOF
	}
	rest, err := f.rest()
	if err != nil {
		return 0, err
	}
	n := copy(p, rest)
	f.pos += int64(n)
	f.used = time.Now()
	return n, nil
}

// WriteTo writes everything from the current offset on, reading ahead from the first byte.
func (f *File) WriteTo(w io.Writer) (int64, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	written := int64(0)
	if f.pos < f.Size() && len(f.ahead) == 0 {
		f.next = f.blobAt(f.pos)
	}
	for f.pos < f.Size() {
		rest, err := f.rest()
		if err != nil {
			return written, err
		}
		n, err := f.lend(w, rest)
		f.pos += int64(n)
		written += int64(n)
		if err != nil {
			return written, err
		}
	}
	return written, nil
}

// lend writes from run. Meanwhile look may take the read-ahead away, but not run.
func (f *File) lend(w io.Writer, p []byte) (int, error) {
	f.lent, f.used = true, time.Now()
	f.mu.Unlock()
	defer func() {
		f.mu.Lock()
		f.lent, f.used = false, time.Now()
	}()
	return w.Write(p)
}

// ReadAt as in io.ReaderAt. It reads just the blobs that it needs, through the repository's cache, and may be called by
// many goroutines at once. Not for Frames.
func (f *File) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 {
		return 0, errors.New("read before the start of the file")
	}
	read := 0
	for read < len(p) {
		if off >= f.Size() {
			return read, io.EOF
		}
		i := f.blobAt(off)
		data, err := f.repo.cachedBlob(f.ctx, f.blobs[i])
		if err != nil {
			return read, err
		}
		if len(data) != f.length(i) {
			return read, fmt.Errorf("blob %d has %d bytes, not %d: %w", i, len(data), f.length(i), ErrDamaged)
		}
		n := copy(p[read:], data[off-f.startOf(i):])
		read, off = read+n, off+int64(n)
	}
	return read, nil
}

// Close stops the read-ahead and waits for it.
func (f *File) Close() error {
	f.cancel()
	f.mu.Lock()
	f.lookNoMore()
	f.stopAhead()
	f.drop(f.run)
	f.run = batch{}
	f.mu.Unlock()
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

// rest is what is opened from the current offset on, at least one byte.
func (f *File) rest() ([]byte, error) {
	if f.pos < f.begun || f.pos >= f.begun+int64(len(f.run.data)) {
		if err := f.load(f.blobAt(f.pos)); err != nil {
			return nil, err
		}
	}
	return f.run.data[f.pos-f.begun:], nil
}

// load opens from a blob on. The blob behind the last one means reading in sequence: from then on it is read ahead.
func (f *File) load(blob int) error {
	sequence := f.next == blob
	f.lookNoMore()
	f.drop(f.run)
	f.run, f.next = batch{}, -1
	if len(f.ahead) == 0 || f.ahead[0].first != blob {
		if err := f.begin(blob, sequence); err != nil {
			return err
		}
	}
	if sequence {
		f.readAhead()
	}
	b := f.take()
	if b.err != nil {
		f.drop(b)
		f.stopAhead()
		return b.err
	}
	f.run, f.begun, f.next = b, f.startOf(b.first), b.behind
	f.lookLater()
	return nil
}

// Matches reads r to its end, and compares it with the file by the hashes of its blobs, without reading the repository.
// ErrDamaged when it is another content.
func (f *File) Matches(r io.Reader) error {
	var buf []byte
	for i, id := range f.blobs {
		buf = slices.Grow(buf[:0], f.length(i))[:f.length(i)]
		switch _, err := io.ReadFull(r, buf); {
		case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
			return fmt.Errorf("it ends before byte %d of %d: %w", f.ends[i], f.Size(), ErrDamaged)
		case err != nil:
			return err
		case Hash(buf) != id:
			return fmt.Errorf("it differs between byte %d and %d: %w", f.startOf(i), f.ends[i], ErrDamaged)
		}
	}
	if n, err := r.Read(make([]byte, 1)); n > 0 || !errors.Is(err, io.EOF) {
		return errors.Join(fmt.Errorf("it is longer than %d bytes: %w", f.Size(), ErrDamaged), err)
	}
	return nil
}
