package backup

import (
	"context"
	"slices"

	"github.com/caddy-backup/caddy-backup/repo"
)

// inherit is what the lease of a dead member says that it left in the repository; it takes the lease away. A repair or a
// change of keys is left for people to look at.
func (h *history) inherit(store Store, rec *record) []repo.ID {
	key := leaseKey(h.hostName(), rec.ID)
	p, err := loadPulse(context.Background(), store, key)
	h.delete(key, "cannot remove the lease of a dead member", rec.ID)
	if err != nil || rec.Kind == KindRepair || rec.Kind == KindKeys {
		return nil
	}
	return p.Locks
}

// left lists the runs of dead members that left locks in a repository.
func (h *history) left(repository string) []*record {
	return slices.DeleteFunc(h.snapshot(), func(rec *record) bool { return rec.Repository != repository || len(rec.Left) == 0 })
}

// sweepMembers removes the locks that dead members of the cluster left: exactly those that their leases named. Should one of
// them only have stood still, it does no harm: whatever relies on a lock looks, just before it writes, whether the
// lock's file is still there (repo.Lock).
func (v *vault) sweepMembers(ctx context.Context, r *repo.Repository, run *runner) {
	h := v.service.history
	for _, rec := range h.left(v.name) {
		if err := r.RemoveLocks(ctx, rec.Left); err != nil {
			run.log.Warn("cannot remove the locks of a dead member of the cluster", "member", rec.Member, "error", err)
			continue
		}
		run.log.Info("removed the locks of a dead member of the cluster", "member", rec.Member, "locks", len(rec.Left))
		if swept, err := loadRecord(ctx, h.usedStore(), rec.key); err == nil {
			swept.Left = nil
			h.write(h.usedStore(), swept)
			h.put(swept)
		}
	}
}
