package repo

import (
	"context"
	"fmt"
	"path"
	"slices"
)

// TagRepaired is on snapshots that lost something, and were written anew without it. They are never good ones.
const TagRepaired = "repaired"

// RepairSnapshotsOptions say what becomes of snapshots that lost something.
type RepairSnapshotsOptions struct {
	DryRun bool // find out and report, change nothing
	Forget bool // delete the old snapshot files once the new ones are there, and those that cannot be read

	// Folder names the folder at the top of a snapshot in which the list of what is lost belongs. Where it is not there any
	// more, and by default, that is the top itself.
	Folder   func(Snapshot) string
	Progress func(done, total int) // of snapshots
}

// SnapshotsRepair is what a repair of snapshots did; with DryRun, what it would do.
type SnapshotsRepair struct {
	DryRun     bool               `json:"dry_run"`
	Snapshots  int                `json:"snapshots"`  // that were looked at
	Broken     []RepairedSnapshot `json:"broken"`     // that lost something
	Unreadable []ID               `json:"unreadable"` // whose files cannot be read
	Forgotten  []ID               `json:"forgotten"`
}

// RepairedSnapshot is a snapshot that lost something.
type RepairedSnapshot struct {
	Old   Snapshot
	New   Snapshot // what it was written anew as; in a dry run its ID is zero
	Known bool     // it was written anew before
	Files int      // lost files and folders
	Bytes uint64   // that are lost of files; what was in lost folders nobody knows
	Lost  []Loss   // the first of them
}

// maxLosses bounds what is told of one snapshot; all are counted.
const maxLosses = 1000

// RepairSnapshots writes snapshots anew that lost something, without what is lost, under an exclusive lock. What is in no
// index is lost: the index must be right, see RepairIndex, and where it is not this is an error.
//
// Nothing is left out silently. What remains of a file, its pieces one behind the other, goes by the file's name with
// ".LOST" at its end, so that nothing wrong can be taken for the file; a folder whose tree is lost is an empty one with
// such a name. A file LOST.txt lists all of it. The new snapshot has the tag TagRepaired, and as Original the stable ID of
// the old one, which stays unless Forget is set.
//
// New trees are durable before the new snapshots, and these before an old one goes. The same repair again finds what was
// repaired and does nothing.
func (r *Repository) RepairSnapshots(ctx context.Context, lock *Lock, o RepairSnapshotsOptions) (*SnapshotsRepair, error) {
	if err := r.writable(); err != nil {
		return nil, err
	}
	ctx, stop, err := r.exclusively(ctx, lock)
	if err != nil {
		return nil, fmt.Errorf("cannot repair snapshots%s: %w", r.at(), err)
	}
	defer stop()
	x := &snapshotsRepair{repo: r, opt: o, report: &SnapshotsRepair{DryRun: o.DryRun, Broken: []RepairedSnapshot{},
		Unreadable: []ID{}, Forgotten: []ID{}}, trees: map[ID]treeState{}, gone: map[blobKey]bool{}}
	if err := x.do(ctx, lock); err != nil {
		return x.report, fmt.Errorf("cannot repair snapshots%s: %w", r.at(), err)
	}
	return x.report, nil
}

// snapshotsRepair is a repair under way.
type snapshotsRepair struct {
	repo   *Repository
	opt    RepairSnapshotsOptions
	report *SnapshotsRepair
	trees  map[ID]treeState
	gone   map[blobKey]bool
	writer *Writer // nil in a dry run
}

func (x *snapshotsRepair) do(ctx context.Context, lock *Lock) error {
	all, err := x.load(ctx)
	if err != nil {
		return err
	}
	if err := x.requireIndex(ctx); err != nil {
		return err
	}
	if !x.opt.DryRun {
		if x.writer, err = x.repo.NewWriter(lock); err != nil {
			return err
		}
		defer x.writer.Abort()
	}
	for i, s := range all {
		if x.opt.Progress != nil {
			x.opt.Progress(i, len(all))
		}
		broken, err := x.rewrite(ctx, s)
		if err != nil {
			return fmt.Errorf("snapshot %s: %w", s.ID.Short(), err)
		}
		if broken != nil {
			x.report.Broken = append(x.report.Broken, *broken)
		}
	}
	x.findKnown(all)
	if x.opt.DryRun {
		return nil
	}
	if err := x.commit(ctx); err != nil {
		return err
	}
	return x.forget(ctx, lock)
}

// load lists the snapshots, and names those that cannot be read.
func (x *snapshotsRepair) load(ctx context.Context) ([]Snapshot, error) {
	r := x.repo
	var all []Snapshot
	r.snapshots.replace(nil) // the files count, not what is remembered of them
	err := twice(func() (err error) { all, err = r.Snapshots(ctx); return err })
	if err != nil && all == nil {
		return nil, err
	}
	x.report.Snapshots = len(all)
	files, err := listFiles(ctx, r.storage, "snapshots")
	if err != nil {
		return nil, err
	}
	for _, f := range files {
		id, _ := ParseID(path.Base(f.Name)) // listFiles took only those that parse
		if slices.ContainsFunc(all, func(s Snapshot) bool { return s.ID == id }) {
			continue
		}
		if err := x.unreadable(ctx, id, f); err != nil {
			return nil, err
		}
		x.report.Unreadable = append(x.report.Unreadable, id)
	}
	return all, nil
}

// unreadable proves that a snapshot cannot be read, which may be given up then. One that can be was left out by a listing a
// moment ago, and that is an error.
func (x *snapshotsRepair) unreadable(ctx context.Context, id ID, f FileInfo) error {
	err := twice(func() error {
		_, err := loadFile(ctx, x.repo, "snapshots", id, f, func(_ ID, _ FileInfo, text []byte) (Snapshot, error) { return parseSnapshot(text) })
		return err
	})
	switch {
	case err == nil:
		return fmt.Errorf("%s was not there a moment ago; does somebody write without a lock, or does the storage not list all?", f.Name)
	case damagedOrGone(err):
		return nil
	}
	return err
}

// requireIndex refuses an index that says more, or less, than is there: what just it does not know is not lost.
func (x *snapshotsRepair) requireIndex(ctx context.Context) error {
	r := x.repo
	if err := r.LoadIndex(ctx); err != nil {
		return err
	}
	sizes, err := r.listPacks(ctx)
	if err != nil {
		return err
	}
	missing, indexed := r.missingPacks(ctx, sizes), r.index.packEnds()
	for id := range missing {
		if _, listed := indexed[id]; listed {
			return fmt.Errorf("%w: it lists %d packs that are missing or damaged; repair it first", ErrIndex, len(missing))
		}
	}
	r.rescued.forget()
	return nil
}

// known reports whether a blob is in the index. One that is whole in a pack which no index lists is an error: it is not
// lost, the index is.
func (x *snapshotsRepair) known(ctx context.Context, t BlobType, id ID) (location, bool, error) {
	r, k := x.repo, blobKey{t, id}
	if l, ok := r.index.lookup(t, id); ok || x.gone[k] {
		return l, ok, nil
	}
	if err := r.rescueBlobs(ctx); err != nil {
		return location{}, false, err
	}
	if l, ok := r.rescued.index.lookup(t, id); ok {
		s := r.borrowScratch()
		defer r.returnScratch(s)
		err := twice(func() error { _, err := r.readBlob(ctx, t, id, nil, s); return err })
		switch {
		case err == nil:
			return l, false, fmt.Errorf("%w: it does not list pack %s, which holds what this snapshot needs; repair it first", ErrIndex, l.Pack)
		case !damagedOrGone(err):
			return l, false, err
		}
	}
	x.gone[k] = true
	return location{}, false, nil
}

// findKnown finds what was repaired before, and is there.
func (x *snapshotsRepair) findKnown(all []Snapshot) {
	for i := range x.report.Broken {
		b := &x.report.Broken[i]
		for _, s := range all {
			if s.Original != nil && *s.Original == b.Old.StableID() && s.Tree == b.New.Tree && slices.Contains(s.Tags, TagRepaired) {
				b.Known, b.New = true, s
			}
		}
	}
}

// commit stores the new snapshots, once all that they reach is durable.
func (x *snapshotsRepair) commit(ctx context.Context) error {
	if err := x.writer.settle(); err != nil {
		return err
	}
	x.writer.finished()
	for i := range x.report.Broken {
		b := &x.report.Broken[i]
		if b.Known {
			continue
		}
		var err error
		if b.New, err = x.repo.saveSnapshot(ctx, b.New); err != nil {
			return err
		}
	}
	return nil
}

// forget deletes what is of no use any more. A repaired snapshot stands for each that goes, but for those nobody can read.
func (x *snapshotsRepair) forget(ctx context.Context, lock *Lock) (err error) {
	if !x.opt.Forget {
		return nil
	}
	ids := slices.Clone(x.report.Unreadable)
	for _, b := range x.report.Broken {
		ids = append(ids, b.Old.ID)
	}
	x.report.Forgotten, err = x.repo.Forget(ctx, lock, ids)
	return err
}
