package repo

import (
	"context"
	"errors"
	"fmt"
	"hash"
	"io/fs"
	"slices"

	"github.com/minio/sha256-simd"
	"golang.org/x/sync/errgroup"
)

// data reads the chosen packs, of those that are indexed and there, on all cores.
func (c *checker) data(ctx context.Context) error {
	if !c.opt.ReadData {
		return nil
	}
	chosen := c.chosen()
	c.progress.PacksTotal = len(chosen)
	for _, id := range chosen {
		c.progress.BytesTotal += c.sizes[id]
	}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(max(1, c.repo.opt.Cores))
	for _, id := range chosen {
		if ctx.Err() != nil {
			break
		}
		group.Go(func() error {
			err := c.pack(ctx, id, c.listed[id])
			switch {
			case ctx.Err() != nil:
				return nil
			case err != nil:
				c.badPack(id, "%v", err)
			}
			c.packDone(id, err == nil)
			return nil
		})
	}
	return group.Wait()
}

// chosen is what Choose says, each pack once, and only packs that can be read.
func (c *checker) chosen() []ID {
	packs := slices.Clone(c.report.Listed)
	slices.SortFunc(packs, func(a, b PackInfo) int { return compareIDs(&a.ID, &b.ID) })
	ids := make([]ID, len(packs))
	for i, p := range packs {
		ids[i] = p.ID
	}
	if c.opt.Choose == nil {
		return ids
	}
	ids = c.opt.Choose(packs)
	slices.SortFunc(ids, func(a, b ID) int { return compareIDs(&a, &b) })
	return slices.DeleteFunc(slices.Compact(ids), func(id ID) bool { return c.listed[id] == nil })
}

func (c *checker) packDone(id ID, whole bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if whole {
		c.report.Whole = append(c.report.Whole, id)
	}
	c.progress.PacksDone++
	c.progress.BytesRead = c.report.BytesRead
	if c.opt.Progress != nil {
		c.opt.Progress(c.progress)
	}
}

// checkStep is how much of a pack is read at once, unless one blob is larger; packs of others may be 128 MiB.
const checkStep = 8 << 20

// pack reads a pack from its first byte to its last: the hash of all, every blob, and the header, which must say what
// the index says. Errors are joined, so that each damaged blob is named.
func (c *checker) pack(ctx context.Context, id ID, blobs []packedBlob) error {
	s := c.repo.borrowScratch()
	defer c.repo.returnScratch(s)
	sum := sha256.New()
	var failed error
	for len(blobs) > 0 {
		n, length := 1, int64(blobs[0].Length)
		for ; n < len(blobs) && length+int64(blobs[n].Length) <= checkStep; n++ {
			length += int64(blobs[n].Length)
		}
		sealed, err := c.repo.storage.Get(ctx, packName(id), int64(blobs[0].Offset), length)
		if err != nil {
			return readFailed(err)
		}
		sum.Write(sealed)
		c.count(len(sealed))
		for _, b := range blobs[:n] {
			plain, err := c.repo.openBlob(s.plain[:0], b, sealed[:b.Length], s)
			if err == nil {
				s.plain = plain
			} else {
				failed = errors.Join(failed, fmt.Errorf("%s %s: %w", b.Type, b.ID.Short(), err))
			}
			sealed = sealed[b.Length:]
		}
		blobs = blobs[n:]
	}
	return errors.Join(failed, c.header(ctx, id, sum))
}

// header compares the pack's own list with the index, and the hash of the whole pack with its name.
func (c *checker) header(ctx context.Context, id ID, sum hash.Hash) error {
	blobs, size := c.listed[id], c.sizes[id]
	tail, err := c.repo.storage.Get(ctx, packName(id), size-int64(headerLength(blobs)), -1)
	if err != nil {
		return readFailed(err)
	}
	sum.Write(tail)
	c.count(len(tail))
	if ID(sum.Sum(nil)) != id {
		return fmt.Errorf("%w: its bytes do not have the hash that its name says", ErrDamaged)
	}
	header, err := parseHeader(c.repo.key, tail, size)
	if err != nil {
		return err
	}
	if !equalBlobs(header, blobs) {
		return fmt.Errorf("%w: its header does not say what the index says", ErrDamaged)
	}
	return nil
}

func (c *checker) count(n int) {
	c.mu.Lock()
	c.report.BytesRead += int64(n)
	c.mu.Unlock()
}

// readFailed words what the storage said. A pack that vanished meanwhile is missing like any other.
func readFailed(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("pack is missing: %w", err)
	}
	return fmt.Errorf("pack cannot be read: %w", err)
}
