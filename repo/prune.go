package repo

import (
	"context"
	"fmt"
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
	BytesFreed      int64 `json:"bytes_freed"`       // by which the repository's packs got smaller
	BytesLeftUnused int64 `json:"bytes_left_unused"` // unused and duplicate, in packs that stay

	IndexFilesWritten int `json:"index_files_written"`
	IndexFilesDeleted int `json:"index_files_deleted"`

	Notes []string `json:"notes"` // what people should know, in sentences
}

// Prune deletes the packs, and by writing them anew the parts of packs, that no snapshot needs, under an exclusive lock.
func (r *Repository) Prune(ctx context.Context, lock *Lock, o PruneOptions) (*PruneReport, error) {
	return nil, fmt.Errorf("prune: %w", ErrUnsupported)
}
