package repo

import (
	"context"
	"fmt"
	"slices"
)

// Retag gives a snapshot other tags, under an exclusive lock. Files never change, so it is written anew, with Original
// set to its stable ID, and then the old file is deleted. When only the deleting fails, the new snapshot is returned
// beside the error.
//
// A crash in between leaves both files, which share the stable ID; the next Retag of either leaves one.
func (r *Repository) Retag(ctx context.Context, lock *Lock, s Snapshot, tags []string) (Snapshot, error) {
	if err := r.writable(); err != nil {
		return Snapshot{}, err
	}
	ctx, stop, err := r.exclusively(ctx, lock)
	if err != nil {
		return Snapshot{}, fmt.Errorf("cannot change the tags of snapshot %s%s: %w", s.ID.Short(), r.at(), err)
	}
	defer stop()
	all, err := r.Snapshots(ctx)
	if all == nil && err != nil { // damaged ones beside this one do not matter
		return Snapshot{}, err
	}
	if !slices.ContainsFunc(all, func(other Snapshot) bool { return other.ID == s.ID }) {
		return Snapshot{}, fmt.Errorf("snapshot %s%s: %w", s.ID.Short(), r.at(), ErrNotFound)
	}
	stable := s.StableID()
	tagged := s
	tagged.Original, tagged.Tags = &stable, slices.Clone(tags)
	if tagged, err = r.saveSnapshot(ctx, tagged); err != nil {
		return Snapshot{}, err
	}
	// From here on both files are there. The new one is durable before the old one goes.
	for _, old := range all {
		if old.StableID() != stable || old.Tree != s.Tree || !old.Time.Equal(s.Time) {
			continue
		}
		if err := r.deleteSnapshot(ctx, old.ID); err != nil {
			return tagged, err
		}
	}
	return tagged, nil
}
