// Package archive turns files and folders of snapshots into what people download: compressed files, tar and zip. All
// is made while it is written, with a bounded memory, and the same content always gives the same bytes.
package archive

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"slices"
	"strings"
	"sync"

	"github.com/dsnet/compress/bzip2"
	"github.com/klauspost/compress/zstd"
	"github.com/klauspost/pgzip"

	"github.com/caddy-backup/caddy-backup/repo"
)

// Format is what a file or folder is turned into, and the ending of its name.
type Format string

// The formats of files and of folders.
const (
	Raw     Format = "raw" // the file as it is
	Gzip    Format = "gz"
	Bzip2   Format = "bz2"
	Zstd    Format = "zst"
	Tar     Format = "tar"
	TarGzip Format = "tar.gz"
	Zip     Format = "zip"
)

// OfFiles and OfFolders are the formats that there are.
var (
	OfFiles   = []Format{Raw, Gzip, Bzip2, Zstd}
	OfFolders = []Format{Tar, TarGzip, Zip}
)

var media = map[Format]string{
	Gzip: "application/gzip", Bzip2: "application/x-bzip2", Zstd: "application/zstd",
	Tar: "application/x-tar", TarGzip: "application/gzip", Zip: "application/zip",
}

// Media is the format's MIME type; "" for Raw, which is what it is.
func (f Format) Media() string { return media[f] }

// ForFolder reports whether the format is one of folders.
func (f Format) ForFolder() bool { return slices.Contains(OfFolders, f) }

// ErrFormat is a format that does not exist, or not for this.
var ErrFormat = errors.New("wrong format")

// Parse reads a format as people write it; "" is Raw. ErrFormat.
func Parse(s string) (Format, error) {
	f := Format(strings.ToLower(s))
	switch {
	case f == "":
		return Raw, nil
	case slices.Contains(OfFiles, f), f.ForFolder():
		return f, nil
	}
	return "", fmt.Errorf("%w: %q is none of %s", ErrFormat, s, Names(slices.Concat(OfFiles, OfFolders)))
}

// Names lists formats for a message.
func Names(formats []Format) string {
	words := make([]string, len(formats))
	for i, f := range formats {
		words[i] = string(f)
	}
	return strings.Join(words, ", ")
}

// Tree is a folder of which an archive is made.
type Tree interface {
	// Walk yields all that is in the folder, with paths relative to it, folders before what is in them. An error is
	// yielded last.
	Walk(ctx context.Context) iter.Seq2[repo.Entry, error]
	// Open opens a file in it.
	Open(ctx context.Context, file repo.Node) (io.ReadCloser, error)
}

// WriteFile writes a file in a format of files. After an error, what was written does not end as a whole file does.
func WriteFile(w io.Writer, f Format, file io.Reader) error {
	t := &tap{w: w}
	z, err := compressor(t, f)
	if err != nil {
		return err
	}
	return t.end(z, copyAll(t.into(z), file))
}

// WriteFolder writes a folder in a format of folders. self is the folder's own node; everything stands below its name in
// the archive, or at the top when it has none. After an error, what was written does not end as a whole archive does.
func WriteFolder(ctx context.Context, w io.Writer, f Format, self repo.Node, tree Tree) error {
	t := &tap{w: w}
	switch f {
	case Tar:
		return writeTar(ctx, t.into(t), self, tree)
	case TarGzip:
		z := pgzip.NewWriter(t)
		return t.end(z, writeTar(ctx, t.into(z), self, tree))
	case Zip:
		return writeZip(ctx, t.into(t), self, tree)
	}
	return fmt.Errorf("%w: %q is none of %s", ErrFormat, f, Names(OfFolders))
}

// compressor compresses into w what is written to it.
func compressor(w io.Writer, f Format) (io.WriteCloser, error) {
	switch f {
	case Raw:
		return plain{w}, nil
	case Gzip:
		return pgzip.NewWriter(w), nil
	case Bzip2:
		return bzip2.NewWriter(w, nil)
	case Zstd:
		return zstd.NewWriter(w, zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(4<<20))
	}
	return nil, fmt.Errorf("%w: %q is none of %s", ErrFormat, f, Names(OfFiles))
}

type plain struct{ io.Writer }

func (plain) Close() error { return nil }

// tap is the way out, which is closed when something failed: compressors must be closed, for they have goroutines, but
// then they would write the end of a file that looks whole. It hides errors from compressors, since one of them leaves its
// goroutine behind after an error; who writes into the compressor is told of them. One writes from a goroutine of its own,
// hence the lock.
type tap struct {
	w io.Writer

	mu     sync.Mutex
	failed error // of w
	closed bool  // nothing goes out any more
}

// Write never fails: see into.
func (t *tap) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.closed {
		_, t.failed = t.w.Write(p)
		t.closed = t.failed != nil
	}
	return len(p), nil
}

func (t *tap) failure() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.failed
}

func (t *tap) close() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.closed = true
}

// into writes into z, from which all goes through the tap, until the way out fails.
func (t *tap) into(z io.Writer) io.Writer { return stopper{z, t} }

type stopper struct {
	z io.Writer
	t *tap
}

func (s stopper) Write(p []byte) (int, error) {
	if err := s.t.failure(); err != nil {
		return 0, err
	}
	n, err := s.z.Write(p)
	return n, cmp.Or(s.t.failure(), err)
}

// end closes the compressor, which may write its end only if all went well.
func (t *tap) end(z io.Closer, err error) error {
	if err != nil {
		t.close()
	}
	closed := z.Close()
	t.close()
	return cmp.Or(err, t.failure(), closed)
}

// copyAll copies in small pieces. A File that writes itself would hold a whole chunk for as long as the other end
// stalls.
func copyAll(w io.Writer, r io.Reader) error {
	_, err := io.Copy(struct{ io.Writer }{w}, struct{ io.Reader }{r})
	return err
}
