package backup

import (
	"context"
	"fmt"
	"slices"

	"github.com/caddy-backup/caddy-backup/repo"
)

// KeepRequest asks for a snapshot to be pinned, or to be no longer.
type KeepRequest struct {
	Repository string `json:"repository"`
	Snapshot   string `json:"-"` // ID, stable ID, or a prefix of either
	Keep       bool   `json:"-"`
}

// Keep starts a run that pins a snapshot, so that no retention removes it and no limit counts it, or undoes that, and
// returns at once. The snapshot gets a new ID, which the run tells; its stable ID stays. ErrInvalid, ErrNotFound.
func (s *Service) Keep(ctx context.Context, by string, q KeepRequest) (Run, error) {
	if q.Snapshot == "" || q.Snapshot == "latest" {
		return Run{}, fmt.Errorf("%w: say which snapshot, by its ID", ErrInvalid)
	}
	c, v, err := s.vault(q.Repository)
	if err != nil {
		return Run{}, err
	}
	r, err := v.open(ctx, c, createNever)
	if err != nil {
		return Run{}, err
	}
	found, err := r.FindSnapshot(ctx, q.Snapshot, repo.SnapshotFilter{})
	if err != nil {
		return Run{}, err
	}
	never := func(Run) bool { return false }
	run := Run{Kind: KindKeep, Job: jobOf(found), Repository: v.name, Snapshot: found.ID.String()}
	run, err = s.start(c, by, run, never, func(ctx context.Context, r *runner) error {
		return keepRun{repositoryRun{r, v}}.do(ctx, found, q.Keep)
	})
	if err == nil {
		s.audit(by, "pin asked for", "repository", v.name, "snapshot", found.StableID().String(), "keep", q.Keep, "run", run.ID)
	}
	return run, err
}

// keepRun changes the tag of a snapshot, under an exclusive lock: its file is replaced.
type keepRun struct {
	repositoryRun
}

func (k keepRun) do(ctx context.Context, found repo.Snapshot, keep bool) error {
	return k.locked(ctx, true, func(ctx context.Context, r *repo.Repository, lock *repo.Lock) error {
		seen, err := k.vault.look(ctx, k.runner, r, false)
		if err != nil {
			return err
		}
		files := editions(seen.snapshots, found) // its own may have been replaced meanwhile
		if len(files) == 0 {
			return fmt.Errorf("snapshot %s: %w", found.ID.Short(), repo.ErrNotFound)
		}
		s := files[slices.IndexFunc(files, func(s repo.Snapshot) bool { return !replaced(files, s) })]
		tags := slices.DeleteFunc(slices.Clone(s.Tags), func(tag string) bool { return tag == tagKeep })
		did := "is no longer pinned"
		if keep {
			tags, did = append(tags, tagKeep), "is pinned"
		}
		if pinned(s) == keep && len(files) == 1 {
			did += " already"
			if !keep {
				did = "was not pinned"
			}
		} else if s, err = r.Retag(ctx, lock, s, tags); err != nil {
			return err
		}
		k.update(func(run *Run) {
			run.Snapshot, run.Summary = s.ID.String(), fmt.Sprintf("snapshot %s %s", s.ID.Short(), did)
		})
		return nil
	})
}
