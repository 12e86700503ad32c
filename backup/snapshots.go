package backup

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/caddy-backup/caddy-backup/repo"
)

// The tags of our snapshots. One without tagOurs belongs to no job.
const (
	tagOurs    = "caddy-backup"
	tagRun     = "run-"
	tagSuspect = "suspect" // a person who removes it says that the snapshot is good
	tagImport  = "imported"
	tagSafety  = "safety" // made before a restore over the live one, of what that was: no good one
	tagKeep    = "keep"   // pinned: neither retention nor restic's forget with --keep-tag keep removes it
)

// SnapshotQuery selects snapshots.
type SnapshotQuery struct {
	Repository string // default "default", or the only one
	Job        string // all jobs, and what others wrote, when empty
	Safety     Safeties
	Offset     int
	Limit      int // 0 = all
}

// Safeties says what of the safety snapshots, which were made of what restores replaced, is selected.
type Safeties string

// The safety snapshots with all others, left out, or alone.
const (
	SafetyToo  Safeties = ""
	SafetyNot  Safeties = "not"
	SafetyOnly Safeties = "only"
)

// has reports whether a snapshot is selected.
func (x Safeties) has(s repo.Snapshot) bool { return x == SafetyToo || safety(s) == (x == SafetyOnly) }

// Snapshot is a snapshot as a list shows it.
type Snapshot struct {
	ID         string    `json:"id"`
	StableID   string    `json:"stable_id"`
	Time       time.Time `json:"time"`
	Job        string    `json:"job,omitempty"` // empty: not made by us
	Run        string    `json:"run,omitempty"`
	Host       string    `json:"host"`
	Paths      []string  `json:"paths"`
	Tags       []string  `json:"tags"`
	Size       int64     `json:"size"`               // bytes of all files; 0 when unknown
	Added      int64     `json:"added"`              // bytes that were new then
	Stored     int64     `json:"stored"`             // what they take
	Parts      []Content `json:"parts,omitempty"`    // only when one snapshot is asked for
	Manifest   *Manifest `json:"manifest,omitempty"` // only when one snapshot is asked for, and it is ours
	Repository string    `json:"repository"`
	Note       string    `json:"note,omitempty"` // why it is pinned, if a person said so
}

// SnapshotList is a page of snapshots, newest first.
type SnapshotList struct {
	Total     int        `json:"total"`
	Snapshots []Snapshot `json:"snapshots"`
	Safety    int        `json:"safety,omitempty"`  // how many safety snapshots there are that were left out
	Damaged   string     `json:"damaged,omitempty"` // snapshots that cannot be read, named
}

// Snapshots lists snapshots. ErrInvalid; ErrNotFound for a job that neither is configured nor has any.
func (s *Service) Snapshots(ctx context.Context, q SnapshotQuery) (SnapshotList, error) {
	if !slices.Contains([]Safeties{SafetyToo, SafetyNot, SafetyOnly}, q.Safety) {
		return SnapshotList{}, fmt.Errorf("%w safety: %q is neither not nor only", ErrInvalid, q.Safety)
	}
	c, v, err := s.vaultOfJob(q.Repository, q.Job)
	if err != nil {
		return SnapshotList{}, err
	}
	r, err := v.open(ctx, c, createNever)
	if err != nil {
		return SnapshotList{}, err
	}
	all, err := r.Snapshots(ctx)
	list := SnapshotList{Snapshots: []Snapshot{}}
	switch {
	case errors.Is(err, repo.ErrDamaged):
		list.Damaged = err.Error()
	case err != nil:
		return SnapshotList{}, v.explain(err)
	}
	if q.Job != "" {
		all = slices.DeleteFunc(all, func(s repo.Snapshot) bool { return jobOf(s) != q.Job })
		if _, err := c.job(q.Job); err != nil && len(all) == 0 && list.Damaged == "" {
			return SnapshotList{}, err // a job that is no more may still have some
		}
	}
	before := len(all)
	all = slices.DeleteFunc(all, func(s repo.Snapshot) bool { return !q.Safety.has(s) })
	if list.Total = len(all); q.Safety == SafetyNot {
		list.Safety = before - len(all)
	}
	for _, s := range page(all, q.Offset, q.Limit) {
		list.Snapshots = append(list.Snapshots, snapshotOf(v, s))
	}
	v.annotate(ctx, c, r, len(list.Snapshots), func(i int) *Snapshot { return &list.Snapshots[i] })
	return list, nil
}

// page cuts a page out of all; limit 0 means to the end.
func page[T any](all []T, offset, limit int) []T {
	all = all[min(max(offset, 0), len(all)):]
	if limit > 0 {
		all = all[:min(limit, len(all))]
	}
	return all
}

// Snapshot finds one snapshot by ID, stable ID, prefix of either, or "latest" (of job, when given): the newest good one, or
// the newest of all when there is no good one.
func (s *Service) Snapshot(ctx context.Context, repository, id, job string) (Snapshot, error) {
	c, v, err := s.vaultOfJob(repository, job)
	if err != nil {
		return Snapshot{}, err
	}
	var found Snapshot
	err = v.read(ctx, c, func(r *repo.Repository) error {
		raw, err := findLatest(ctx, r, id, job)
		if err != nil {
			return err
		}
		found = snapshotOf(v, raw)
		v.annotate(ctx, c, r, 1, func(int) *Snapshot { return &found })
		found.Parts, found.Manifest, err = contents(ctx, r, raw)
		return err
	})
	return found, err
}

// findLatest is FindSnapshot, but that "latest" passes over what is in doubt as long as there is a good one: a backup of what
// was lost already, made before anybody noticed, must not be what comes back.
func findLatest(ctx context.Context, r *repo.Repository, id, job string) (repo.Snapshot, error) {
	if id == "latest" {
		all, _ := r.Snapshots(ctx) // what cannot be read, FindSnapshot tells when nothing else is found
		doubtful, filter := inDoubt(all), filterFor(job)
		good := func(s repo.Snapshot) bool { return filter.Match(s) && !doubtful(s) }
		if i := slices.IndexFunc(all, good); i >= 0 {
			return all[i], nil
		}
	}
	return r.FindSnapshot(ctx, id, filterFor(job))
}

// contents lists what is in the folder of a job, or at the top of a snapshot that is not ours.
func contents(ctx context.Context, r *repo.Repository, s repo.Snapshot) ([]Content, *Manifest, error) {
	if jobOf(s) == "" {
		list, err := listFolder(ctx, r, repo.Node{Type: "dir", Subtree: &s.Tree}, "/", nil)
		return list, nil, err
	}
	m, err := loadManifest(ctx, r, s)
	if err != nil && !errors.Is(err, repo.ErrNotFound) && !errors.Is(err, repo.ErrUnsupported) {
		return nil, nil, err
	}
	folder, path, err := resolve(ctx, r, s, "/"+jobOf(s))
	if err != nil {
		return nil, nil, err
	}
	list, err := listFolder(ctx, r, folder, path, m)
	return list, m, err
}

// filterFor passes the snapshots of a job, all when it is "", that may be its latest.
func filterFor(job string) repo.SnapshotFilter {
	f := repo.SnapshotFilter{Without: []string{tagSafety}}
	if job != "" {
		f.Paths, f.Tags = []string{"/" + job}, []string{tagOurs}
	}
	return f
}

// jobOf is the job that made a snapshot, or "" when none of ours did.
func jobOf(s repo.Snapshot) string {
	if len(s.Paths) != 1 || !slices.Contains(s.Tags, tagOurs) {
		return ""
	}
	job, ok := strings.CutPrefix(s.Paths[0], "/")
	if !ok || strings.Contains(job, "/") {
		return ""
	}
	return job
}

func snapshotOf(v *vault, s repo.Snapshot) Snapshot {
	out := Snapshot{
		ID: s.ID.String(), StableID: s.StableID().String(), Time: s.Time, Job: jobOf(s), Host: s.Hostname,
		Paths: append([]string{}, s.Paths...), Tags: append([]string{}, s.Tags...), Repository: v.name,
	}
	for _, tag := range s.Tags {
		if run, ok := strings.CutPrefix(tag, tagRun); ok && out.Job != "" {
			out.Run = run
		}
	}
	if s.Summary != nil {
		out.Size, out.Added = int64(s.Summary.TotalBytesProcessed), int64(s.Summary.DataAdded)
		out.Stored = int64(s.Summary.DataAddedPacked)
	}
	return out
}
