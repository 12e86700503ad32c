package repo

import (
	"cmp"
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sync/semaphore"
)

const (
	// repackStep is how much of a pack is read at once, unless one blob is larger.
	repackStep = 4 << 20

	// repackGap is how many bytes that nobody needs are read rather than left out: a request more costs as much.
	repackGap = 128 << 10
)

// repacker carries blobs over into new packs. Its memory is the byte budget for what was read, the pack buffers, and per
// worker room for one blob in three forms.
//
// Compressed bytes stay as they are, and plain data too; only plain trees are compressed, which a repository of version
// 2 wants. Each blob is opened, sealed anew, and then proved from the sealed bytes that go into the pack: MAC, length,
// SHA-256.
type repacker struct {
	p      *pruner
	ctx    context.Context
	cancel context.CancelCauseFunc
	budget *semaphore.Weighted // bytes
	most   int64               // of the budget
	packs  [2]*packer          // by BlobType
	bytes  atomic.Int64        // stored

	mu        sync.Mutex // of what follows, held while an index is written
	written   *written
	unindexed map[ID][]packedBlob // packs that are durable but in no index yet
	blobs     int                 // in unindexed
	indexed   time.Time           // of the last index

	telling sync.Mutex
	done    int64 // bytes carried over
}

// repack is steps 2 and 3 of a prune: it writes the blobs that count in these packs into new ones, and lists those in an
// index, now and then and at the end. So a prune that is killed, or given up, need not copy again what it had copied: the
// next one finds the blobs in two packs, and drops the old ones.
func (p *pruner) repack(ctx context.Context, packs []uint32, w *written) error {
	if len(packs) == 0 {
		return nil
	}
	r := p.repo
	k := &repacker{p: p, most: repackStep * int64(r.opt.Cores+2), written: w, unindexed: map[ID][]packedBlob{}, indexed: r.opt.Now()}
	k.budget = semaphore.NewWeighted(k.most)
	k.ctx, k.cancel = context.WithCancelCause(ctx)
	defer k.cancel(nil)
	sink := packSink{r, k.ctx, k.cancel, k.packStored, &k.bytes}
	k.packs[DataBlob] = newPacker(sink, r.opt.PackSize, dataPackBuffers)
	k.packs[TreeBlob] = newPacker(sink, min(treePackSize, r.opt.PackSize), treePackBuffers)
	if err := k.runs(packs); err != nil {
		k.cancel(err)
	}
	for _, packer := range k.packs {
		packer.flush()
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	err := context.Cause(k.ctx)
	switch {
	case err == nil:
		return k.index(k.ctx)
	case noSpace(err): // it will be taken back
		return err
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), abortTimeout)
	defer cancel()
	if left := k.index(ctx); left != nil {
		r.opt.Logger.WarnContext(ctx, "cannot index what a prune had copied that was cut short", "location", r.opt.Location, "error", left)
	}
	return err
}

// runs reads the packs on all cores, run by run.
func (k *repacker) runs(packs []uint32) error {
	group, ctx := errgroup.WithContext(k.ctx)
	group.SetLimit(max(loads, k.p.repo.opt.Cores))
	for _, n := range packs {
		blobs := k.p.catalog.blobs(n, true)
		for len(blobs) > 0 {
			run := cutRun(blobs)
			blobs = blobs[len(run):]
			cost := min(runLength(run), k.most)
			if k.budget.Acquire(ctx, cost) != nil {
				return cmp.Or(group.Wait(), context.Cause(ctx))
			}
			group.Go(func() error {
				defer k.budget.Release(cost)
				return k.run(ctx, k.p.catalog.packs[n], run)
			})
		}
	}
	return group.Wait()
}

// cutRun gives the blobs to read at once, of a list that is sorted by offset.
func cutRun(blobs []packedBlob) []packedBlob {
	n := 1
	for ; n < len(blobs); n++ {
		last := blobs[n-1]
		gap := int64(blobs[n].Offset) - int64(last.Offset) - int64(last.Length)
		if gap < 0 || gap > repackGap || runLength(blobs[:n+1]) > repackStep {
			break
		}
	}
	return blobs[:n]
}

func runLength(run []packedBlob) int64 {
	last := run[len(run)-1]
	return int64(last.Offset) + int64(last.Length) - int64(run[0].Offset)
}

// run carries over a run of blobs. Where the pack cannot be read, each of them is looked for elsewhere.
func (k *repacker) run(ctx context.Context, pack ID, run []packedBlob) error {
	r := k.p.repo
	s := r.borrowScratch()
	defer r.returnScratch(s)
	sealed, failed := r.storage.Get(ctx, packName(pack), int64(run[0].Offset), runLength(run))
	carried := int64(0)
	for _, b := range run {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		err := failed
		if start := int(b.Offset - run[0].Offset); err == nil {
			err = k.carry(b, sealed[start:start+int(b.Length)], s)
		}
		if err != nil {
			err = k.carryCopy(ctx, location{pack, b}, err, s)
		}
		if err != nil {
			return err
		}
		carried += stored(b)
	}
	k.tell(carried)
	return nil
}

// carryCopy takes any other copy of a blob that could not be carried over.
func (k *repacker) carryCopy(ctx context.Context, at location, failed error, s *scratch) error {
	r := k.p.repo
	if k.ctx.Err() != nil {
		return context.Cause(k.ctx)
	}
	for _, l := range r.index.copies(at.Type, at.ID) {
		if l == at {
			continue
		}
		sealed, err := r.storage.Get(ctx, packName(l.Pack), int64(l.Offset), int64(l.Length))
		if err == nil {
			err = k.carry(l.packedBlob, sealed, s)
		}
		if err == nil {
			r.opt.Logger.WarnContext(ctx, "a blob is damaged; another copy of it was kept", "location", r.opt.Location,
				"pack", at.Pack.String(), "blob", at.ID.String(), "error", failed)
			return nil
		}
	}
	return fmt.Errorf("%s %s in pack %s: %w", at.Type, at.ID, at.Pack, failed)
}

// carry puts one blob into the open pack. When it fails, nothing of it is in there.
func (k *repacker) carry(b packedBlob, sealed []byte, s *scratch) error {
	r := k.p.repo
	payload, err := r.key.open(s.packed[:0], sealed)
	if err != nil {
		return err
	}
	s.packed = payload
	fresh := packedBlob{Type: b.Type, ID: b.ID, Uncompressed: b.Uncompressed}
	if b.Type == TreeBlob && b.Uncompressed == 0 && r.config.Version > 1 && len(payload) > 0 {
		c := r.codecs.compressor()
		payload = c.compress(nil, payload)
		r.codecs.putCompressor(c)
		fresh.Uncompressed = uint32(len(s.packed))
	}
	buf := r.buffers.get(len(payload) + overhead)
	defer r.buffers.put(buf)
	again := r.key.seal(buf, payload)
	fresh.Length = uint32(len(again))
	if s.plain, err = r.openBlob(s.plain[:0], fresh, again, s); err != nil {
		return err
	}
	pack, region, err := k.packs[b.Type].reserve(&fresh)
	if err != nil {
		return err
	}
	copy(region, again)
	k.bytes.Add(int64(len(region)))
	pack.sealing.Done()
	return nil
}

// packStored is told of every pack that is durable.
func (k *repacker) packStored(id ID, blobs []packedBlob) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	size := packSize(blobs)
	k.written.packs = append(k.written.packs, orphan{id, size})
	k.p.report.BytesFreed -= size
	k.unindexed[id] = blobs
	k.blobs += len(blobs)
	if k.blobs < indexBlobs && k.p.repo.opt.Now().Sub(k.indexed) < indexInterval {
		return nil
	}
	return k.index(k.ctx)
}

// index lists the packs that no index lists yet. Call it with mu held.
func (k *repacker) index(ctx context.Context) error {
	packs := k.unindexed
	k.unindexed, k.blobs, k.indexed = map[ID][]packedBlob{}, 0, k.p.repo.opt.Now()
	return k.p.putIndex(ctx, packs, k.written)
}

func (k *repacker) tell(n int64) {
	k.telling.Lock()
	defer k.telling.Unlock()
	k.done += n
	k.p.progress(PruneRepacking, k.done, k.p.report.BytesRepacked)
}
