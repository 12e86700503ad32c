package repo

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sync/semaphore"
)

// Writer builds one snapshot. Without Commit nothing that it stored is reachable. Use: NewWriter, Root, Mkdir and
// Create, Close of each file and folder, Commit; Abort at the end in any case.
//
//	FileWriter --chunks--> workers: hash, known? compress, seal, verify --> packer --packs--> storage
//	                       Dir ----trees----^
//
// Order of durable writes: packs, then an index that lists them, then (Commit) the snapshot. A crash anywhere leaves
// at most packs and an index that nothing refers to.
type Writer struct {
	repo   *Repository
	lock   *Lock
	ctx    context.Context
	cancel context.CancelCauseFunc
	start  time.Time
	table  *gearTable
	root   *Dir

	missing map[ID]bool // indexed packs that are not there, or damaged; never changed
	found   int64       // bytes of all packs that were there when it began
	stats   writerStats

	budget  *semaphore.Weighted // bytes of chunks between cutter and packer
	jobs    chan job
	submits sync.RWMutex // held for reading while a job is handed over; jobs is closed under it
	closed  bool         // jobs is closed
	workers sync.WaitGroup
	helpers sync.WaitGroup // hashers of files, finishers of folders
	data    *packer
	trees   *packer

	mu        sync.Mutex
	seen      map[blobKey]struct{} // blobs that this writer stores and that are in no index yet
	unindexed map[ID][]packedBlob  // packs that are durable but in no index yet
	blobs     int                  // in unindexed
	indexed   time.Time            // of the last index
	lastTurn  chan struct{}        // ends when the folder closed last has told its OnFile
	committed bool
	aborted   bool
}

// The memory of a writer is the sum of these, whatever the stream's length: chunks on their way, the chunk that each
// open file fills, the pack buffers, and per worker the encoder and room for one compressed chunk.
const (
	chunkBudget     = 2 * maxChunk // bytes of chunks on their way
	dataPackBuffers = 2            // one fills while the other is stored
	treePackBuffers = 2
	treePackSize    = 4 << 20
)

// An index is written when so many blobs are waiting for one, or after so long a time, so that a backup that is killed
// need not be repeated from its start.
const (
	indexBlobs    = 50_000
	indexInterval = 2 * time.Minute
)

type blobKey struct {
	typ BlobType
	id  ID
}

// NewWriter starts a snapshot under a lock that was taken before the index was loaded: the lock is what keeps a prune
// from removing blobs that this writer counts on. All work stops when the lock's context is done.
func (r *Repository) NewWriter(lock *Lock) (*Writer, error) {
	if err := r.writable(); err != nil {
		return nil, err
	}
	table, err := newGearTable(r.config.ChunkerPolynomial)
	if err != nil {
		return nil, fmt.Errorf("chunker_polynomial: %w: %w", ErrDamaged, err)
	}
	sizes, err := r.listPacks(lock.Context())
	if err != nil {
		return nil, err
	}
	w := &Writer{
		repo: r, lock: lock, table: table, missing: r.missingPacks(lock.Context(), sizes), found: sumSizes(sizes), start: r.opt.Now(), indexed: r.opt.Now(),
		budget:    semaphore.NewWeighted(chunkBudget),
		jobs:      make(chan job, r.opt.Cores),
		seen:      map[blobKey]struct{}{},
		unindexed: map[ID][]packedBlob{},
	}
	w.ctx, w.cancel = context.WithCancelCause(lock.Context())
	sink := packSink{r, w.ctx, w.fail, w.packStored, &w.stats.stored}
	w.data = newPacker(sink, r.opt.PackSize, dataPackBuffers)
	w.trees = newPacker(sink, min(treePackSize, r.opt.PackSize), treePackBuffers)
	w.root = &Dir{w: w}
	for range r.opt.Cores {
		w.workers.Go(w.work)
	}
	return w, nil
}

// Root is the top folder of the snapshot. Commit closes it.
func (w *Writer) Root() *Dir { return w.root }

// Stats counts what a Writer did so far. Sizes in bytes.
type Stats struct {
	Files       int64 `json:"files"`
	Folders     int64 `json:"folders"`
	BytesRead   int64 `json:"bytes_read"`   // plaintext given to the writer, trees not counted
	BytesNew    int64 `json:"bytes_new"`    // plaintext that the repository did not have, trees included
	BytesStored int64 `json:"bytes_stored"` // what it takes in packs, compressed and sealed
	BlobsNew    int64 `json:"blobs_new"`    // data and trees
	PackBytes   int64 `json:"pack_bytes"`   // of all packs of the repository: those found at the beginning, and BytesStored
}

// Stats may be called at any time.
func (w *Writer) Stats() Stats {
	s := &w.stats
	return Stats{
		Files: s.files.Load(), Folders: s.folders.Load(), BytesRead: s.read.Load(), BytesNew: s.added.Load(),
		BytesStored: s.stored.Load(), BlobsNew: s.dataBlobs.Load() + s.treeBlobs.Load(), PackBytes: w.found + s.stored.Load(),
	}
}

// Commit closes the root, waits for all blobs, stores the last packs, the index, and then the snapshot with s's
// metadata and the root's tree; what it returns is durable. After an error nothing is reachable.
func (w *Writer) Commit(s Snapshot) (Snapshot, error) {
	tree, err := w.root.Close()
	if err != nil {
		w.fail(err)
	}
	if err := w.settle(); err != nil {
		return Snapshot{}, err
	}
	s.Tree, s.Summary = tree, w.summary(s.Summary)
	s, err = w.repo.saveSnapshot(w.ctx, s)
	if err != nil {
		w.fail(err)
		return Snapshot{}, err
	}
	w.finished()
	return s, nil
}

// finished ends the writer after everything went well.
func (w *Writer) finished() {
	w.committed = true
	w.cancel(errWriterDone)
}

// settle has all blobs durable and indexed, under a lock that still holds. Nothing can be written afterwards but a
// snapshot.
func (w *Writer) settle() error {
	w.drain()
	w.data.flush()
	w.trees.flush()
	if err := w.saveIndex(w.ctx); err != nil {
		w.fail(err)
	}
	if w.ctx.Err() != nil {
		return context.Cause(w.ctx)
	}
	return w.lock.verify(w.ctx)
}

// storeBytes stores data as one blob, and returns when it is in a pack, or known.
func (w *Writer) storeBytes(t BlobType, data []byte) (ID, error) {
	c, err := w.newChunk(append(w.repo.buffers.get(len(data)+decoderSlack), data...))
	if err != nil {
		return ID{}, err
	}
	var id ID
	var stored sync.WaitGroup
	if err := w.submit(job{typ: t, chunk: c, id: &id, done: &stored}); err != nil {
		return ID{}, err
	}
	stored.Wait()
	if w.ctx.Err() != nil {
		return ID{}, context.Cause(w.ctx)
	}
	return id, nil
}

// Abort stops all work and waits for it, at most as long as the storage takes to notice; after Commit it does nothing.
// The packs that are durable by then are indexed, so that the next backup finds what this one had stored.
func (w *Writer) Abort() {
	if w.committed || w.aborted {
		return
	}
	w.aborted = true
	w.fail(errAborted)
	w.drain()
	w.data.flush()
	w.trees.flush()
	w.helpers.Wait()
	if err := w.indexLeft(); err != nil {
		w.repo.opt.Logger.Warn("cannot index what a backup had stored that was given up; the next one stores it again",
			"location", w.repo.opt.Location, "error", err)
	}
}

// indexLeft indexes the packs that are left, unless the lock was lost: then a prune may be about to remove them. The
// work's context is done by now, hence one of its own, short enough for a server that is being stopped.
func (w *Writer) indexLeft() error {
	if len(w.unindexed) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(w.ctx), abortTimeout)
	defer cancel()
	if err := w.lock.verify(ctx); err != nil {
		return err
	}
	return w.saveIndex(ctx)
}

// abortTimeout bounds the last write of a backup that is given up.
const abortTimeout = 2 * time.Second

var (
	errAborted    = errors.New("backup was given up")
	errWriterDone = errors.New("snapshot is written already")
)

// fail makes err the reason for which everything stops; the first one counts.
func (w *Writer) fail(err error) { w.cancel(err) }

// drain lets the workers finish what was handed to them, and ends them.
func (w *Writer) drain() {
	w.submits.Lock()
	if !w.closed {
		w.closed = true
		close(w.jobs)
	}
	w.submits.Unlock()
	w.workers.Wait()
}

// summary tells what the run did, in restic's terms. Without a look at the parent everything counts as new.
func (w *Writer) summary(s *Summary) *Summary {
	if s == nil {
		s = &Summary{}
	}
	st := w.Stats()
	if s.BackupStart.IsZero() {
		s.BackupStart = w.start
	}
	s.BackupEnd = w.repo.opt.Now()
	s.FilesNew, s.DirsNew = uint(st.Files), uint(st.Folders)
	s.DataBlobs, s.TreeBlobs = int(w.stats.dataBlobs.Load()), int(w.stats.treeBlobs.Load())
	s.DataAdded, s.DataAddedPacked = uint64(st.BytesNew), uint64(st.BytesStored)
	s.TotalFilesProcessed, s.TotalBytesProcessed = uint(st.Files), uint64(st.BytesRead)
	return s
}

// packStored is told of every pack that is durable, and writes an index now and then.
func (w *Writer) packStored(id ID, blobs []packedBlob) error {
	w.mu.Lock()
	w.unindexed[id] = blobs
	w.blobs += len(blobs)
	due := w.blobs >= indexBlobs || w.repo.opt.Now().Sub(w.indexed) >= indexInterval
	w.mu.Unlock()
	if !due {
		return nil
	}
	return w.saveIndex(w.ctx)
}

// saveIndex lists the packs that are durable. Only then may their blobs be forgotten as seen: from here on the
// repository's index knows them.
func (w *Writer) saveIndex(ctx context.Context) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	w.mu.Lock()
	packs := w.unindexed
	w.unindexed, w.blobs, w.indexed = map[ID][]packedBlob{}, 0, w.repo.opt.Now()
	w.mu.Unlock()
	if len(packs) == 0 {
		return nil
	}
	if _, err := w.repo.saveIndex(ctx, packs); err != nil {
		return fmt.Errorf("storing the index: %w", err)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, blobs := range packs {
		for _, b := range blobs {
			delete(w.seen, blobKey{b.Type, b.ID})
		}
	}
	return nil
}
