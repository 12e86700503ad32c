package backup

import (
	"context"
	"fmt"

	"github.com/caddy-backup/caddy-backup/repo"
)

// Stats counts what is in a repository and what it takes, by job; what others wrote is in the group "".
func (s *Service) Stats(ctx context.Context, repository string) (*repo.RepositoryStats, error) {
	c, v, err := s.vault(repository)
	if err != nil {
		return nil, err
	}
	leave, err := s.counting.enter(ctx)
	if err != nil {
		return nil, err
	}
	defer leave()
	r, err := v.open(ctx, c, createNever)
	if err != nil {
		return nil, err
	}
	stats, err := r.Stats(ctx, jobOf)
	return stats, v.explain(err)
}

// Diff tells what changed from one snapshot of a repository to another; each is an ID, a stable ID or a prefix. An error of tell
// ends it.
func (s *Service) Diff(ctx context.Context, repository, from, to string, tell func(repo.Change) error) (repo.DiffSummary, error) {
	c, v, err := s.vault(repository)
	if err != nil {
		return repo.DiffSummary{}, err
	}
	leave, err := s.counting.enter(ctx)
	if err != nil {
		return repo.DiffSummary{}, err
	}
	defer leave()
	r, err := v.open(ctx, c, createNever)
	if err != nil {
		return repo.DiffSummary{}, err
	}
	var found [2]repo.Snapshot
	for i, name := range []string{from, to} {
		if name == "" {
			return repo.DiffSummary{}, fmt.Errorf("%w: two snapshots are needed", ErrInvalid)
		}
		if found[i], err = r.FindSnapshot(ctx, name, repo.SnapshotFilter{}); err != nil {
			return repo.DiffSummary{}, v.explain(err)
		}
	}
	sum, err := r.Diff(ctx, found[0], found[1], tell)
	return sum, v.explain(err)
}
