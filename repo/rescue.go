package repo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
)

// rescue is what packs that no readable index file lists hold, by their own headers. With it everything can be read while
// index files are damaged or gone. Only readers look at it: a backup that counted on these blobs would be readable for nobody
// but us.
type rescue struct {
	index *index

	mu    sync.Mutex
	known map[ID]bool // packs whose header was read, or is damaged
	last  time.Time   // when packs were listed
}

// rescueInterval is how often packs are listed in search of blobs that are in no index: where something is lost for good,
// every reader would have them listed again.
const rescueInterval = time.Minute

// find looks a blob up in the index, and then in what was rescued.
func (r *Repository) find(t BlobType, id ID) (location, bool) {
	if l, ok := r.index.lookup(t, id); ok {
		return l, true
	}
	return r.rescued.index.lookup(t, id)
}

// places are all copies of a blob, those that the index lists first.
func (r *Repository) places(t BlobType, id ID) []location {
	return append(r.index.copies(t, id), r.rescued.index.copies(t, id)...)
}

// forget begins anew: the packs are others now.
func (x *rescue) forget() {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.index.state.Store(&indexState{})
	x.known, x.last = nil, time.Time{}
}

// rescueBlobs reads the headers of the packs that no index lists.
func (r *Repository) rescueBlobs(ctx context.Context) error {
	x := &r.rescued
	x.mu.Lock()
	defer x.mu.Unlock()
	now := r.opt.Now()
	if age := now.Sub(x.last); !x.last.IsZero() && age >= 0 && age < rescueInterval {
		return nil
	}
	sizes, err := r.listPacks(ctx)
	if err != nil {
		return err
	}
	for id := range r.index.packEnds() {
		delete(sizes, id)
	}
	for id := range x.known {
		delete(sizes, id)
	}
	found, err := r.readHeaders(ctx, sizes)
	if err != nil {
		return err
	}
	if x.known == nil {
		x.known = make(map[ID]bool)
	}
	var list indexList
	for id, h := range found {
		x.known[id] = true
		if h.err != nil {
			continue
		}
		list.addPack(id)
		for _, b := range h.blobs {
			list.addBlob(b)
		}
	}
	state := x.index.state.Load()
	x.index.state.Store(&indexState{segments: pushSegment(state.segments, list)})
	x.last = now
	if len(list.packs) > 0 {
		r.opt.Logger.WarnContext(ctx, "packs that no index lists were asked themselves what they hold, since something was in no index; "+
			"repair the index", "packs", len(list.packs), "location", r.opt.Location)
	}
	return nil
}

// header is what a pack says of itself.
type header struct {
	blobs []packedBlob
	err   error // ErrDamaged: it says nothing
}

// readHeaders reads the headers of packs of these sizes. Packs that vanish meanwhile are left out; an error of the storage
// is an error of all.
func (r *Repository) readHeaders(ctx context.Context, sizes map[ID]int64) (map[ID]header, error) {
	var mu sync.Mutex
	found := make(map[ID]header, len(sizes))
	group, working := errgroup.WithContext(ctx)
	group.SetLimit(loads)
	for id, size := range sizes {
		if working.Err() != nil {
			break
		}
		group.Go(func() error {
			var blobs []packedBlob
			err := twice(func() (err error) { blobs, err = r.readHeader(working, id, size); return err })
			if errors.Is(err, fs.ErrNotExist) {
				return nil
			}
			if errors.Is(err, io.ErrUnexpectedEOF) { // it is shorter than it was listed
				err = fmt.Errorf("%w: %w", ErrDamaged, err)
			}
			if err != nil && !errors.Is(err, ErrDamaged) {
				return err
			}
			mu.Lock()
			defer mu.Unlock()
			found[id] = header{blobs, err}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	return found, context.Cause(ctx)
}

// firstTail is how much of a pack's end is read at first: the header of some 90 blobs.
const firstTail = 4 << 10

// readHeader reads what a pack of this size holds from its own header. ErrDamaged when it says nothing, or what cannot be.
func (r *Repository) readHeader(ctx context.Context, id ID, size int64) ([]packedBlob, error) {
	read := func(n int64) ([]byte, error) {
		tail, err := r.storage.Get(ctx, packName(id), size-n, -1)
		if err != nil {
			return nil, fmt.Errorf("cannot read the header of pack %s%s: %w", id, r.at(), err)
		}
		return tail, nil
	}
	tail, err := read(min(size, firstTail))
	if err != nil {
		return nil, err
	}
	need, err := needTail(tail, size)
	if err == nil && need > len(tail) {
		if tail, err = read(int64(need)); err != nil {
			return nil, err
		}
	}
	if err != nil {
		return nil, err
	}
	blobs, err := parseHeader(r.key, tail, size)
	if err != nil {
		return nil, err
	}
	for _, b := range blobs {
		if b.Uncompressed > 0 && r.config.Version == 1 {
			return nil, fmt.Errorf("%w: pack %s holds compressed blobs, in a repository of version 1", ErrDamaged, id)
		}
	}
	return blobs, nil
}
