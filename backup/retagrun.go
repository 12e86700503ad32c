package backup

import (
	"context"
	"fmt"
	"slices"

	"github.com/caddy-backup/caddy-backup/repo"
)

// retagRun changes the tags of a snapshot, under an exclusive lock: its file is replaced.
type retagRun struct {
	repositoryRun
}

// decision says which tags a snapshot of the repository with this ID is to have, and what that means: "is pinned".
type decision func(ctx context.Context, repository string, s repo.Snapshot) (tags []string, did string, err error)

// do has decide judge the snapshot, changes its tags, and returns it as it is then.
func (k retagRun) do(ctx context.Context, found repo.Snapshot, decide decision) (s repo.Snapshot, err error) {
	err = k.locked(ctx, true, func(ctx context.Context, r *repo.Repository, lock *repo.Lock) error {
		seen, err := k.vault.look(ctx, k.runner, r, false)
		if err != nil {
			return err
		}
		files := editions(seen.snapshots, found) // its own may have been replaced meanwhile
		if len(files) == 0 {
			return fmt.Errorf("snapshot %s: %w", found.ID.Short(), repo.ErrNotFound)
		}
		s = files[slices.IndexFunc(files, func(s repo.Snapshot) bool { return !replaced(files, s) })]
		tags, did, err := decide(ctx, r.Config().ID, s)
		if err != nil {
			return err
		}
		left := seen.snapshots
		if !slices.Equal(tags, s.Tags) || len(files) > 1 {
			if s, err = r.Retag(ctx, lock, s, tags); err != nil {
				return err
			}
			left = append(slices.DeleteFunc(slices.Clone(left), func(s repo.Snapshot) bool { return containsSnapshot(files, s.ID) }), s)
		}
		k.vault.sweepNotes(ctx, k.runner, r.Config().ID, seen, left)
		k.update(func(run *Run) {
			run.Snapshot, run.Summary = s.ID.String(), fmt.Sprintf("snapshot %s %s", s.ID.Short(), did)
		})
		return nil
	})
	return s, err
}

// withoutTag are the tags of a snapshot but for one.
func withoutTag(s repo.Snapshot, tag string) []string {
	return slices.DeleteFunc(slices.Clone(s.Tags), func(t string) bool { return t == tag })
}

// retag starts a run that changes the tags of a snapshot that is named by its ID, a stable ID, or a prefix of either.
func (s *Service) retag(ctx context.Context, by string, kind Kind, repository, id string,
	work func(ctx context.Context, r retagRun, found repo.Snapshot) error) (Run, error) {
	if id == "" || id == "latest" {
		return Run{}, fmt.Errorf("%w: say which snapshot, by its ID", ErrInvalid)
	}
	c, v, err := s.vault(repository)
	if err != nil {
		return Run{}, err
	}
	r, err := v.open(ctx, c, createNever)
	if err != nil {
		return Run{}, err
	}
	found, err := r.FindSnapshot(ctx, id, repo.SnapshotFilter{})
	if err != nil {
		return Run{}, err
	}
	never := func(Run) bool { return false }
	run := Run{Kind: kind, Job: jobOf(found), Repository: v.name, Snapshot: found.ID.String()}
	return s.start(c, by, run, never, func(ctx context.Context, r *runner) error {
		return work(ctx, retagRun{repositoryRun{r, v}}, found)
	})
}
