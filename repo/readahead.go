package repo

import (
	"context"
	"fmt"
)

// batch is a run of blobs of a file that lie one behind the other in one pack: one read of the storage, opened as one.
type batch struct {
	first, behind int // blobs [first, behind)
	at            location
	sealed        int64  // bytes in the pack
	size          int    // bytes that leave
	cached        bool   // to be looked for in the cache, and kept there
	data          []byte // what leaves
	held          int64  // bytes of the repository's readMemory: what it takes to open it, then what data takes
	err           error
}

const (
	// batchSize is how many bytes a batch gathers at the most, unless one blob alone is larger.
	batchSize = 2 << 20

	// maxAhead is how many bytes a file reads ahead at the most, however many cores there are.
	maxAhead = 24 << 20

	// cachedRange is the length up to which a wanted range goes through the cache, blob by blob.
	cachedRange = 4 << 20
)

// plan gathers a batch from a blob on, of at most limit bytes (but one blob at least).
func (f *File) plan(blob int, limit int64) batch {
	at, _ := f.repo.find(DataBlob, f.blobs[blob])
	b := batch{first: blob, behind: blob + 1, at: at, sealed: int64(at.Length), size: f.length(blob)}
	for ; b.behind < len(f.blobs); b.behind++ {
		next, ok := f.repo.find(DataBlob, f.blobs[b.behind])
		adjacent := ok && next.Pack == at.Pack && int64(next.Offset) == int64(at.Offset)+b.sealed
		if !adjacent || int64(b.size+f.length(b.behind)) > limit {
			break
		}
		b.sealed += int64(next.Length)
		b.size += f.length(b.behind)
	}
	return b
}

// length is the number of bytes in which a blob leaves.
func (f *File) length(blob int) int { return int(f.ends[blob] - f.startOf(blob)) }

// read fetches, opens and verifies a batch.
func (f *File) read(ctx context.Context, b batch) batch {
	if b.cached {
		b.data, b.err = f.repo.cachedBlob(ctx, f.blobs[b.first])
	} else {
		b.data, b.err = f.open(ctx, b)
	}
	if b.err == nil && len(b.data) != b.size { // the index changed meanwhile, or we are wrong: never give out shifted bytes
		b.err = fmt.Errorf("blobs %d to %d have %d bytes, not %d: %w", b.first, b.behind, len(b.data), b.size, ErrDamaged)
	}
	return b
}

// open fetches a batch into a buffer of the pool. A blob that is damaged here is looked for elsewhere.
func (f *File) open(ctx context.Context, b batch) ([]byte, error) {
	r := f.repo
	s := r.borrowScratch()
	defer r.returnScratch(s)
	data := r.buffers.get(b.size + decoderSlack)
	sealed, err := r.storage.Get(ctx, packName(b.at.Pack), int64(b.at.Offset), b.sealed)
	for i := b.first; i < b.behind; i++ {
		at, ok := r.find(DataBlob, f.blobs[i])
		var opened []byte
		if err == nil && ok && int(at.Length) <= len(sealed) && at.Pack == b.at.Pack {
			opened, err = f.form.open(r, data, at.packedBlob, sealed[:at.Length], s)
			sealed = sealed[at.Length:]
		}
		if opened == nil || err != nil {
			if opened, err = r.readBlobAs(ctx, f.form, DataBlob, f.blobs[i], data, s); err != nil {
				r.buffers.put(data)
				return nil, err
			}
		}
		data = opened
	}
	return data, nil
}

// pending is a batch that is being read.
type pending struct {
	batch
	stop context.CancelFunc
	done chan batch
}

// start begins to read a batch, for which memory has been taken.
func (f *File) start(b batch) {
	ctx, stop := context.WithCancel(f.ctx)
	p := &pending{b, stop, make(chan batch, 1)}
	f.ahead = append(f.ahead, p)
	f.pool.Go(func() { p.done <- f.read(ctx, b) })
}

// begin makes the blob the first that is being read, waiting for memory.
func (f *File) begin(blob int, sequence bool) error {
	f.stopAhead()
	limit := int64(0)
	if sequence {
		limit = f.batchLimit(blob)
	}
	small := f.ranged && f.form == plain && f.wanted-f.pos <= cachedRange
	if small {
		limit = 0
	}
	b := f.plan(blob, limit)
	b.cached, b.held = small, f.memoryOf(b)
	if err := f.repo.memory.take(f.ctx, b.held); err != nil {
		return err
	}
	f.start(b)
	return nil
}

// readAhead begins to read what follows, as far as it is wanted and there is memory.
func (f *File) readAhead() {
	total := int64(0)
	for _, p := range f.ahead {
		total += p.held
	}
	blob := f.ahead[len(f.ahead)-1].behind
	for len(f.ahead) <= f.repo.opt.Cores && blob < len(f.blobs) && f.startOf(blob) < f.wanted {
		b := f.plan(blob, f.batchLimit(blob))
		b.held = f.memoryOf(b)
		if total += b.held; total > maxAhead || !f.repo.memory.try(b.held) {
			return
		}
		f.start(b)
		blob = b.behind
	}
}

// batchLimit is how many bytes a batch that begins with a blob may have: none that are not wanted.
func (f *File) batchLimit(blob int) int64 { return min(batchSize, f.wanted-f.startOf(blob)) }

// memoryOf is how much memory it takes to open a batch: what leaves, what is stored, and that decrypted.
// More than there is at all, it may not ask for.
func (f *File) memoryOf(b batch) int64 {
	return min(f.dataOf(b)+2*b.sealed, f.repo.memory.limit)
}

// dataOf is how much memory the data of a batch takes.
func (f *File) dataOf(b batch) int64 {
	_, capacity := f.repo.buffers.class(b.size + decoderSlack)
	return min(int64(capacity), f.repo.memory.limit)
}

// take waits for the first batch that is being read.
func (f *File) take() batch {
	p := f.ahead[0]
	select {
	case b := <-p.done:
		f.ahead = f.ahead[1:]
		p.stop()
		f.repo.memory.give(b.held - f.dataOf(b))
		b.held = f.dataOf(b)
		return b
	case <-f.ctx.Done():
		return batch{err: context.Cause(f.ctx)}
	}
}

// stopAhead gives up what is being read.
func (f *File) stopAhead() {
	for _, p := range f.ahead {
		p.stop()
		f.pool.Go(func() { f.drop(<-p.done) })
	}
	f.ahead = nil
}

// drop gives back what a batch holds.
func (f *File) drop(b batch) {
	if !b.cached {
		f.repo.buffers.put(b.data)
	}
	if b.held > 0 {
		f.repo.memory.give(b.held)
	}
}
