package repo

import (
	"context"
	"fmt"
)

// batch is a run of blobs of a file that lie one behind the other in one pack: one read of the storage, decoded as one.
type batch struct {
	first, behind int // blobs [first, behind)
	at            location
	sealed        int64 // bytes in the pack
	size          int   // bytes of plaintext
	plain         []byte
	err           error
}

// batchSize is how many bytes of plaintext a batch gathers at the most, unless one blob alone is larger.
const batchSize = 2 << 20

// plan gathers a batch from a blob on, of at most limit bytes (but one blob at least).
func (f *File) plan(blob, limit int) batch {
	x := f.repo.index
	at, _ := x.lookup(DataBlob, f.blobs[blob])
	b := batch{first: blob, behind: blob + 1, at: at, sealed: int64(at.Length), size: at.plainLength()}
	for ; b.behind < len(f.blobs); b.behind++ {
		next, ok := x.lookup(DataBlob, f.blobs[b.behind])
		adjacent := ok && next.Pack == at.Pack && int64(next.Offset) == int64(at.Offset)+b.sealed
		if !adjacent || b.size+next.plainLength() > limit {
			break
		}
		b.sealed += int64(next.Length)
		b.size += next.plainLength()
	}
	return b
}

// read fetches, decodes and verifies a batch. A blob that is damaged here is looked for elsewhere.
func (f *File) read(ctx context.Context, b batch) batch {
	r := f.repo
	s := r.borrowScratch()
	defer r.returnScratch(s)
	plain := r.buffers.get(b.size + decoderSlack)
	sealed, err := r.storage.Get(ctx, packName(b.at.Pack), int64(b.at.Offset), b.sealed)
	for i := b.first; i < b.behind; i++ {
		at, ok := r.index.lookup(DataBlob, f.blobs[i])
		var opened []byte
		if err == nil && ok && int(at.Length) <= len(sealed) && at.Pack == b.at.Pack {
			opened, err = r.openBlob(plain, at.packedBlob, sealed[:at.Length], s)
			sealed = sealed[at.Length:]
		}
		if opened == nil {
			if opened, err = r.readBlob(ctx, DataBlob, f.blobs[i], plain, s); err != nil {
				r.buffers.put(plain)
				b.err = err
				return b
			}
		}
		plain = opened
	}
	if len(plain) != b.size { // the index changed meanwhile, or we are wrong: never give out shifted bytes
		b.err = fmt.Errorf("blobs %d to %d have %d bytes, not %d: %w", b.first, b.behind, len(plain), b.size, ErrDamaged)
		return b
	}
	b.plain = plain
	return b
}

// readAhead decodes batches on several goroutines and gives them in order.
type readAhead struct {
	ctx   context.Context
	stop  context.CancelFunc
	queue chan chan batch // results to come, in order; its capacity bounds the memory
}

// startAhead begins to read ahead from a blob on, to the end of the file.
func (f *File) startAhead(blob int) *readAhead {
	a := &readAhead{queue: make(chan chan batch, f.repo.opt.Cores)}
	a.ctx, a.stop = context.WithCancel(f.ctx)
	f.pool.Go(func() {
		for blob < len(f.blobs) {
			b, result := f.plan(blob, batchSize), make(chan batch, 1)
			select {
			case a.queue <- result:
			case <-a.ctx.Done():
				return
			}
			f.pool.Go(func() { result <- f.read(a.ctx, b) })
			blob = b.behind
		}
	})
	return a
}

// take waits for the next batch.
func (a *readAhead) take() batch {
	select {
	case result := <-a.queue:
		select {
		case b := <-result:
			return b
		case <-a.ctx.Done():
		}
	case <-a.ctx.Done():
	}
	return batch{err: context.Cause(a.ctx)}
}
