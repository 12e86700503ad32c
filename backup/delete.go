package backup

import (
	"context"
	"fmt"
	"slices"

	"github.com/caddy-backup/caddy-backup/repo"
)

// DeleteRequest asks for the deletion of single snapshots.
type DeleteRequest struct {
	Repository  string   `json:"repository"`
	Job         string   `json:"job,omitempty"` // delete snapshots of this job only; without a repository the job says which one
	Snapshots   []string `json:"snapshots"`     // IDs, stable IDs, or prefixes of either
	DryRun      bool     `json:"dry_run"`
	AcceptFewer bool     `json:"accept_fewer"` // go on although others removed snapshots or keys since the last run
	Confirm     bool     `json:"confirm"`      // delete the last good snapshot of a job, too
}

// Delete starts a run that deletes snapshots and returns at once. One that cannot be deleted does not keep the others; the run
// names each. ErrInvalid.
func (s *Service) Delete(ctx context.Context, by string, q DeleteRequest) (Run, error) {
	if len(q.Snapshots) == 0 {
		return Run{}, fmt.Errorf("%w: no snapshot is selected", ErrInvalid)
	}
	if slices.Contains(q.Snapshots, "latest") {
		return Run{}, fmt.Errorf("%w: snapshots are deleted by their IDs; latest may be another one by then", ErrInvalid)
	}
	c, v, err := s.vaultOfJob(q.Repository, q.Job)
	if err != nil {
		return Run{}, err
	}
	never := func(Run) bool { return false }
	run, err := s.start(c, by, Run{Kind: KindForget, Repository: v.name, DryRun: q.DryRun}, never, func(ctx context.Context, r *runner) error {
		return forgetRun{repositoryRun{r, v}}.named(ctx, q)
	})
	if err == nil {
		s.audit(by, "deletion asked for", "repository", v.name, "snapshots", q.Snapshots, "dry_run", q.DryRun, "confirm", q.Confirm, "run", run.ID)
	}
	return run, err
}

// named deletes the snapshots that were named.
func (f forgetRun) named(ctx context.Context, q DeleteRequest) error {
	return f.locked(ctx, !q.DryRun, func(ctx context.Context, r *repo.Repository, lock *repo.Lock) error {
		seen, err := f.vault.look(ctx, f.runner, r, q.AcceptFewer && !q.DryRun)
		if err != nil {
			return refuse(err)
		}
		going := f.choose(ctx, r, seen.snapshots, q)
		if err := f.vault.refusal(seen, f.service.now(), q.AcceptFewer, going...); err != nil {
			return err
		}
		leaving := distinct(going)
		f.summarise(leaving, distinct(seen.snapshots)-leaving, q.DryRun)
		if err := f.remove(ctx, r, lock, seen, going, func(repo.Snapshot) []string { return []string{"named"} }); err != nil {
			return err
		}
		if spared := len(f.snapshot().Findings); spared > 0 {
			return fmt.Errorf("%d of %s deleted, the first of the others: %s", len(q.Snapshots)-spared, were(len(q.Snapshots), "snapshot"),
				f.snapshot().Findings[0].Text)
		}
		return nil
	})
}

// choose finds the snapshots that may go, all their files; the others it lists as findings of the run.
func (f forgetRun) choose(ctx context.Context, r *repo.Repository, all []repo.Snapshot, q DeleteRequest) (going []repo.Snapshot) {
	spare := func(name string, err error) {
		f.update(func(run *Run) {
			run.Findings = append(run.Findings, Finding{name, true, fmt.Sprintf("not deleted: %v", err)})
		})
	}
	named := map[repo.ID]string{}
	for _, name := range q.Snapshots {
		s, err := r.FindSnapshot(ctx, name, repo.SnapshotFilter{})
		files := editions(all, s)
		for i := 0; i < len(files) && err == nil; i++ {
			err = mayGo(files[i])
		}
		if err == nil && q.Job != "" && jobOf(s) != q.Job {
			err = fmt.Errorf("snapshot %s is of job %s, not of %s", s.ID.Short(), jobOf(s), q.Job)
		}
		if err != nil {
			spare(name, err)
			continue
		}
		for _, s := range files {
			if named[s.ID] == "" {
				named[s.ID], going = name, append(going, s)
			}
		}
	}
	if q.Confirm {
		return going
	}
	for _, s := range lastGood(all, going) {
		spare(named[s.ID], fmt.Errorf("snapshot %s is the last good one of job %s on %s; if it is to go all the same, add --confirm", s.ID.Short(), jobOf(s), s.Hostname))
		files := editions(all, s)
		going = slices.DeleteFunc(going, func(x repo.Snapshot) bool { return containsSnapshot(files, x.ID) })
	}
	return going
}

// mayGo spares what a person pinned, and what others made.
func mayGo(s repo.Snapshot) error {
	switch {
	case jobOf(s) == "":
		return fmt.Errorf("snapshot %s was made by another program; delete it with: restic forget %s", s.ID.Short(), s.ID.Short())
	case pinned(s):
		return fmt.Errorf("snapshot %s is pinned; first: caddy backup unkeep %s", s.ID.Short(), s.ID.Short())
	}
	return nil
}

// lastGood lists, of each job and host that would lose its last good snapshot, the newest of them; all is newest first.
func lastGood(all, going []repo.Snapshot) (last []repo.Snapshot) {
	type series struct{ job, host string }
	of := func(s repo.Snapshot) series { return series{jobOf(s), s.Hostname} }
	left, doubtful := map[series]bool{}, inDoubt(all)
	for _, s := range all {
		if !doubtful(s) && !containsSnapshot(going, s.ID) {
			left[of(s)] = true
		}
	}
	for _, s := range all {
		if !left[of(s)] && containsSnapshot(going, s.ID) && !doubtful(s) && !replaced(all, s) {
			last, left[of(s)] = append(last, s), true
		}
	}
	return last
}
