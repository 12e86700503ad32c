package repo

import (
	"context"
	"fmt"
	"path"
)

// claim reports whether the caller has to store this blob: it is in no index, and nobody else is storing it.
func (w *Writer) claim(k blobKey) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if _, ok := w.seen[k]; ok || w.known(k) {
		return false
	}
	w.seen[k] = struct{}{}
	return true
}

// known reports whether the repository has a blob, in a pack that is there.
func (w *Writer) known(k blobKey) bool {
	l, ok := w.repo.index.lookup(k.typ, k.id)
	if !ok || !w.missing[l.Pack] {
		return ok
	}
	for _, l := range w.repo.index.copies(k.typ, k.id) {
		if !w.missing[l.Pack] {
			return true
		}
	}
	return false
}

// missingPacks finds the packs that the index counts on and that, by the sizes of those there are, are gone or cut short, or
// that are known as damaged. A writer stores their blobs once more: a backup that relied on them would look good and be lost.
func (r *Repository) missingPacks(ctx context.Context, sizes map[ID]int64) map[ID]bool {
	missing := r.absentPacks(sizes)
	if list := r.distrusted.Load(); list != nil {
		for _, id := range *list {
			missing[id] = true
		}
	}
	if len(missing) > 0 {
		r.opt.Logger.WarnContext(ctx, "packs are missing or damaged; what this backup needs of them is stored again: "+
			"run a check to learn which older snapshots suffer", "packs", len(missing), "location", r.opt.Location)
	}
	return missing
}

func sumSizes(sizes map[ID]int64) (sum int64) {
	for _, size := range sizes {
		sum += size
	}
	return sum
}

// absentPacks finds those that the index counts on and that, by the sizes of those there are, are gone or cut short.
func (r *Repository) absentPacks(sizes map[ID]int64) map[ID]bool {
	missing := map[ID]bool{}
	for id, end := range r.index.packEnds() {
		if size, ok := sizes[id]; !ok || size < end {
			missing[id] = true
		}
	}
	return missing
}

// listPacks gives the sizes of all packs in the storage, in bytes.
func (r *Repository) listPacks(ctx context.Context) (map[ID]int64, error) {
	sizes := map[ID]int64{}
	err := r.eachPack(ctx, func(id ID, f FileInfo) { sizes[id] = f.Size })
	if err != nil {
		return nil, err
	}
	return sizes, nil
}

// eachPack lists the packs in the storage.
func (r *Repository) eachPack(ctx context.Context, visit func(ID, FileInfo)) error {
	for f, err := range r.storage.List(ctx, "data") {
		if err != nil {
			return fmt.Errorf("listing packs%s: %w", r.at(), err)
		}
		if id, err := ParseID(path.Base(f.Name)); err == nil && f.Name == packName(id) {
			visit(id, f)
		}
	}
	return nil
}
