package repo

import (
	"context"
	"errors"
	"fmt"
	"hash"
	"io/fs"

	"github.com/minio/sha256-simd"
	"golang.org/x/sync/errgroup"
)

// data reads every indexed pack that is there, on all cores.
func (c *checker) data(ctx context.Context) error {
	if !c.opt.ReadData {
		return nil
	}
	c.progress = CheckProgress{PacksTotal: len(c.listed), BytesTotal: c.report.Bytes}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(max(1, c.repo.opt.Cores))
	for id, blobs := range c.listed {
		if ctx.Err() != nil {
			break
		}
		group.Go(func() error {
			if err := c.pack(ctx, id, blobs); err != nil && ctx.Err() == nil {
				c.badPack(id, "%v", err)
			}
			c.packDone()
			return nil
		})
	}
	return group.Wait()
}

func (c *checker) packDone() {
	c.mu.Lock()
	defer c.mu.Unlock()
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
