package repo

import (
	"context"
	"iter"
	"time"
)

// Storage keeps the files of one repository: a flat set of named, immutable byte strings. It knows nothing of their
// content. The contract, which storagetest.Run holds every implementation to:
//
//   - Names are slash-separated paths relative to the repository: "config", "keys/<id>", "data/<first two hex>/<id>".
//   - Put is atomic and durable when it returns nil: the file is there under its name, whole, and survives a power
//     cut. After an error the file is absent or whole, never partial, and no temporary file that List would name stays
//     behind. Put of a name that exists replaces it (only "config" is ever replaced). data is not kept after Put
//     returns and not changed.
//   - Get returns n bytes from offset off; n < 0 means up to the end. A missing name is fs.ErrNotExist; a range that
//     reaches past the end is io.ErrUnexpectedEOF. The result belongs to the caller.
//   - List yields all files below dir, at any depth, in no particular order; a missing dir is empty. A failure is
//     yielded as an error, once, as the last pair: an error of List is never "no files".
//   - Delete removes a file; a missing name is fs.ErrNotExist. It is durable when it returns nil.
//   - All methods may be called at once from many goroutines, and return soon after ctx is done.
type Storage interface {
	Put(ctx context.Context, name string, data []byte) error
	Get(ctx context.Context, name string, off, n int64) ([]byte, error)
	List(ctx context.Context, dir string) iter.Seq2[FileInfo, error]
	Delete(ctx context.Context, name string) error
}

// FileInfo is one file of a Storage.
type FileInfo struct {
	Name string // as in Storage: relative to the repository, "data/ab/abcd…"
	Size int64  // bytes

	// ModTime is when the storage wrote the file, by its own clock; the zero time when it cannot tell. Only times of one
	// storage can be compared with each other.
	ModTime time.Time
}

// Reserver is a Storage that keeps a little space for the day on which there is none left.
type Reserver interface {
	// Release gives it up, for what has to be stored before anything can be deleted. False: there is none.
	Release() bool
}
