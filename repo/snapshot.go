package repo

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"time"
)

// Snapshot is a snapshot file (restic-format: snapshots), with its ID.
type Snapshot struct {
	ID             ID        `json:"-"`
	Time           time.Time `json:"time"` // with the zone offset of the job: retention depends on it
	Parent         *ID       `json:"parent,omitempty"`
	Tree           ID        `json:"tree"`
	Paths          []string  `json:"paths"`
	Hostname       string    `json:"hostname,omitempty"`
	Username       string    `json:"username,omitempty"`
	UID            uint32    `json:"uid,omitempty"`
	GID            uint32    `json:"gid,omitempty"`
	Excludes       []string  `json:"excludes,omitempty"`
	Tags           []string  `json:"tags,omitempty"`
	Original       *ID       `json:"original,omitempty"`
	ProgramVersion string    `json:"program_version,omitempty"`
	Summary        *Summary  `json:"summary,omitempty"`
}

// StableID stays the same when tags change: Original when set, else ID.
func (s Snapshot) StableID() ID {
	if s.Original != nil {
		return *s.Original
	}
	return s.ID
}

// Summary is what restic records of the run that made a snapshot. Sizes in bytes.
type Summary struct {
	BackupStart         time.Time `json:"backup_start"`
	BackupEnd           time.Time `json:"backup_end"`
	FilesNew            uint      `json:"files_new"`
	FilesChanged        uint      `json:"files_changed"`
	FilesUnmodified     uint      `json:"files_unmodified"`
	DirsNew             uint      `json:"dirs_new"`
	DirsChanged         uint      `json:"dirs_changed"`
	DirsUnmodified      uint      `json:"dirs_unmodified"`
	DataBlobs           int       `json:"data_blobs"`
	TreeBlobs           int       `json:"tree_blobs"`
	DataAdded           uint64    `json:"data_added"`        // new plaintext, data and trees
	DataAddedPacked     uint64    `json:"data_added_packed"` // what it takes in packs, header entries included
	TotalFilesProcessed uint      `json:"total_files_processed"`
	TotalBytesProcessed uint64    `json:"total_bytes_processed"`
}

// SnapshotFilter narrows down snapshots; the zero value passes all.
type SnapshotFilter struct {
	Host  string   // equal, when set
	Paths []string // all present
	Tags  []string // all present

	Without []string // tags, none present
}

// Match reports whether s passes.
func (f SnapshotFilter) Match(s Snapshot) bool {
	return (f.Host == "" || f.Host == s.Hostname) && containsAll(s.Paths, f.Paths) && containsAll(s.Tags, f.Tags) &&
		!slices.ContainsFunc(f.Without, func(tag string) bool { return slices.Contains(s.Tags, tag) })
}

func containsAll(list, wanted []string) bool {
	for _, w := range wanted {
		if !slices.Contains(list, w) {
			return false
		}
	}
	return true
}

// saveSnapshot writes the snapshot file. Everything that it reaches must be durable and indexed before.
func (r *Repository) saveSnapshot(ctx context.Context, s Snapshot) (Snapshot, error) {
	s.Time = wholeMinutes(s.Time.Round(0)) // a monotonic reading has no place in a file
	text, err := json.Marshal(s)
	if err != nil {
		return Snapshot{}, fmt.Errorf("snapshot: %w", err)
	}
	if _, err := parseSnapshot(text); err != nil {
		return Snapshot{}, fmt.Errorf("refusing to store a snapshot that nobody could read: %w", err)
	}
	s.ID, err = r.saveUnpacked(ctx, "snapshots", text)
	if err != nil {
		r.takeBack(ctx, s.ID)
		return Snapshot{}, err
	}
	return s, nil
}

// takeBack removes a snapshot whose storing failed. It may be there all the same, when only the answer was lost; then
// a run that is told as failed would have left a snapshot.
func (r *Repository) takeBack(ctx context.Context, id ID) {
	if id.IsZero() {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	if err := r.storage.Delete(ctx, "snapshots/"+id.String()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		r.opt.Logger.Warn("a snapshot could not be stored; should it show up all the same, it is whole", "snapshot", id.Short(),
			"location", r.opt.Location, "error", err)
	}
}

// parseSnapshot reads a snapshot's JSON; without a time or a tree it is ErrDamaged.
func parseSnapshot(text []byte) (Snapshot, error) {
	var s Snapshot
	if err := json.Unmarshal(text, &s); err != nil {
		return Snapshot{}, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	if s.Time.IsZero() || s.Tree.IsZero() {
		return Snapshot{}, fmt.Errorf("%w: it has no time or no tree", ErrDamaged)
	}
	return s, nil
}
