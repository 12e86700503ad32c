package repo

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"time"
)

// lockFile is the JSON of a lock.
type lockFile struct {
	Time      time.Time `json:"time"`
	Exclusive bool      `json:"exclusive"`
	Hostname  string    `json:"hostname"`
	Username  string    `json:"username"`
	PID       int       `json:"pid"`
	UID       uint32    `json:"uid,omitempty"`
	GID       uint32    `json:"gid,omitempty"`
}

// conflict looks for locks that are in the way of a wish.
func (r *Repository) conflict(ctx context.Context, exclusive bool, own ID) error {
	locks, bad, err := r.readLocks(ctx)
	if err != nil {
		return err
	}
	e := &LockedError{Location: r.opt.Location, Unreadable: bad}
	for _, l := range locks {
		if l.ID != own && (exclusive || l.Exclusive) {
			e.Holders = append(e.Holders, l)
		}
	}
	if len(e.Holders) == 0 && len(e.Unreadable) == 0 {
		return nil
	}
	return e
}

// readLocks reads everybody's locks. An empty lock file is none, as for restic: some storages leave it after a crash.
func (r *Repository) readLocks(ctx context.Context) ([]LockInfo, errorList, error) {
	load, err := loadFiles(ctx, r, "locks",
		func(_ ID, f FileInfo) bool { return f.Size > 0 },
		func(id ID, _ FileInfo, text []byte) (LockInfo, error) {
			l, err := parseLock(text)
			return LockInfo{id, l.Time, l.Exclusive, l.Hostname, l.Username, l.PID}, err
		})
	if err != nil {
		return nil, nil, fmt.Errorf("cannot read the locks%s: %w", r.at(), err)
	}
	locks := make([]LockInfo, 0, len(load.fresh))
	for _, l := range load.fresh {
		locks = append(locks, l)
	}
	slices.SortFunc(locks, func(a, b LockInfo) int {
		return cmp.Or(a.Time.Compare(b.Time), compareIDs(&a.ID, &b.ID))
	})
	return locks, load.bad, nil
}

// parseLock reads a lock's JSON.
func parseLock(text []byte) (lockFile, error) {
	var l lockFile
	if err := json.Unmarshal(text, &l); err != nil {
		return lockFile{}, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	return l, nil
}

// Locks lists the locks of everybody; unreadable ones are reported as an error beside the others.
func (r *Repository) Locks(ctx context.Context) ([]LockInfo, error) {
	locks, bad, err := r.readLocks(ctx)
	if err != nil {
		return nil, err
	}
	return locks, bad.orNil()
}

// LockFiles lists the IDs of all lock files, those that cannot be read and empty ones included.
func (r *Repository) LockFiles(ctx context.Context) ([]ID, error) {
	files, err := listFiles(ctx, r.storage, "locks")
	if err != nil {
		return nil, fmt.Errorf("cannot read the locks%s: %w", r.at(), err)
	}
	ids := make([]ID, len(files))
	for i, f := range files {
		ids[i], _ = ParseID(path.Base(f.Name))
	}
	return ids, nil
}

// RemoveLocks deletes lock files by ID, missing ones are no error: for locks whose holders are dead.
func (r *Repository) RemoveLocks(ctx context.Context, ids []ID) error {
	var failed errorList
	for _, id := range ids {
		if err := r.storage.Delete(ctx, lockName(id)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			failed = append(failed, fmt.Errorf("cannot delete the lock %s%s: %w", id, r.at(), err))
		}
	}
	return failed.orNil()
}

func lockName(id ID) string { return "locks/" + id.String() }
