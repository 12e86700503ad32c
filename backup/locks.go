package backup

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/caddy-backup/caddy-backup/repo"
)

// staleLock is the age from which on a lock is taken for dead, as restic does: one that is alive is made anew every few
// minutes.
const staleLock = 30 * time.Minute

// LockStatus is a lock in a repository, and what is known of who holds it.
type LockStatus struct {
	repo.LockInfo
	Held       bool   `json:"held"`                 // by a process that provably lives, this one or another of ours: never removed
	Stale      string `json:"stale,omitempty"`      // why its holder is dead; empty: it may be alive
	Unreadable bool   `json:"unreadable,omitempty"` // nothing but its ID is known
}

// Unlocked is what became of the locks in a repository.
type Unlocked struct {
	Removed []LockStatus `json:"removed"`
	Kept    []LockStatus `json:"kept"`
}

// Locks lists the locks in a repository, anybody's, oldest first; those that cannot be read are last.
func (s *Service) Locks(ctx context.Context, repository string) ([]LockStatus, error) {
	c, v, err := s.vault(repository)
	if err != nil {
		return nil, err
	}
	_, locks, err := v.locks(ctx, c)
	return locks, err
}

// Unlock removes the locks in a repository whose holders are dead; with all, every one but those that are provably held.
func (s *Service) Unlock(ctx context.Context, by, repository string, all bool) (Unlocked, error) {
	c, v, err := s.vault(repository)
	if err != nil {
		return Unlocked{}, err
	}
	s.audit(by, "removal of locks asked for", "repository", v.name, "all", all)
	r, locks, err := v.locks(ctx, c)
	if err != nil {
		return Unlocked{}, err
	}
	var done Unlocked
	for _, l := range locks {
		if l.Held || l.Stale == "" && !all {
			done.Kept = append(done.Kept, l)
			continue
		}
		if err := r.RemoveLocks(ctx, []repo.ID{l.ID}); err != nil {
			return done, v.explain(err)
		}
		done.Removed = append(done.Removed, l)
		v.base.Logger.Warn("removed a lock", "by", by, "lock", l.ID.Short(), "holder", l.holder(), "reason", l.reason())
	}
	return done, nil
}

// holder names whose lock it is.
func (l LockStatus) holder() string {
	if l.Unreadable {
		return "unknown"
	}
	return fmt.Sprintf("process %d of %s on %s", l.PID, l.Username, l.Hostname)
}

func (l LockStatus) reason() string {
	if l.Stale == "" {
		return "all locks were to be removed"
	}
	return l.Stale
}

// locks opens the repository and judges its locks.
func (v *vault) locks(ctx context.Context, c *setup) (*repo.Repository, []LockStatus, error) {
	r, err := v.open(ctx, c, createNever)
	if err != nil {
		return nil, nil, err
	}
	readable, err := r.Locks(ctx)
	if err != nil && !errors.Is(err, repo.ErrDamaged) {
		return nil, nil, v.explain(err)
	}
	files, err := r.LockFiles(ctx)
	if err != nil {
		return nil, nil, v.explain(err)
	}
	alive, dead := v.service.journal.holders(v.location)
	locks := make([]LockStatus, 0, len(files))
	for _, l := range readable {
		status := LockStatus{LockInfo: l, Held: alive[l.ID]}
		if !status.Held {
			status.Stale = staleness(l, dead[l.ID], v.service.now())
		}
		locks = append(locks, status)
	}
	for _, id := range files {
		if !slices.ContainsFunc(readable, func(l repo.LockInfo) bool { return l.ID == id }) {
			locks = append(locks, LockStatus{LockInfo: repo.LockInfo{ID: id}, Held: alive[id], Unreadable: true})
		}
	}
	return r, locks, nil
}

// staleness says why the holder of a lock is dead; "" when it may live.
func staleness(l repo.LockInfo, provenDead bool, now time.Time) string {
	host, _ := os.Hostname()
	switch age := now.Sub(l.Time); {
	case provenDead:
		return fmt.Sprintf("left behind by process %d, one of ours", l.PID)
	case l.Hostname == host && l.PID > 0 && !processExists(l.PID):
		return fmt.Sprintf("process %d of this machine is gone", l.PID)
	case age > staleLock:
		return fmt.Sprintf("it was not made anew for %s", age.Round(time.Minute))
	}
	return ""
}

// holders reads from all journals which locks in a repository processes of ours hold: those that live, this one included,
// and those that are provably dead.
func (j *journal) holders(location string) (alive, dead map[repo.ID]bool) {
	alive, dead = map[repo.ID]bool{}, map[repo.ID]bool{}
	note := func(to map[repo.ID]bool, l leftover) {
		for _, id := range l.locksAt(location) {
			to[id] = true
		}
	}
	j.mu.Lock()
	own := j.name + journalSuffix
	note(map[bool]map[repo.ID]bool{true: alive, false: dead}[len(j.held[location]) > 0], j.left)
	j.mu.Unlock()
	entries, err := os.ReadDir(j.dir)
	if j.dir == "" || err != nil {
		return alive, dead
	}
	for _, e := range entries {
		if !strings.HasSuffix(e.Name(), journalSuffix) || e.Name() == own {
			continue
		}
		path := filepath.Join(j.dir, e.Name())
		d, err := openDead(path)
		if err == nil {
			note(dead, d.left)
			d.file.Close()
			continue
		}
		if data, err := os.ReadFile(path); err == nil {
			other := deadJournal{left: newLeftover()}
			_ = other.parse(data) // of what cannot be read nothing is known
			note(alive, other.left)
		}
	}
	return alive, dead
}
