package repo

import (
	"context"
	"io"
)

// Writer builds one snapshot. Without Commit nothing that it stored is reachable. Use: NewWriter, Root, Mkdir and
// Create, Close of each file and folder, Commit; Abort at the end in any case.
type Writer struct {
}

// Stats counts what a Writer did so far. Sizes in bytes.
type Stats struct {
	Files       int64 `json:"files"`
	Folders     int64 `json:"folders"`
	BytesRead   int64 `json:"bytes_read"`   // plaintext given to the writer, trees not counted
	BytesNew    int64 `json:"bytes_new"`    // plaintext that the repository did not have, trees included
	BytesStored int64 `json:"bytes_stored"` // what it takes in packs, compressed and sealed
	BlobsNew    int64 `json:"blobs_new"`    // data and trees
}

// NewWriter starts a snapshot under a lock that was taken before the index was loaded. All work stops when the lock's
// context is done.
func (r *Repository) NewWriter(lock *Lock) *Writer { panic("to come") }

// Root is the top folder of the snapshot. Commit closes it.
func (w *Writer) Root() *Dir { panic("to come") }

// Stats may be called at any time.
func (w *Writer) Stats() Stats { panic("to come") }

// Commit closes the root, waits for all blobs, stores the last packs, the index, and then the snapshot with s's
// metadata and the root's tree; what it returns is durable. After an error nothing is reachable.
func (w *Writer) Commit(s Snapshot) (Snapshot, error) { panic("to come") }

// Abort stops all work and frees the buffers; after Commit it does nothing.
func (w *Writer) Abort() { panic("to come") }

// Dir is a folder of the snapshot being written. Its methods are for one goroutine; several Dirs and files may be
// open at once.
type Dir struct {
}

// Mkdir opens a folder in d; n gives its name and metadata (Type and Subtree are set here).
func (d *Dir) Mkdir(n Node) (*Dir, error) { panic("to come") }

// Create opens a regular file in d for writing; n gives its name and metadata (Type, Size and Content are set here).
func (d *Dir) Create(n Node) (*FileWriter, error) { panic("to come") }

// Add adds what is neither file nor folder: a link, a device, a fifo.
func (d *Dir) Add(n Node) error { panic("to come") }

// OnFile has f called for every regular file below d (its folders included) when its folder closes, in order of
// name, with the path relative to d. For the parents of SHA256SUMS.
func (d *Dir) OnFile(f func(path string, sum FileSum)) { panic("to come") }

// Close stores the folder's tree and adds it to its parent; all files and folders in it must be closed. It returns the
// tree's ID.
func (d *Dir) Close() (ID, error) { panic("to come") }

// FileSum is what became of a file's content.
type FileSum struct {
	Size   int64
	SHA256 ID // of the whole content
}

// FileWriter takes the content of one file as a stream, in memory bounded by the writer's budget.
type FileWriter struct {
}

var _ io.ReaderFrom = (*FileWriter)(nil)

// Write cuts, and hands chunks to the workers; it blocks while the budget is used up.
func (f *FileWriter) Write(p []byte) (int, error) { panic("to come") }

// ReadFrom reads r to its end straight into the chunk buffer.
func (f *FileWriter) ReadFrom(r io.Reader) (int64, error) { panic("to come") }

// Close ends the content. A file that is not closed makes Dir.Close fail.
func (f *FileWriter) Close() error { panic("to come") }

// Sum waits until every chunk is hashed and stored or known; valid after Close.
func (f *FileWriter) Sum(ctx context.Context) (FileSum, error) { panic("to come") }
