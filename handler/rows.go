package handler

import (
	"context"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/caddy-backup/caddy-backup/backup"
)

// snapshotViews makes the rows of a table: each with its parts, and with what the history knows of the run.
func (p *pages) snapshotViews(ctx context.Context, s *backup.Service, list []backup.Snapshot, runs []backup.Run) []snapshotView {
	known := make(map[string]backup.Run, len(runs))
	for _, r := range runs {
		known[r.ID] = r
	}
	views := make([]snapshotView, len(list))
	var group errgroup.Group
	group.SetLimit(4)
	for i, snap := range list {
		v := &views[i]
		*v = snapshotView{tagged: tagged{snap}, Address: snapshotAddress(snap.Repository, snap.ID)}
		if r, ok := known[snap.Run]; ok {
			v.RunAddress, v.Unchanged = runAddress(r.ID), r.Unchanged
			if v.Safety() && r.Undo != "" {
				v.Undo = join("runs", r.ID, "undo")
			}
		}
		group.Go(func() error {
			parts, err := p.parts.of(ctx, s, snap)
			v.Parts, v.Problem = partViewsOf(snap, parts, formatOf(s, snap.Job)), problem(err)
			return nil
		})
	}
	_ = group.Wait() // each row bears its own error
	return views
}

// partsCache remembers the parts of snapshots, which never change. To find them out costs several requests to the
// storage for each snapshot, and pages are loaded again and again.
type partsCache struct {
	mu    sync.Mutex
	known map[string][]backup.Content // by ID
}

// partsKept is how many snapshots are remembered.
const partsKept = 2000

func (c *partsCache) of(ctx context.Context, s *backup.Service, snap backup.Snapshot) ([]backup.Content, error) {
	c.mu.Lock()
	parts, ok := c.known[snap.ID]
	c.mu.Unlock()
	if ok {
		return parts, nil
	}
	full, err := s.Snapshot(ctx, snap.Repository, snap.ID, "")
	if err != nil {
		return nil, err
	}
	parts, _ = partsOf(full)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.known == nil || len(c.known) >= partsKept {
		c.known = make(map[string][]backup.Content)
	}
	c.known[snap.ID] = parts
	return parts, nil
}
