package backup

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/caddy-backup/caddy-backup/repo"
)

// Found is the newest good snapshot of a job that lies in its repository, while the history knows of no good backup: Caddy's storage
// was lost, or another installation made it. It proves nothing here: nobody of us has seen it made.
type Found struct {
	Snapshot string    `json:"snapshot"`
	Time     time.Time `json:"time"`
}

const (
	seekTime = 2 * time.Minute // how long one look may take
	seekLate = time.Hour       // how long it takes at last until a storage that could not be asked is asked again
)

// seekFound has the repositories looked at in the background for snapshots of jobs without a good backup, until each could be, or
// another configuration comes: then reloaded is closed.
func (s *Service) seekFound(c *setup, reloaded <-chan struct{}) {
	left := slices.Clone(c.Repositories)
	for wait := rereadSoon; ; wait = min(2*wait, seekLate) {
		left = slices.DeleteFunc(left, func(r RepositoryConfig) bool { return s.seek(c, r.Name) })
		if len(left) == 0 || !s.slept(wait, reloaded) {
			return
		}
	}
}

// seek looks once, and reports whether it need not look again.
func (s *Service) seek(c *setup, repository string) (done bool) {
	if s.history.unread() != nil {
		return false
	}
	jobs := c.withoutGood(repository, s.allRuns())
	if len(jobs) == 0 {
		return true
	}
	ctx, cancel := context.WithTimeout(s.lastCall, seekTime)
	defer cancel()
	all, err := s.snapshotsIn(ctx, c, repository)
	done = err == nil || errors.Is(err, repo.ErrNoRepository) || errors.Is(err, repo.ErrWrongPassword) || errors.Is(err, repo.ErrDamaged)
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, name := range jobs {
		if newest := newestGood(all, name, c.Host); newest != nil {
			s.found[name] = Found{newest.ID.String(), newest.Time}
		} else if done {
			delete(s.found, name) // it was in the repository that the job had before
		}
	}
	return done
}

// snapshotsIn are all that can be read of a repository, if there is one.
func (s *Service) snapshotsIn(ctx context.Context, c *setup, repository string) ([]repo.Snapshot, error) {
	v, err := s.vaultIn(c, repository)
	if err != nil {
		return nil, err
	}
	r, err := v.open(ctx, c, createNever)
	if err != nil {
		return nil, err
	}
	return r.Snapshots(ctx)
}

// withoutGood are the jobs that write to a repository, and have no good backup in runs.
func (c *setup) withoutGood(repository string, runs []Run) (names []string) {
	for _, j := range c.Jobs {
		if r, err := c.repository(j.To); err != nil || r.Name != repository {
			continue
		}
		if lastEnded(runs, KindBackup, func(r Run) bool { return r.Job == j.Name && r.State == StateOK }) == nil {
			names = append(names, j.Name)
		}
	}
	return names
}

// foundOf is what was found of a job; nil when nothing was.
func (s *Service) foundOf(job string) *Found {
	s.mu.Lock()
	defer s.mu.Unlock()
	if f, ok := s.found[job]; ok {
		return &f
	}
	return nil
}
