package repo

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"golang.org/x/sync/errgroup"
)

// doubt is why a pack may be damaged, and what it should hold.
type doubt struct {
	blobs []packedBlob
	why   error // nil: a check said so; its header is sound
}

// load reads all index files, each by itself, and lists the packs.
func (x *indexRepair) load(ctx context.Context) error {
	r := x.repo
	load, err := loadFiles(ctx, r, "index", func(ID, FileInfo) bool { return true },
		func(_ ID, _ FileInfo, text []byte) (map[ID][]packedBlob, error) {
			list, err := decodeIndex(text, r.config.Version)
			if err != nil {
				return nil, err
			}
			return list.byPack(), nil
		})
	if err != nil {
		return err
	}
	x.files = load.fresh
	for id := range load.listed {
		if load.fresh[id] == nil {
			x.bad = append(x.bad, id)
		}
	}
	x.report.FilesDamaged = len(x.bad)
	x.listed, x.disagree = map[ID][]packedBlob{}, map[ID]bool{}
	for _, packs := range x.files {
		for id, blobs := range packs {
			known, twice := x.listed[id]
			if twice && !equalBlobs(known, blobs) {
				x.disagree[id] = true
				blobs = sortBlobs(slices.Concat(known, blobs))
			}
			x.listed[id] = blobs
		}
	}
	if x.sizes, err = r.listPacks(ctx); err != nil {
		return err
	}
	if len(x.sizes) == 0 && len(x.listed) > 0 {
		return fmt.Errorf("the index lists %d packs and there is not one in data: bring them back, or is a disk not mounted?", len(x.listed))
	}
	return x.confirmMissing(ctx)
}

// confirmMissing asks for each pack that is listed and was not found: a listing that leaves files out must not make the index
// forget them.
func (x *indexRepair) confirmMissing(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(loads)
	for id := range x.listed {
		if _, there := x.sizes[id]; there {
			continue
		}
		x.report.Missing = append(x.report.Missing, id)
		group.Go(func() error {
			_, err := x.repo.storage.Get(ctx, packName(id), 0, 0)
			switch {
			case err == nil:
				return fmt.Errorf("the storage does not list pack %s, but has it; nothing was changed", id)
			case errors.Is(err, fs.ErrNotExist):
				return nil
			}
			return err
		})
	}
	sortIDs(x.report.Missing)
	return group.Wait()
}

// readPacks finds out what each pack holds: from the index where that is beyond doubt, else from the pack's header.
func (x *indexRepair) readPacks(ctx context.Context) error {
	x.packs, x.doubt = map[ID][]packedBlob{}, map[ID]doubt{}
	distrusted := map[ID]bool{}
	for _, id := range x.repo.Distrusted() {
		distrusted[id] = true
	}
	ask := map[ID]int64{}
	for id, size := range x.sizes {
		blobs, listed := x.listed[id]
		sure := listed && (x.opt.Readable || !x.disagree[id] && sound(blobs, size) && !distrusted[id] && !x.opt.ReadAll)
		if sure {
			x.packs[id] = blobs
		} else {
			ask[id] = size
		}
	}
	headers, err := x.repo.readHeaders(ctx, ask)
	if err != nil {
		return err
	}
	x.report.HeadersRead = len(headers)
	for id := range ask {
		h, there := headers[id]
		blobs, listed := x.listed[id]
		switch {
		case !there:
			x.report.Missing = append(x.report.Missing, id)
		case h.err != nil:
			x.doubt[id] = doubt{blobs, h.err}
		case distrusted[id]:
			x.doubt[id] = doubt{h.blobs, nil}
		default:
			x.packs[id] = h.blobs
			if !listed {
				x.report.Found = append(x.report.Found, id)
			} else if x.disagree[id] || !equalBlobs(blobs, h.blobs) {
				x.report.Changed = append(x.report.Changed, id)
			}
		}
	}
	for _, list := range [][]ID{x.report.Missing, x.report.Found, x.report.Changed} {
		sortIDs(list)
	}
	return nil
}

// sound reports whether what an index says of a pack fits the pack's size, without gaps.
func sound(blobs []packedBlob, size int64) bool {
	end := uint32(0)
	for _, b := range blobs {
		if b.Offset != end {
			return false
		}
		end += b.Length
	}
	return len(blobs) > 0 && packSize(blobs) == size
}

// examine reads the packs in doubt. Those that are whole after all are sound.
func (x *indexRepair) examine(ctx context.Context) error {
	s := x.repo.borrowScratch()
	defer x.repo.returnScratch(s)
	for id, d := range x.doubt {
		bad := DamagedPack{ID: id, Text: "a check found it damaged"}
		if d.why != nil {
			bad.Text = d.why.Error()
		}
		var whole []location
		for _, b := range d.blobs {
			err := twice(func() error {
				sealed, err := x.repo.storage.Get(ctx, packName(id), int64(b.Offset), int64(b.Length))
				if err == nil {
					_, err = x.repo.openBlob(s.plain[:0], b, sealed, s)
				}
				return err
			})
			switch {
			case ctx.Err() != nil:
				return context.Cause(ctx)
			case err == nil:
				whole = append(whole, location{id, b})
				bad.Whole++
			case damagedOrGone(err):
				bad.Lost++
			default:
				return fmt.Errorf("pack %s: %w", id, err)
			}
		}
		if d.why == nil && bad.Lost == 0 {
			x.packs[id] = d.blobs
			if _, listed := x.listed[id]; !listed {
				x.report.Found = append(x.report.Found, id)
			}
			continue
		}
		x.report.Damaged = append(x.report.Damaged, bad)
		x.saved = append(x.saved, whole...)
	}
	slices.SortFunc(x.report.Damaged, func(a, b DamagedPack) int { return compareIDs(&a.ID, &b.ID) })
	sortIDs(x.report.Found)
	return nil
}
