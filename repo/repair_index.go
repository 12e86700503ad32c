package repo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
)

// RepairIndexOptions choose how much of the index is doubted.
type RepairIndexOptions struct {
	ReadAll bool // read the headers of all packs, not only of those that the index says nothing sure about
	DryRun  bool // find out and report, change nothing

	// Readable keeps every index file that can be read, right or not: only the others are replaced, and packs that no index
	// lists are added. It is what can be done without anybody looking, since nothing is lost by it.
	Readable bool
}

// IndexRepair is what a repair of the index did; with DryRun, what it would do.
type IndexRepair struct {
	DryRun       bool `json:"dry_run"`
	FilesDamaged int  `json:"files_damaged"` // index files that cannot be read
	FilesWritten int  `json:"files_written"`
	FilesDeleted int  `json:"files_deleted"`
	HeadersRead  int  `json:"headers_read"`
	Packs        int  `json:"packs"`       // sound ones, which the index lists now
	BlobsSaved   int  `json:"blobs_saved"` // whole ones of damaged packs, stored again in new packs

	Found   []ID          `json:"found,omitempty"`   // packs that no index listed, and which are now
	Missing []ID          `json:"missing,omitempty"` // packs that were listed and are gone
	Changed []ID          `json:"changed,omitempty"` // packs of which the index said something else than they do
	Damaged []DamagedPack `json:"damaged,omitempty"`
}

// DamagedPack is a pack that holds other bytes than it should. It is listed no more, and left where it is.
type DamagedPack struct {
	ID    ID     `json:"id"`
	Text  string `json:"text"`  // what is wrong
	Whole int    `json:"whole"` // blobs in it that are whole; they were stored again where they lie nowhere else
	Lost  int    `json:"lost"`  // blobs in it that are not
}

// Clean reports whether there was nothing to do.
func (x *IndexRepair) Clean() bool { return x.FilesWritten == 0 && x.FilesDeleted == 0 }

// RepairIndex makes the index say what the packs say, under an exclusive lock. It keeps the index files that are right, and
// reads just the headers of packs that they say nothing sure about. Packs that are damaged, or that Distrust was told of, are
// read: what is whole in them is stored again, and then the index does not list them any more, so that what is lost is in no
// index: RepairSnapshots can tell by that. The packs themselves stay.
//
// New packs and index files are durable before an old index file goes; a crash leaves packs that are listed twice at the
// most, and the next repair goes on.
func (r *Repository) RepairIndex(ctx context.Context, lock *Lock, o RepairIndexOptions) (*IndexRepair, error) {
	if err := r.writable(); err != nil {
		return nil, err
	}
	ctx, stop, err := r.exclusively(ctx, lock)
	if err != nil {
		return nil, fmt.Errorf("cannot repair the index%s: %w", r.at(), err)
	}
	defer stop()
	x := &indexRepair{repo: r, opt: o, report: &IndexRepair{DryRun: o.DryRun}}
	for _, step := range []func(context.Context) error{x.load, x.readPacks, x.examine} {
		if err := step(ctx); err != nil {
			return nil, fmt.Errorf("cannot repair the index%s: %w", r.at(), err)
		}
	}
	x.plan()
	if o.DryRun || x.report.Clean() && len(x.saved) == 0 {
		return x.report, nil
	}
	if err := x.apply(ctx, lock); err != nil {
		return nil, fmt.Errorf("cannot repair the index%s: %w", r.at(), err)
	}
	return x.report, r.LoadIndex(ctx)
}

// indexRepair is a repair under way.
type indexRepair struct {
	repo   *Repository
	opt    RepairIndexOptions
	report *IndexRepair

	files    map[ID]map[ID][]packedBlob // what each readable index file lists
	bad      []ID                       // index files that cannot be read
	listed   map[ID][]packedBlob        // what they say together
	disagree map[ID]bool                // packs about which they do not say the same
	sizes    map[ID]int64               // of the packs in the storage

	packs map[ID][]packedBlob // what the packs hold, as far as they are sound: what the index must say
	doubt map[ID]doubt        // packs that may be damaged
	saved []location          // blobs of damaged packs that are whole

	replaced []ID                // index files that go
	unlisted map[ID][]packedBlob // packs that the files which stay do not list
}

// plan decides which index files stay: those that are right in all they say, and list no pack that one before lists too.
func (x *indexRepair) plan() {
	covered := map[ID]bool{}
	for _, file := range sortedKeys(x.files) {
		if !x.opt.Readable && !x.keeps(file, covered) {
			x.replaced = append(x.replaced, file)
			continue
		}
		for id := range x.files[file] {
			covered[id] = true
		}
	}
	x.replaced = append(x.replaced, x.bad...)
	x.unlisted = map[ID][]packedBlob{}
	for id, blobs := range x.packs {
		if !covered[id] {
			x.unlisted[id] = blobs
		}
	}
	held := map[blobKey]bool{}
	if len(x.saved) > 0 {
		for _, blobs := range x.packs {
			for _, b := range blobs {
				held[blobKey{b.Type, b.ID}] = true
			}
		}
	}
	x.saved = slices.DeleteFunc(x.saved, func(l location) bool {
		k := blobKey{l.Type, l.ID}
		again := held[k]
		held[k] = true
		return again
	})
	x.report.Packs, x.report.FilesDeleted, x.report.BlobsSaved = len(x.packs), len(x.replaced), len(x.saved)
	x.report.FilesWritten = len(splitPacks(x.unlisted))
}

// keeps reports whether everything that an index file says is right.
func (x *indexRepair) keeps(file ID, covered map[ID]bool) bool {
	for id, blobs := range x.files[file] {
		if sure, ok := x.packs[id]; !ok || covered[id] || !equalBlobs(sure, blobs) {
			return false
		}
	}
	return len(x.files[file]) > 0 // one of nothing is no use
}

func sortIDs(ids []ID) { slices.SortFunc(ids, func(a, b ID) int { return compareIDs(&a, &b) }) }

func sortedKeys[V any](m map[ID]V) []ID {
	ids := make([]ID, 0, len(m))
	for id := range m {
		ids = append(ids, id)
	}
	sortIDs(ids)
	return ids
}

// twice does something again that found stored bytes damaged or gone. A repair gives them up then, and should not do so
// because a storage or a cable was wrong once.
func twice(read func() error) error {
	err := read()
	if err != nil && damagedOrGone(err) {
		err = read()
	}
	return err
}

// damagedOrGone tells stored bytes that are wrong from a storage that cannot be asked.
func damagedOrGone(err error) bool {
	return errors.Is(err, ErrDamaged) || errors.Is(err, fs.ErrNotExist) || errors.Is(err, io.ErrUnexpectedEOF)
}
