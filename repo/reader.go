package repo

import (
	"context"
	"io"
	"iter"
)

// LoadTree reads, verifies and decodes one folder.
func (r *Repository) LoadTree(ctx context.Context, id ID) ([]Node, error) { panic("to come") }

// Lookup finds the node at a slash-separated path below a tree; "" and "/" are the folder itself, a node with only
// Type and Subtree. ErrNotFound, ErrNotFolder.
func (r *Repository) Lookup(ctx context.Context, tree ID, path string) (Node, error) {
	panic("to come")
}

// Walk yields every node below a tree with its path (relative, slash-separated, raw names), folders before what is in
// them, in order of raw name. An error ends it.
func (r *Repository) Walk(ctx context.Context, tree ID) iter.Seq2[Entry, error] {
	panic("to come")
}

// Entry is a node and where it stands.
type Entry struct {
	Path string // relative to the tree that was walked
	Node Node
}

// File reads a stored file: random access by bisection over the blobs' cumulative sizes, ordered read-ahead on all
// cores when read in sequence. No byte leaves it before its blob's MAC, length and SHA-256 are verified. One goroutine
// at a time, but for ReadAt.
type File struct {
}

var (
	_ io.ReadSeekCloser = (*File)(nil)
	_ io.ReaderAt       = (*File)(nil)
	_ io.WriterTo       = (*File)(nil)
)

// OpenFile prepares reading. It fails when a blob is not indexed or the sizes do not add up to the node's. Close stops
// the read-ahead.
func (r *Repository) OpenFile(ctx context.Context, n Node) (*File, error) { panic("to come") }

// Size is the file's length in bytes.
func (f *File) Size() int64 { panic("to come") }

// ContentID identifies the content without reading it: the SHA-256 of the list of blob IDs.
func (f *File) ContentID() ID { panic("to come") }

func (f *File) Read(p []byte) (int, error)                { panic("to come") }
func (f *File) ReadAt(p []byte, off int64) (int, error)   { panic("to come") }
func (f *File) Seek(off int64, whence int) (int64, error) { panic("to come") }
func (f *File) WriteTo(w io.Writer) (int64, error)        { panic("to come") }
func (f *File) Close() error                              { panic("to come") }
