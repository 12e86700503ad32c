package repo

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
)

// snapshotCache holds the decoded snapshots by ID: the files never change, so a listing tells all that is new.
type snapshotCache struct {
	mu   sync.Mutex
	byID map[ID]Snapshot
}

// Snapshots returns all readable snapshots, newest first, ties by ID. Decoded ones are kept in memory, so that asking
// again costs one listing. When some cannot be read it returns the others together with an error that names the bad
// files (errors.Is ErrDamaged); an error of the storage itself returns no snapshots.
func (r *Repository) Snapshots(ctx context.Context) ([]Snapshot, error) {
	known := r.snapshots.copy()
	want := func(id ID, _ FileInfo) bool {
		_, ok := known[id]
		return !ok
	}
	decode := func(id ID, _ FileInfo, text []byte) (Snapshot, error) {
		s, err := parseSnapshot(text)
		s.ID = id
		return s, err
	}
	load, err := loadFiles(ctx, r, "snapshots", want, decode)
	if err != nil {
		return nil, fmt.Errorf("cannot load the snapshots%s: %w", r.at(), err)
	}
	all := load.fresh
	for id := range load.listed {
		if s, ok := known[id]; ok {
			all[id] = s
		}
	}
	r.snapshots.replace(all)
	return sortedSnapshots(all), load.bad.orNil()
}

func (c *snapshotCache) copy() map[ID]Snapshot {
	c.mu.Lock()
	defer c.mu.Unlock()
	return maps.Clone(c.byID)
}

func (c *snapshotCache) replace(all map[ID]Snapshot) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.byID = all
}

// sortedSnapshots gives copies, newest first, ties by ID, that the caller may change.
func sortedSnapshots(all map[ID]Snapshot) []Snapshot {
	list := make([]Snapshot, 0, len(all))
	for _, s := range all {
		s.Paths, s.Tags, s.Excludes = slices.Clone(s.Paths), slices.Clone(s.Tags), slices.Clone(s.Excludes)
		list = append(list, s)
	}
	slices.SortFunc(list, func(a, b Snapshot) int {
		if c := b.Time.Compare(a.Time); c != 0 {
			return c
		}
		return bytes.Compare(a.ID[:], b.ID[:])
	})
	return list
}

// FindSnapshot finds one snapshot by its ID, its stable ID (Original), a prefix of either that fits one snapshot, or
// "latest" (the newest that passes filter). ErrNotFound, ErrAmbiguous.
func (r *Repository) FindSnapshot(ctx context.Context, name string, filter SnapshotFilter) (Snapshot, error) {
	all, damaged := r.Snapshots(ctx)
	if damaged != nil && all == nil {
		return Snapshot{}, damaged
	}
	s, err := pickSnapshot(all, name, filter)
	switch {
	case err != nil && damaged != nil: // it may be one of those
		return Snapshot{}, fmt.Errorf("%w%s; other snapshots cannot be read: %w", err, r.at(), damaged)
	case err != nil:
		return Snapshot{}, fmt.Errorf("%w%s", err, r.at())
	case damaged != nil:
		r.opt.Logger.WarnContext(ctx, "some snapshots cannot be read", "location", r.opt.Location, "error", damaged)
	}
	return s, nil
}

// pickSnapshot is FindSnapshot over a list that is sorted newest first.
func pickSnapshot(all []Snapshot, name string, filter SnapshotFilter) (Snapshot, error) {
	if name == "latest" {
		if i := slices.IndexFunc(all, filter.Match); i >= 0 {
			return all[i], nil
		}
		return Snapshot{}, fmt.Errorf("snapshot %q: %w: no snapshot passes the filter", name, ErrNotFound)
	}
	// What one snapshot is: files with the same stable ID that hold the same.
	type edition struct{ stable, tree ID }
	found, named, bearers := make(map[edition]Snapshot), make(map[edition]bool), make(map[ID]bool)
	for _, s := range all {
		id, e := s.ID.String(), edition{s.StableID(), s.Tree}
		if id == name {
			return s, nil
		}
		switch {
		case name != "" && strings.HasPrefix(id, name):
			named[e], bearers[e.stable] = true, true
		case name == "" || !strings.HasPrefix(e.stable.String(), name):
			continue
		}
		// While tags are being changed the old and the new file of one snapshot are there: the new one stands for both.
		if _, ok := found[e]; !ok || s.Original != nil {
			found[e] = s
		}
	}
	// One that was written anew with less in it, since that was lost, has the stable ID of the old one: as long as the old one
	// is there, that ID means the old one.
	maps.DeleteFunc(found, func(e edition, _ Snapshot) bool { return bearers[e.stable] && !named[e] })
	switch len(found) {
	case 0:
		return Snapshot{}, fmt.Errorf("snapshot %q: %w", name, ErrNotFound)
	case 1:
		for _, s := range found {
			return s, nil
		}
	}
	return Snapshot{}, fmt.Errorf("snapshot %q: %w: %d snapshots begin with it; use more digits", name, ErrAmbiguous, len(found))
}
