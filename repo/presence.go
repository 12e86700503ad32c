package repo

import (
	"context"
	"fmt"
	"slices"
)

// Presence tells which packs were in the storage when it was asked, against what the index counts on.
type Presence struct {
	repo    *Repository
	missing map[ID]bool
}

// Presence lists the packs. The index must be loaded.
func (r *Repository) Presence(ctx context.Context) (*Presence, error) {
	sizes, err := r.listPacks(ctx)
	if err != nil {
		return nil, err
	}
	return &Presence{r, r.absentPacks(sizes)}, nil
}

// File finds out, without reading it, whether the packs of a file that OpenFile opens are there: ErrDamaged when a blob of
// it lies only in packs that are gone or cut short. What lies in the packs is not looked at.
func (p *Presence) File(n Node) error {
	for _, id := range n.Content {
		copies := p.repo.index.copies(DataBlob, id) // none: an index file is damaged, and the pack itself was asked for it
		there := func(l location) bool { return !p.missing[l.Pack] }
		if len(copies) > 0 && !slices.ContainsFunc(copies, there) {
			return fmt.Errorf("%s: the file %s is gone, or cut short: %w", n.Name, packName(copies[0].Pack), ErrDamaged)
		}
	}
	return nil
}
