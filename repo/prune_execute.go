package repo

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"sync/atomic"

	"golang.org/x/sync/errgroup"
)

// execute does what was planned, in an order that keeps three things true at every instant, so that it may end anywhere:
// what a snapshot needs is in an index, an index lists only packs that exist, and an index lists a pack wholly or not.
//
//	step                          after a crash right behind it
//	1 packs in no index away      nothing has changed for anybody
//	2 new packs                   packs in no index: a prune removes them when they are a day old
//	3 an index that lists them    blobs that lie in two packs: the next prune takes the new one and drops the old
//	4 new index of all that stays packs listed twice, in the same words: the next prune lists them once
//	5 old index files away        packs in no index
//	6 dropped packs away          all is done
func (p *pruner) execute(ctx context.Context) error {
	p.report.BytesFreed = 0 // until now it was what was expected
	if err := p.lock.verify(ctx); err != nil {
		return err
	}
	if err := p.dropOrphans(ctx); err != nil { // step 1
		return err
	}
	change, w := planIndex(p.catalog, p.verdicts), &written{}
	err := p.repack(ctx, p.toRepack(), w) // steps 2 and 3
	if err == nil {
		err = p.relist(ctx, change.list, w) // step 4
	}
	if noSpace(err) {
		return p.dropOnly(ctx, w, err)
	}
	if err == nil {
		err = p.deleteIndex(ctx, change.files) // step 5
	}
	if err != nil {
		return err
	}
	// Downloads of this process hold no lock; from here on they find their blobs in the new packs. It also proves that the
	// new index can be read: until the packs are gone, the old one could be made again from them.
	if err := p.live.LoadIndex(ctx); err != nil {
		return err
	}
	return p.dropPacks(ctx, change.drop) // step 6
}

// written is what this prune has stored so far.
type written struct {
	packs []orphan
	files []ID // of the index
}

// dropOrphans is step 1.
func (p *pruner) dropOrphans(ctx context.Context) error {
	deleted, err := p.deletePacks(ctx, p.orphans)
	p.report.PacksUnindexed = deleted
	return err
}

// toRepack lists the packs whose blobs are to be stored once more.
func (p *pruner) toRepack() (packs []uint32) {
	for n, v := range p.verdicts {
		if v == repackPack {
			packs = append(packs, uint32(n))
		}
	}
	return packs
}

// relist is step 4: it writes index files that list packs as the old ones did.
func (p *pruner) relist(ctx context.Context, packs []uint32, w *written) error {
	for _, numbers := range p.catalog.split(packs) {
		list := make(map[ID][]packedBlob, len(numbers))
		for _, n := range numbers {
			list[p.catalog.packs[n]] = p.catalog.blobs(n, false)
		}
		if err := p.putIndex(ctx, list, w); err != nil {
			return err
		}
	}
	return nil
}

// putIndex writes index files that list these packs.
func (p *pruner) putIndex(ctx context.Context, packs map[ID][]packedBlob, w *written) error {
	for _, ids := range splitPacks(packs) {
		if err := p.lock.verify(ctx); err != nil {
			return err
		}
		id, _, err := p.repo.putIndexFile(ctx, ids, packs)
		if !id.IsZero() {
			w.files = append(w.files, id) // also beside an error: it may be there
		}
		if err != nil {
			return fmt.Errorf("storing the index: %w", err)
		}
		p.report.IndexFilesWritten++
	}
	return nil
}

// deleteIndex is step 5, the first deletion that matters, and the last moment to look whether the lock holds: what is
// deleted after it no index lists, so that it is of use to nobody, with a lock or without. An error here ends the prune:
// an index still lists what would go next.
func (p *pruner) deleteIndex(ctx context.Context, files []ID) error {
	for i, id := range files {
		p.progress(PruneIndexing, int64(i), int64(len(files)))
		if err := p.lock.verify(ctx); err != nil {
			return err
		}
		if err := p.repo.storage.Delete(ctx, "index/"+id.String()); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("cannot delete the old index file %s: %w", id, err)
		}
		p.report.IndexFilesDeleted++
	}
	return nil
}

// dropPacks is step 6. What is missing in the storage was only listed.
func (p *pruner) dropPacks(ctx context.Context, packs []uint32) error {
	var there []orphan
	for _, n := range packs {
		if p.sizes[n] >= 0 {
			there = append(there, orphan{p.catalog.packs[n], p.sizes[n]})
		}
	}
	_, err := p.deletePacks(ctx, there)
	return err
}

// deletePacks deletes packs that no index lists, several at once, and tells how many are gone. Those that cannot be
// deleted only take space; people are told, and the next prune tries again.
func (p *pruner) deletePacks(ctx context.Context, packs []orphan) (int, error) {
	var gone, freed, failed atomic.Int64
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(loads)
	for i, pack := range packs {
		p.progress(PruneDeleting, int64(i), int64(len(packs)))
		group.Go(func() error {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			err := p.repo.storage.Delete(ctx, packName(pack.id))
			switch {
			case ctx.Err() != nil:
				return context.Cause(ctx)
			case err != nil && !errors.Is(err, fs.ErrNotExist):
				if failed.Add(1) == 1 {
					p.repo.opt.Logger.WarnContext(ctx, "cannot delete a pack that nobody needs", "location", p.repo.opt.Location,
						"pack", pack.id.String(), "error", err)
				}
				return nil
			}
			gone.Add(1)
			freed.Add(pack.size)
			return nil
		})
	}
	err := group.Wait()
	p.report.BytesFreed += freed.Load()
	if n := failed.Load(); n > 0 {
		p.note("%d packs that nobody needs could not be deleted; a later prune tries again", n)
	}
	return int(gone.Load()), err
}
