package backup

import (
	"cmp"
	"context"
	"encoding/json"
	"path"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/caddy-backup/caddy-backup/repo"
)

// history keeps the runs that ended: in memory without their logs, and in the Store with them, one JSON file per run,
// `backup/runs/<host>/<id>.json`. A run is written there when it begins too, with the journal of its process: so a crash
// shows as interrupted at the next start. What the Store cannot do is logged; it never changes what became of a run.
type history struct {
	log *liveLog
	now func() time.Time

	died func(Run) // is told of runs that are found to have died with another process, after load; may be nil

	mu      sync.Mutex
	store   Store
	host    string
	home    string // in a cluster, see homeOf; else ""
	journal *journal
	known   map[string]*record
	whole   string // the host whose runs have been read
	missing error  // why runs of ours are not known; nil when they are

	refreshing turns // one at a time lists the store
}

// record is a run as the Store has it.
type record struct {
	Run
	Owner string `json:"owner,omitempty"` // the journal of the process, while the run goes on
	Home  string `json:"home,omitempty"`  // where that journal lies, while a run of a cluster goes on

	Left []repo.ID `json:"left,omitempty"` // locks in the repository that a dead member of a cluster left there

	key     string
	unsaved bool // the log is in memory only
}

const (
	historyRoot  = "backup/runs"
	historyKept  = 100 // per kind, job and repository
	storeTimeout = 10 * time.Second
)

func newHistory(log *liveLog, now func() time.Time) *history {
	return &history{log: log, now: now, store: noStore{}, known: map[string]*record{}, refreshing: make(turns, 1)}
}

// use makes further records go to a store. home is where the journal lies, in a cluster.
func (h *history) use(store Store, host, home string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.store, h.host, h.home = store, host, home
}

func (h *history) has(id string) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.known[id] != nil
}

// put takes a record of the store into memory, without its log.
func (h *history) put(rec *record) {
	slim := *rec
	slim.Log = nil
	h.mu.Lock()
	defer h.mu.Unlock()
	h.known[rec.ID] = &slim
}

// save writes down a run that goes on.
func (h *history) save(run Run, owner string) error {
	return h.write(h.usedStore(), h.newRecord(run, owner))
}

// add takes a run that has ended.
func (h *history) add(run Run) {
	rec := h.newRecord(run, "")
	h.mu.Lock()
	h.known[run.ID] = rec // before it is written: it must be seen as ended at once
	h.mu.Unlock()
	slim := *rec
	if err := h.write(h.usedStore(), rec); err != nil {
		slim.unsaved = true
	} else {
		slim.Log = nil
		defer h.saveRest()
	}
	h.mu.Lock()
	h.known[run.ID] = &slim
	h.mu.Unlock()
	h.trim()
}

// saveRest writes down the runs that ended while the store could not take them.
func (h *history) saveRest() {
	for _, rec := range h.snapshot() {
		if !rec.unsaved || h.write(h.usedStore(), rec) != nil {
			continue
		}
		slim := *rec
		slim.Log, slim.unsaved = nil, false
		h.mu.Lock()
		if h.known[rec.ID] == rec {
			h.known[rec.ID] = &slim
		}
		h.mu.Unlock()
	}
}

// newRecord makes a record; like all of them it never changes once others can see it.
func (h *history) newRecord(run Run, owner string) *record {
	h.mu.Lock()
	defer h.mu.Unlock()
	rec := &record{Run: run, Owner: owner, key: path.Join(historyRoot, safeName(h.host), run.ID+".json")}
	if !run.State.Done() {
		rec.Home = h.home
	}
	return rec
}

func (h *history) write(store Store, rec *record) error {
	ctx, cancel := context.WithTimeout(context.Background(), storeTimeout)
	defer cancel()
	data, err := json.Marshal(rec)
	if err == nil {
		err = store.Store(ctx, rec.key, data)
	}
	if err != nil {
		h.log.logger().Error("cannot keep a run in the history; it itself is not affected", "run", rec.ID, "error", err)
	}
	return err
}

func (h *history) usedStore() Store {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.store
}

// list returns what is known, newest first, without logs. Runs of other processes are looked at again until they end.
func (h *history) list() []Run {
	all := h.snapshot()
	runs := make([]Run, len(all))
	for i, rec := range all {
		if !rec.State.Done() {
			rec = h.again(context.Background(), rec)
		}
		runs[i] = rec.Run
		runs[i].Log = nil
	}
	sortRuns(runs, h.now())
	return runs
}

// again reads a record again, with its log: for one that goes on in another process, and for the log.
func (h *history) again(ctx context.Context, rec *record) *record {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	store := h.usedStore()
	fresh, err := loadRecord(ctx, store, rec.key)
	if err != nil {
		return rec
	}
	if !rec.State.Done() {
		if h.keep(store, fresh) {
			h.tellDied(fresh.Run)
		}
		h.follow(ctx, store, fresh)
	}
	return fresh
}

// get returns one run with its log.
func (h *history) get(ctx context.Context, id string) (Run, bool) {
	h.mu.Lock()
	rec, found := h.known[id]
	h.mu.Unlock()
	if !found {
		return Run{}, false
	}
	if !rec.unsaved && rec.Log == nil {
		rec = h.again(ctx, rec)
	}
	return rec.Run, true
}

// trim forgets the oldest runs of each kind, job and repository, but never the newest ok one, nor the newest that a schedule
// asked for, nor the check that says how a repository is.
func (h *history) trim() {
	type group struct {
		kind            Kind
		job, repository string
	}
	count, good, scheduled := map[group]int{}, map[group]bool{}, map[group]bool{}
	runs := h.list()
	for _, run := range runs {
		g := group{run.Kind, run.Job, run.Repository}
		count[g]++
		newestGood := run.State == StateOK && !good[g]
		good[g] = good[g] || newestGood
		newestScheduled := !run.Scheduled.IsZero() && !scheduled[g]
		scheduled[g] = scheduled[g] || newestScheduled
		if count[g] <= historyKept || newestGood || newestScheduled || !run.State.Done() {
			continue
		}
		if v := verdict(runs, run.Repository); run.Kind != KindCheck || v == nil || v.ID != run.ID {
			h.forget(run.ID)
		}
	}
}

func (h *history) forget(id string) {
	h.mu.Lock()
	rec, known := h.known[id]
	delete(h.known, id)
	h.mu.Unlock()
	if known { // else another run ended at the same time, and was faster
		h.delete(rec.key, "cannot remove an old run from the history", id)
	}
}

// delete removes something of a run from the store.
func (h *history) delete(key, failed, id string) {
	ctx, cancel := context.WithTimeout(context.Background(), storeTimeout)
	defer cancel()
	if err := h.usedStore().Delete(ctx, key); err != nil && !isMissing(err) {
		h.log.logger().Warn(failed, "run", id, "error", err)
	}
}

// sortRuns puts the newest first, and last those that a clock that was wrong has dated far ahead of now: else they would be
// for as long what says how things are.
func sortRuns(runs []Run, now time.Time) {
	ahead := func(r Run) int {
		if r.Created.After(now.Add(farAhead)) {
			return 1
		}
		return 0
	}
	slices.SortFunc(runs, func(a, b Run) int {
		return cmp.Or(ahead(a)-ahead(b), b.Created.Compare(a.Created), strings.Compare(b.ID, a.ID))
	})
}
