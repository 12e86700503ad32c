package backup

import (
	"context"
	"errors"
	"path"
	"slices"
	"strings"
)

// foreign reports whether a run goes on in a member of the cluster on whose journal we cannot look. The caller holds h.mu.
func (h *history) foreign(rec *record) bool {
	return h.home != "" && rec.Home != "" && rec.Home != h.home
}

// own reports whether a run goes on in this process, with the journal own.
func (h *history) own(rec *record, own string) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return rec.Owner == own && (own != "" || rec.Home != "" && rec.Home == h.home)
}

// refresh reads what the other members of a cluster wrote down since, and forgets what they removed. changed reports whether
// there was any of that. It costs one listing, and a read for each run that is new.
func (h *history) refresh(ctx context.Context) (changed bool, err error) {
	leave, err := h.refreshing.enter(ctx)
	if err != nil {
		return false, err
	}
	defer leave()
	ctx, cancel := context.WithTimeout(ctx, attachTimeout)
	defer cancel()
	store, before := h.usedStore(), h.snapshot()
	keys, err := store.List(ctx, path.Join(historyRoot, safeName(h.hostName())), false)
	if err != nil && !isMissing(err) {
		return false, err
	}
	gone, err := missing(before, keys)
	if err != nil {
		return false, err
	}
	died, changed, _ := h.loadNew(ctx, store, keys)
	for _, run := range died {
		h.tellDied(run)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, rec := range gone {
		if h.known[rec.ID] == rec { // else it changed meanwhile
			delete(h.known, rec.ID)
			changed = true
		}
	}
	return changed, ctx.Err()
}

// missing lists the records whose files are not there any more. That all are gone is no news but a fault: a share that is not
// mounted must not look as if nothing had ever been done.
func missing(known []*record, keys []string) (gone []*record, err error) {
	there := make(map[string]bool, len(keys))
	for _, key := range keys {
		there[strings.TrimSuffix(path.Base(key), ".json")] = true
	}
	ended, lost := 0, 0
	for _, rec := range known {
		if rec.unsaved {
			continue
		}
		if rec.State.Done() {
			ended++
		}
		if there[rec.ID] {
			continue
		}
		if gone = append(gone, rec); rec.State.Done() {
			lost++
		}
	}
	if lost > 0 && lost == ended {
		return nil, errors.New("all runs are gone from the history in Caddy's storage: is it the right one, is it mounted? If that was meant, restart Caddy")
	}
	return gone, nil
}

// follow has a run of another member show how it stands, as its lease says.
func (h *history) follow(ctx context.Context, store Store, rec *record) {
	h.mu.Lock()
	host, foreign := h.host, h.foreign(rec)
	h.mu.Unlock()
	if !foreign || rec.State.Done() {
		return
	}
	if p, err := loadPulse(ctx, store, leaseKey(host, rec.ID)); err == nil {
		rec.Step, rec.Progress = p.Step, p.Progress
	}
}

func (h *history) tellDied(run Run) {
	if h.died != nil {
		h.died(run)
	}
}

// beside lists the runs that go on in other processes of this machine.
func (h *history) beside() []*record {
	return slices.DeleteFunc(h.snapshot(), func(rec *record) bool {
		h.mu.Lock()
		defer h.mu.Unlock()
		return rec.State.Done() || h.foreign(rec)
	})
}

// elsewhere lists the runs that go on in other members of the cluster.
func (h *history) elsewhere() (open []*record) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, rec := range h.known {
		if !rec.State.Done() && h.foreign(rec) {
			open = append(open, rec)
		}
	}
	return open
}

// snapshot lists what is known, in no order.
func (h *history) snapshot() []*record {
	h.mu.Lock()
	defer h.mu.Unlock()
	all := make([]*record, 0, len(h.known))
	for _, rec := range h.known {
		all = append(all, rec)
	}
	return all
}

// remove takes back a run that was written down, but is not made.
func (h *history) remove(id string) {
	h.delete(h.newRecord(Run{ID: id}, "").key, "cannot take back a run that another member makes", id)
}

func (h *history) hostName() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.host
}
