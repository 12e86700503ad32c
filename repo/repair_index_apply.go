package repo

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
)

// apply writes the new index, then what is whole in damaged packs, and then has the old index files go.
func (x *indexRepair) apply(ctx context.Context, lock *Lock) error {
	r := x.repo
	if _, err := r.saveIndex(ctx, x.unlisted); err != nil {
		return err
	}
	if err := x.save(ctx, lock); err != nil {
		return err
	}
	// Everything is durable in a second place now.
	if err := lock.verify(ctx); err != nil {
		return err
	}
	for _, id := range x.replaced {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err := r.storage.Delete(ctx, "index/"+id.String()); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("cannot delete the old index file %s: %w", id, err)
		}
	}
	return nil
}

// save stores again what is whole in damaged packs and nowhere else.
func (x *indexRepair) save(ctx context.Context, lock *Lock) error {
	if len(x.saved) == 0 {
		return nil
	}
	r := x.repo
	if err := r.LoadIndex(ctx); err != nil && !errors.Is(err, ErrIndex) {
		return err
	}
	r.Distrust(x.distrust())
	w, err := r.NewWriter(lock)
	if err != nil {
		return err
	}
	defer w.Abort()
	s := r.borrowScratch()
	defer r.returnScratch(s)
	for _, l := range x.saved {
		sealed, err := r.storage.Get(ctx, packName(l.Pack), int64(l.Offset), int64(l.Length))
		if err == nil {
			s.plain, err = r.openBlob(s.plain[:0], l.packedBlob, sealed, s)
		}
		if err == nil {
			_, err = w.storeBytes(l.Type, s.plain)
		}
		if err != nil {
			return fmt.Errorf("%s %s: %w", l.Type, l.ID.Short(), err)
		}
	}
	if err := w.settle(); err != nil {
		return err
	}
	w.finished()
	return nil
}

// distrust is what writers must not count on: what they were told, and what was found now.
func (x *indexRepair) distrust() []ID {
	list := x.repo.Distrusted()
	for _, d := range x.report.Damaged {
		if !slices.Contains(list, d.ID) {
			list = append(list, d.ID)
		}
	}
	return list
}
