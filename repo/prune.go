package repo

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"
)

// PruneOptions choose what a prune is worth. The zero value is the default.
type PruneOptions struct {
	// MaxUnused is the share of the repository, 0 to 1, that may go on holding what nobody needs, so that not every pack with
	// a hole is written anew. 0 means DefaultMaxUnused; NoUnused (or any negative number) means none at all; from 1 on nothing
	// is written anew for a hole.
	MaxUnused float64
	DryRun    bool                // find out and report, change nothing
	Progress  func(PruneProgress) // called now and then, from one goroutine at a time

	// Confirm is asked before anything is changed, with all snapshots that this prune has found, and thus will keep whole;
	// its error ends the prune. It is the place to compare them with what is remembered: what a storage fails to
	// list would be lost.
	Confirm func([]Snapshot) error

	// AllowEmpty lets a prune go on that finds no snapshot at all, and then removes all data. Without it that is
	// ErrNoSnapshots: most likely the folder of the snapshots is what is missing.
	AllowEmpty bool
}

// Values of PruneOptions.MaxUnused.
const (
	DefaultMaxUnused = 0.05
	NoUnused         = -1
)

// PruneStep is a part of a prune.
type PruneStep string

// The steps, in their order; those that have nothing to do are left out.
const (
	PruneLoading   PruneStep = "reading the index"           // Done and Total are 0
	PruneWalking   PruneStep = "finding what is needed"      // of snapshots
	PruneRepacking PruneStep = "repacking"                   // of bytes
	PruneIndexing  PruneStep = "writing the index"           // of index files
	PruneDeleting  PruneStep = "deleting what is not needed" // of packs
)

// PruneProgress says how far a step is.
type PruneProgress struct {
	Step        PruneStep
	Done, Total int64
}

// PruneReport is what a prune did; with DryRun, or beside an error, what it was about to do. Sizes are bytes in packs,
// as stored, headers included.
type PruneReport struct {
	DryRun    bool `json:"dry_run"`
	Snapshots int  `json:"snapshots"`

	PacksKept      int `json:"packs_kept"`      // left as they are
	PacksRepacked  int `json:"packs_repacked"`  // written anew without what is unused in them, then deleted
	PacksDeleted   int `json:"packs_deleted"`   // held nothing that is needed
	PacksUnindexed int `json:"packs_unindexed"` // in no index, from interrupted backups: deleted
	PacksTooYoung  int `json:"packs_too_young"` // in no index, but not known to be a day old: left

	BlobsUsed      int `json:"blobs_used"`
	BlobsUnused    int `json:"blobs_unused"`
	BlobsDuplicate int `json:"blobs_duplicate"` // further copies of used ones

	BytesUsed       int64 `json:"bytes_used"`
	BytesUnused     int64 `json:"bytes_unused"`
	BytesDuplicate  int64 `json:"bytes_duplicate"`
	BytesRepacked   int64 `json:"bytes_repacked"`    // carried over into new packs
	BytesFreed      int64 `json:"bytes_freed"`       // by which all packs got smaller; negative when a prune was cut short while it copied
	BytesLeftUnused int64 `json:"bytes_left_unused"` // unused and duplicate, in packs that stay

	PackBytes         int64 `json:"pack_bytes"` // of all packs, those in no index included: as they are now
	IndexFilesWritten int   `json:"index_files_written"`
	IndexFilesDeleted int   `json:"index_files_deleted"`

	Notes []string `json:"notes"` // what people should know, in sentences
}

// Prune deletes the packs that no snapshot needs, and writes those anew that hold too much beside what one needs, under
// an exclusive lock. It reads all index files, snapshots and trees, and gives up, with nothing deleted, when any of them
// cannot be read, when something that is needed is in no index, or when a pack that is needed is missing or too short.
// The report is there beside an error too, as soon as there is a plan.
func (r *Repository) Prune(ctx context.Context, lock *Lock, o PruneOptions) (*PruneReport, error) {
	if err := r.writable(); err != nil {
		return nil, err
	}
	ctx, stop, err := r.exclusively(ctx, lock)
	if err != nil {
		return nil, fmt.Errorf("cannot prune the repository%s: %w", r.at(), err)
	}
	defer stop()
	p := &pruner{
		live: r, lock: lock, opt: o,
		// Nothing that memory holds is trusted: a damaged index file or snapshot could hide behind it.
		repo:   newRepository(r.storage, r.key, r.config, r.opt),
		report: &PruneReport{DryRun: o.DryRun, Notes: []string{}},
	}
	if err := p.makePlan(ctx); err != nil {
		return nil, fmt.Errorf("cannot prune the repository%s; nothing was deleted: %w%s", r.at(), err, wayOut(err))
	}
	p.report.PackBytes = p.found
	if o.DryRun {
		return p.report, nil
	}
	err = p.execute(ctx)
	p.report.PackBytes = p.found - p.report.BytesFreed
	if err != nil {
		return p.report, fmt.Errorf("pruning the repository%s was cut short; nothing that is needed was deleted, and the next prune goes on: %w%s",
			r.at(), err, wayOut(err))
	}
	return p.report, nil
}

// wayOut says what to do about an error of a prune.
func wayOut(err error) string {
	if errors.Is(err, ErrDamaged) {
		return "; run a check with all data to learn what else is damaged, and repair it"
	}
	return ""
}

// pruner is a prune under way.
type pruner struct {
	live   *Repository // whose index others use meanwhile
	repo   *Repository // the same with an index of our own
	lock   *Lock
	opt    PruneOptions
	report *PruneReport

	catalog  *catalog
	sizes    []int64 // of the packs in the storage, by number; -1 for missing ones
	found    int64   // bytes of all packs in the storage
	orphans  []orphan
	packs    []packState
	verdicts []verdict
}

// orphan is a pack that no index lists.
type orphan struct {
	id   ID
	size int64
}

// makePlan reads all that matters and decides. It changes nothing.
func (p *pruner) makePlan(ctx context.Context) error {
	snapshots, err := p.repo.Snapshots(ctx)
	if err != nil {
		return err
	}
	p.progress(PruneLoading, 0, 0)
	if p.catalog, err = p.repo.loadCatalog(ctx); err != nil {
		return err
	}
	if err := p.list(ctx); err != nil {
		return err
	}
	if err := p.confirm(snapshots); err != nil {
		return err
	}
	if err := p.needs(ctx, snapshots); err != nil {
		return err
	}
	if err := p.unchanged(ctx, snapshots); err != nil {
		return err
	}
	p.packs = tally(p.catalog, p.sizes, p.suspects(), p.repo.config.Version)
	o := p.repo.opt
	p.verdicts, err = planPacks(p.packs, planOptions{
		maxUnused: cmp.Or(p.opt.MaxUnused, DefaultMaxUnused),
		small:     [2]int64{DataBlob: int64(min(o.PackSize, 16<<20)) / 5, TreeBlob: int64(min(o.PackSize, treePackSize)) / 5},
	})
	if err != nil {
		return err
	}
	if n := missing(p.sizes); n > 0 {
		p.note("%d packs were listed that are not there; nothing in them is needed", n)
	}
	p.report.Snapshots, p.report.PacksUnindexed = len(snapshots), len(p.orphans)
	p.summarize()
	return nil
}

// list looks which packs are in the storage. The age of those in no index is told by the storage's own clock: now is when
// it wrote our lock, which is never too late.
func (p *pruner) list(ctx context.Context) error {
	now, err := p.storageTime(ctx)
	if err != nil {
		return err
	}
	p.sizes = make([]int64, len(p.catalog.packs))
	for n := range p.sizes {
		p.sizes[n] = -1
	}
	return p.repo.eachPack(ctx, func(id ID, f FileInfo) {
		p.found += f.Size
		n, indexed := p.catalog.numbers[id]
		switch {
		case indexed:
			p.sizes[n] = f.Size
		case now.IsZero() || f.ModTime.IsZero() || now.Sub(f.ModTime) < orphanAge:
			p.report.PacksTooYoung++
		default:
			p.orphans = append(p.orphans, orphan{id, f.Size})
		}
	})
}

// missing counts the packs that are listed and not there.
func missing(sizes []int64) (n int) {
	for _, size := range sizes {
		if size < 0 {
			n++
		}
	}
	return n
}

// storageTime is when the storage wrote the newest of our lock files, by its clock; zero when it does not tell.
func (p *pruner) storageTime(ctx context.Context) (time.Time, error) {
	var newest time.Time
	files, err := listFiles(ctx, p.repo.storage, "locks")
	for _, f := range files {
		if f.Name == lockName(p.lock.latest.Load().id) {
			newest = f.ModTime
		}
	}
	return newest, err
}

// confirm refuses to take a repository for empty, and asks the caller.
func (p *pruner) confirm(snapshots []Snapshot) error {
	if len(snapshots) == 0 && len(p.catalog.packs)+len(p.orphans) > 0 && !p.opt.AllowEmpty {
		return fmt.Errorf("%w: there is not one, but there are %d packs of data; if they were not all deleted on purpose, "+
			"look for what is missing in the folder snapshots", ErrNoSnapshots, len(p.catalog.packs)+len(p.orphans))
	}
	if p.opt.Confirm != nil {
		return p.opt.Confirm(snapshots)
	}
	return nil
}

// unchanged lists snapshots and index files once more. A listing that lacked some the first time, or somebody who writes
// beside our lock, would cost what only they need or list.
func (p *pruner) unchanged(ctx context.Context, snapshots []Snapshot) error {
	known := map[string]bool{}
	for _, s := range snapshots {
		known["snapshots/"+s.ID.String()] = true
	}
	for _, f := range p.catalog.files {
		known["index/"+f.id.String()] = true
	}
	listed := 0
	for _, dir := range []string{"snapshots", "index"} {
		files, err := listFiles(ctx, p.repo.storage, dir)
		if err != nil {
			return err
		}
		for _, f := range files {
			if !known[f.Name] {
				return fmt.Errorf("%s was not there a moment ago; does somebody write without a lock, or does the storage not list all?", f.Name)
			}
		}
		listed += len(files)
	}
	if listed < len(known) {
		return fmt.Errorf("%d files vanished from snapshots and index a moment ago; does somebody delete without a lock, or does the storage "+
			"not list all?", len(known)-listed)
	}
	return nil
}

// suspects are packs that a check found damaged. They stay as long as anything in them has no other copy.
func (p *pruner) suspects() map[ID]bool {
	suspects := map[ID]bool{}
	if list := p.live.distrusted.Load(); list != nil {
		for _, id := range *list {
			suspects[id] = true
		}
	}
	return suspects
}

func (p *pruner) progress(step PruneStep, done, total int64) {
	if p.opt.Progress != nil {
		p.opt.Progress(PruneProgress{step, done, total})
	}
}
