package backup

import (
	"bufio"
	"bytes"
	"compress/bzip2"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// packing is how a file is compressed. Files are known by their first bytes: names lie.
type packing struct {
	name   string
	magic  string
	unpack func(*bufio.Reader) (r io.ReadCloser, checked string, err error) // nil: known, and not unpacked here
}

// maxWindow bounds the memory that a zstd stream may ask for, in bytes; it is what the zstd program allows.
const maxWindow = 128 << 20

var packings = []packing{
	{"gzip", "\x1f\x8b", func(r *bufio.Reader) (io.ReadCloser, string, error) {
		z, err := gzip.NewReader(r) // reads all members, and finds fault with what is behind them
		return z, "CRC-32 right", err
	}},
	{"bzip2", "BZh", func(r *bufio.Reader) (io.ReadCloser, string, error) {
		return io.NopCloser(bzip2.NewReader(r)), "CRC-32 right", nil
	}},
	{"zstd", "\x28\xb5\x2f\xfd", func(r *bufio.Reader) (io.ReadCloser, string, error) {
		checked := "the stream has no checksum"
		var head zstd.Header
		if start, _ := r.Peek(zstd.HeaderMaxSize); head.Decode(start) == nil && head.HasCheckSum {
			checked = "XXH64 right"
		}
		z, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(maxWindow))
		if err != nil {
			return nil, "", err
		}
		return z.IOReadCloser(), checked, nil
	}},
	{name: "xz", magic: "\xfd7zXZ\x00"},
	{name: "lz4", magic: "\x04\x22\x4d\x18"},
	{name: "7-Zip", magic: "7z\xbc\xaf\x27\x1c"},
}

// dumpFile is an existing file, or a stream, that is read as a dump, unpacked on the way. Only when Read came to io.EOF and
// finish has returned nil, it is whole as far as it can tell itself.
type dumpFile struct {
	path    string
	packing string // "gzip"; empty when the dump lies there as it is
	checked string // what reading it to the end has proven

	ctx    context.Context
	from   io.Reader // the file, or the stream
	file   *os.File  // nil of a stream
	before fs.FileInfo
	in     io.Reader     // unpacked
	close  func() error  // of the unpacker
	read   func(n int64) // told how much of the file itself was read
}

// openDump opens a file, and looks how it is packed.
func openDump(ctx context.Context, path string, read func(int64)) (*dumpFile, error) {
	before, err := statDump(path)
	if err != nil {
		return nil, err
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, readable(err)
	}
	d := &dumpFile{path: path, ctx: ctx, from: f, file: f, before: before, read: read, close: func() error { return nil }}
	if err := d.unpack(); err != nil {
		f.Close()
		return nil, err
	}
	return d, nil
}

// streamDump is openDump of what comes from somewhere, once.
func streamDump(ctx context.Context, name string, from io.Reader, read func(int64)) (*dumpFile, error) {
	d := &dumpFile{path: name, ctx: ctx, from: from, read: read, close: func() error { return nil }}
	return d, d.unpack()
}

// statDump looks at a file before it is opened, which would wait for ever on a fifo.
func statDump(path string) (fs.FileInfo, error) {
	fi, err := os.Stat(path)
	switch {
	case err != nil:
		return nil, readable(err)
	case fi.IsDir():
		return nil, fmt.Errorf("it is a folder: name the files in it, as %s/*", path)
	case !fi.Mode().IsRegular():
		return nil, errors.New("it is not a regular file")
	case fi.Size() == 0:
		return nil, errors.New("it is empty")
	}
	return fi, nil
}

// readable takes the path out of an error, since it is named beside it, and says who may not read.
func readable(err error) error {
	if e, ok := errors.AsType[*fs.PathError](err); ok {
		err = e.Err
	}
	if errors.Is(err, fs.ErrPermission) {
		return fmt.Errorf("%w for user %s: let that user read it", err, userName())
	}
	return err
}

func (d *dumpFile) unpack() error {
	in := bufio.NewReaderSize(countingReader{d.from, d.read}, 256<<10)
	d.in, d.checked = in, "file read to its end"
	start, err := in.Peek(8)
	if err != nil && !errors.Is(err, io.EOF) {
		return readable(err)
	}
	for _, p := range packings {
		if !bytes.HasPrefix(start, []byte(p.magic)) {
			continue
		}
		if p.unpack == nil {
			return fmt.Errorf("it is packed with %s, which is not unpacked here: unpack it first", p.name)
		}
		d.packing = p.name
		r, checked, err := p.unpack(in)
		if err != nil {
			return d.fault(err)
		}
		d.in, d.close = r, r.Close
		d.checked = fmt.Sprintf("%s file read to its end, %s", p.name, checked)
		return nil
	}
	return nil
}

// Read gives the dump itself. An unpacker that comes to the end of the file in the middle of its stream, or to bytes
// behind its end, says so here.
func (d *dumpFile) Read(p []byte) (int, error) {
	if d.ctx.Err() != nil {
		return 0, context.Cause(d.ctx)
	}
	n, err := d.in.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		err = d.fault(err)
	}
	return n, err
}

// fault says plainly what an error of reading means.
func (d *dumpFile) fault(err error) error {
	err = readable(err)
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("the %s file is cut off: %w", d.packing, err)
	}
	if d.packing != "" {
		return fmt.Errorf("the %s file is damaged, or something is behind its end: %w", d.packing, err)
	}
	return err
}

// finish makes sure that the file is the one that it was: a dump that somebody is still writing is none.
func (d *dumpFile) finish() error {
	if d.file != nil {
		if err := d.unchanged(); err != nil {
			return err
		}
	}
	if n, err := d.Read(make([]byte, 1)); n > 0 || !errors.Is(err, io.EOF) {
		return errors.Join(errors.New("it was not read to its end"), err)
	}
	return nil
}

func (d *dumpFile) unchanged() error {
	after, err := d.file.Stat()
	if err != nil {
		return readable(err)
	}
	if !sameFile(d.before, after) {
		return errors.New("it changed while it was read: import it when it is complete")
	}
	return nil
}

// sameFile reports whether two looks at a file were at the same content, as far as they tell.
func sameFile(a, b fs.FileInfo) bool {
	return os.SameFile(a, b) && a.Size() == b.Size() && a.ModTime().Equal(b.ModTime())
}

// Close may be called at any time.
func (d *dumpFile) Close() error {
	err := d.close()
	if d.file != nil {
		err = errors.Join(err, d.file.Close())
	}
	return err
}

// countingReader tells how much is read through it.
type countingReader struct {
	io.Reader
	count func(int64)
}

func (r countingReader) Read(p []byte) (int, error) {
	n, err := r.Reader.Read(p)
	r.count(int64(n))
	return n, err
}
