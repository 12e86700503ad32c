package backup

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/caddy-backup/caddy-backup/repo"
)

// RemovedSnapshot is a snapshot that a run deleted, or would delete.
type RemovedSnapshot struct {
	ID      string    `json:"id"`
	Time    time.Time `json:"time"`
	Job     string    `json:"job"`
	Reasons []string  `json:"reasons"`
}

// forgetRun deletes snapshots, under an exclusive lock; what is only tried takes a shared one.
type forgetRun struct {
	repositoryRun
}

// retention does what the retention of a job says.
func (f forgetRun) retention(ctx context.Context, j Job, q ForgetRequest) error {
	return f.locked(ctx, !q.DryRun, func(ctx context.Context, r *repo.Repository, lock *repo.Lock) error {
		seen, err := f.vault.look(ctx, f.runner, r, q.AcceptFewer && !q.DryRun)
		if err != nil {
			return refuse(err)
		}
		now := f.service.now()
		if err := f.vault.refusal(seen, now, q.AcceptFewer); err != nil {
			return err
		}
		report := f.vault.retain(f.setup, j, seen.snapshots, now)
		if err := report.tooMuch(); err != nil && !q.Confirm {
			return err
		}
		why := map[string][]string{}
		for _, s := range report.Snapshots {
			why[s.ID] = s.Reasons
		}
		f.summarise(report.Remove, report.Keep, q.DryRun)
		return f.remove(ctx, r, lock, seen, report.going, func(s repo.Snapshot) []string { return why[s.ID.String()] })
	})
}

// refuse says of an error before the first deletion that it came in time.
func refuse(err error) error {
	return fmt.Errorf("%w, nothing was deleted: %w", ErrRefused, err)
}

func (f forgetRun) summarise(removed, kept int, dry bool) {
	text := fmt.Sprintf("%s removed, %d kept; a prune frees the space", were(removed, "snapshot"), kept)
	switch {
	case removed == 0:
		text = fmt.Sprintf("nothing to remove, %s kept", were(kept, "snapshot"))
	case dry:
		text = fmt.Sprintf("%s would be removed, %d kept", plural(removed, "snapshot"), kept)
	}
	f.update(func(run *Run) { run.Summary = text })
}

// remove deletes snapshot files, or with a dry run only lists them. What is about to be deleted is written down before: should
// this process die in the middle, or the answer of the storage be lost, the watch knows that it was our doing.
func (f forgetRun) remove(ctx context.Context, r *repo.Repository, lock *repo.Lock, seen *sight, going []repo.Snapshot,
	why func(repo.Snapshot) []string) error {
	if f.run.DryRun || len(going) == 0 {
		f.removed(going, why)
		return nil
	}
	f.setStep("deleting " + plural(len(going), "snapshot"))
	id := r.Config().ID
	if err := f.vault.remember(ctx, f.setup, id, func(m *memory) { m.Removing = stableIDs(going) }); err != nil {
		return refuse(fmt.Errorf("cannot write down what is about to be deleted: %w", err))
	}
	ids := make([]repo.ID, len(going))
	for i, s := range going {
		ids[i] = s.ID
	}
	gone, err := r.Forget(ctx, lock, ids)
	isGone := func(s repo.Snapshot) bool { return slices.Contains(gone, s.ID) }
	f.removed(slices.DeleteFunc(slices.Clone(going), func(s repo.Snapshot) bool { return !isGone(s) }), why)
	unsure, left := slices.DeleteFunc(slices.Clone(going), isGone), slices.DeleteFunc(slices.Clone(seen.snapshots), isGone)
	f.vault.remember(context.WithoutCancel(ctx), f.setup, id, func(m *memory) {
		m.take(left, seen.keys)
		m.Removing = stableIDs(unsure)
	})
	f.vault.sweepNotes(ctx, f.runner, id, seen, left)
	if err != nil {
		return fmt.Errorf("%d of %s deleted: %w", len(gone), were(len(going), "snapshot"), err)
	}
	return nil
}

func stableIDs(list []repo.Snapshot) (ids []repo.ID) {
	for _, s := range list {
		ids = append(ids, s.StableID())
	}
	return ids
}

// removed tells which snapshots are gone, or would be; the old file of one whose tags were changed is none of its own.
func (f forgetRun) removed(gone []repo.Snapshot, why func(repo.Snapshot) []string) {
	var list []RemovedSnapshot
	files := byStableID(gone)
	for _, s := range gone {
		if replaced(files[s.StableID()], s) {
			continue
		}
		list = append(list, RemovedSnapshot{s.ID.String(), s.Time, jobOf(s), why(s)})
		if !f.run.DryRun {
			f.log.Info("snapshot deleted", "snapshot", s.ID.Short(), "made", minute(s.Time), "path", "/"+jobOf(s))
		}
	}
	f.update(func(run *Run) { run.Removed = list })
	if !f.run.DryRun {
		f.leavesSnapshots(-1, gone...)
	}
}
