package backup

import (
	"context"
	"errors"
	"fmt"
	"path"

	"github.com/dustin/go-humanize"

	"github.com/caddy-backup/caddy-backup/repo"
)

// What can be repaired.
const (
	RepairIndex     = "index"
	RepairSnapshots = "snapshots"
)

// RepairRequest asks for the repair of a repository.
type RepairRequest struct {
	Repository string `json:"-"`    // default "default", or the only one
	What       string `json:"what"` // RepairIndex or RepairSnapshots
	DryRun     bool   `json:"dry_run"`
	Forget     bool   `json:"forget,omitempty"`         // of snapshots: delete the files of those that lost something, or cannot be read
	ReadAll    bool   `json:"read_all_packs,omitempty"` // of the index: read the headers of all packs
}

// Repair starts a repair and returns at once. ErrInvalid; ErrConflict (with the running run) when this repository is being
// repaired.
func (s *Service) Repair(ctx context.Context, by string, q RepairRequest) (Run, error) {
	switch {
	case q.What != RepairIndex && q.What != RepairSnapshots:
		return Run{}, fmt.Errorf("%w: repair what? %q is neither %s nor %s", ErrInvalid, q.What, RepairIndex, RepairSnapshots)
	case q.What == RepairIndex && q.Forget, q.What == RepairSnapshots && q.ReadAll:
		return Run{}, fmt.Errorf("%w: forget is for snapshots, read_all_packs for the index", ErrInvalid)
	}
	c, v, err := s.vault(q.Repository)
	if err != nil {
		return Run{}, err
	}
	clash := func(r Run) bool { return r.Kind == KindRepair && r.Repository == v.name }
	run, err := s.start(c, by, Run{Kind: KindRepair, Repository: v.name, DryRun: q.DryRun}, clash, func(ctx context.Context, r *runner) error {
		x := repairRun{repositoryRun{r, v}, q}
		if q.What == RepairIndex {
			return x.locked(ctx, true, x.index)
		}
		return x.locked(ctx, true, x.snapshots)
	})
	if err == nil {
		s.audit(by, "repair asked for", "repository", v.name, "what", q.What, "dry_run", q.DryRun, "forget", q.Forget, "run", run.ID)
	}
	return run, err
}

// repairRun repairs the index or the snapshots of a repository, under an exclusive lock.
type repairRun struct {
	repositoryRun
	request RepairRequest
}

// index repairs the index. What is known as damaged is not listed any more, as far as it is not whole after all.
func (x repairRun) index(ctx context.Context, r *repo.Repository, lock *repo.Lock) error {
	x.setStep("repairing the index")
	x.vault.distrust(ctx, x.setup, r)
	report, err := r.RepairIndex(ctx, lock, repo.RepairIndexOptions{ReadAll: x.request.ReadAll, DryRun: x.run.DryRun})
	x.vault.indexed.Store(false) // whatever it got to
	if report == nil {
		return err
	}
	x.tellIndex(report)
	if !x.run.DryRun {
		x.vault.damaged(ctx, x.setup, r, report.Damaged)
	}
	return err
}

// damaged remembers the packs that a repair found damaged: should the index list them again, no backup counts on them.
func (v *vault) damaged(ctx context.Context, c *setup, r *repo.Repository, packs []repo.DamagedPack) {
	ids := r.Distrusted()
	for _, p := range packs {
		ids = append(without(ids, []repo.ID{p.ID}), p.ID)
	}
	r.Distrust(ids)
	if len(packs) > 0 {
		v.unsaved.Store(v.remember(ctx, c, r.Config().ID, func(m *memory) { m.Damaged = ids }) != nil)
	}
}

// tellIndex says what a repair of the index found and did.
func (x repairRun) tellIndex(report *repo.IndexRepair) {
	var findings []Finding
	tell := func(packs []repo.ID, text string) {
		for _, id := range packs {
			findings = append(findings, Finding{"pack " + id.String(), false, text})
		}
	}
	lost := 0
	for _, p := range report.Damaged {
		text := p.Text
		if p.Whole+p.Lost > 0 {
			text += fmt.Sprintf("; of what it holds %d are whole and %d lost", p.Whole, p.Lost)
		}
		findings = append(findings, Finding{"pack " + p.ID.String(), true, text})
		lost += p.Lost
	}
	tell(report.Missing, "was listed and is gone: no index lists it any more")
	tell(report.Changed, "the index said something else than the pack")
	tell(report.Found, "was in no index, and is now")
	did, list := "was", "listed"
	if x.run.DryRun {
		did, list = "would be", "to be listed"
	}
	text := fmt.Sprintf("the index is right; %s", plural(report.Packs, "pack"))
	if !report.Clean() {
		text = fmt.Sprintf("the index %s repaired: %s written, %d deleted (%d could not be read), %s %s as they are", did,
			plural(report.FilesWritten, "file"), report.FilesDeleted, report.FilesDamaged, plural(report.Packs, "pack"), list)
	}
	if report.BlobsSaved > 0 {
		if did == "was" && report.BlobsSaved > 1 {
			did = "were"
		}
		text += fmt.Sprintf("; %s of damaged packs %s stored again", plural(report.BlobsSaved, "whole blob"), did)
	}
	if len(report.Missing)+lost+len(report.Damaged) > 0 {
		text += "; data may be lost, what is in need of them is repaired by: " + x.vault.command("repair snapshots")
	}
	x.update(func(run *Run) { run.Findings, run.Summary = findings[:min(len(findings), maxFindings)], text })
}

// snapshots repairs the snapshots.
func (x repairRun) snapshots(ctx context.Context, r *repo.Repository, lock *repo.Lock) error {
	x.setStep("looking for what is lost")
	x.vault.distrust(ctx, x.setup, r)
	seen, err := x.vault.look(ctx, x.runner, r, false)
	if err != nil {
		return err
	}
	forgets := x.request.Forget && !x.run.DryRun
	var unreadable []repo.ID // of those that are remembered; files that cannot be read do not tell which they are
	if forgets {
		if unreadable, err = x.unreadable(ctx, r, seen); err != nil {
			return err
		}
	}
	report, err := r.RepairSnapshots(ctx, lock, repo.RepairSnapshotsOptions{
		DryRun: x.run.DryRun, Forget: x.request.Forget, Folder: jobOf,
		Progress: func(done, total int) {
			x.setStep(fmt.Sprintf("looking for what is lost, snapshot %d of %d", done+1, total))
		},
	})
	if report != nil {
		x.tellSnapshots(report)
	}
	if err == nil && forgets && len(unreadable) > 0 {
		x.vault.remember(ctx, x.setup, r.Config().ID, func(m *memory) { m.forget(unreadable); m.Removing = nil })
	}
	return err
}

// unreadable finds the remembered snapshots that must be those whose files cannot be read, and writes down that they are about to
// go. When more are missing than cannot be read, somebody else removed some, and that stays an alarm.
func (x repairRun) unreadable(ctx context.Context, r *repo.Repository, seen *sight) ([]repo.ID, error) {
	if seen.damaged == nil || seen.before.ID != r.Config().ID {
		return nil, nil
	}
	files := 0
	for f, err := range x.vault.storage.List(ctx, "snapshots") {
		if err != nil {
			return nil, err
		}
		if _, err := repo.ParseID(path.Base(f.Name)); err == nil {
			files++
		}
	}
	missing := seen.before.missing(seen.snapshots)
	if len(missing) > files-len(seen.snapshots) {
		return nil, nil
	}
	ids := make([]repo.ID, len(missing))
	for i, s := range missing {
		ids[i] = s.ID
	}
	if err := x.vault.remember(ctx, x.setup, r.Config().ID, func(m *memory) { m.Removing = ids }); err != nil {
		return nil, fmt.Errorf("cannot write down which snapshots are about to be deleted: %w", err)
	}
	return ids, nil
}

// forget takes snapshots out of what has to be there.
func (m *memory) forget(ids []repo.ID) {
	left := m.Snapshots[:0:0]
	for _, s := range m.Snapshots {
		if len(without([]repo.ID{s.ID}, ids)) > 0 {
			left = append(left, s)
		}
	}
	m.Snapshots = left
}

// tellSnapshots says what is lost, and what became of the snapshots.
func (x repairRun) tellSnapshots(report *repo.SnapshotsRepair) {
	var findings []Finding
	var spoilt []string
	files, bytes, known := 0, uint64(0), 0
	for _, b := range report.Broken {
		name := "snapshot " + b.Old.ID.Short()
		for _, l := range b.Lost {
			findings = append(findings, Finding{name, true, l.String()})
		}
		if more := b.Files - len(b.Lost); more > 0 {
			findings = append(findings, Finding{name, true, fmt.Sprintf("and %d more; LOST.txt in the repaired snapshot lists them", more)})
		}
		switch {
		case b.Known:
			findings = append(findings, Finding{name, false, "was repaired before: that is snapshot " + b.New.ID.Short()})
			known++
		case !b.New.ID.IsZero():
			findings = append(findings, Finding{name, false, "is repaired as snapshot " + b.New.ID.Short()})
		}
		files, bytes = files+b.Files, bytes+b.Bytes
		spoilt = append(spoilt, b.Old.StableID().String())
	}
	for _, id := range report.Unreadable {
		findings = append(findings, Finding{"snapshots/" + id.String(), true, "cannot be read, and cannot be repaired; bring it back from a copy of the repository, or give it up (--forget)"})
	}
	text := fmt.Sprintf("%s looked at, nothing is lost", were(report.Snapshots, "snapshot"))
	if n := len(report.Broken); n > 0 {
		text = fmt.Sprintf("%d of %s lost something: %s (%s)", n, plural(report.Snapshots, "snapshot"), filesOrFolders(files), humanize.IBytes(bytes))
		switch {
		case x.run.DryRun:
			text += "; nothing was changed"
		case known < n:
			text += fmt.Sprintf("; what is left was written anew, tagged %s", repo.TagRepaired)
		}
		if !x.request.Forget {
			text += "; the old ones are deleted by: " + x.vault.command("repair snapshots --forget")
		}
	}
	if n := len(report.Unreadable); n > 0 {
		text += fmt.Sprintf("; %s cannot be read", plural(n, "snapshot file"))
	}
	if n := len(report.Forgotten); n > 0 {
		text += fmt.Sprintf("; %s deleted", were(n, "old snapshot file"))
	}
	x.update(func(run *Run) {
		run.Findings, run.Spoilt, run.Summary = findings[:min(len(findings), maxFindings)], spoilt, text
	})
}

func filesOrFolders(n int) string {
	if n == 1 {
		return "1 file or folder"
	}
	return fmt.Sprintf("%d files or folders", n)
}

// spoilt are the snapshots of which repairs found that they lost something, by stable ID.
func spoilt(runs []Run) map[string]bool {
	ids := map[string]bool{}
	for _, r := range runs {
		for _, id := range r.Spoilt {
			ids[id] = true
		}
	}
	return ids
}

// mendIndex replaces index files that cannot be read, so that a backup can go on: nobody can read a snapshot with restic while
// such a file is there, so a backup that left it would not be proven; and a backup that waits for a person is none. It is
// safe without one, since nothing is given up: every readable index file stays, and what the others listed comes from the
// packs themselves. The caller holds no lock.
func (v *vault) mendIndex(ctx context.Context, run *runner, r *repo.Repository) error {
	run.setStep("repairing the index")
	lock, unlock, err := v.lock(ctx, r, run, true)
	if err != nil {
		return err
	}
	defer unlock()
	report, err := r.RepairIndex(lock.Context(), lock, repo.RepairIndexOptions{Readable: true})
	if err != nil {
		return because(lock.Context(), err)
	}
	run.log.Warn("index files were damaged or missing and were replaced, by what the packs say they hold: is the disk sound? Run a check",
		"damaged", report.FilesDamaged, "packs", len(report.Found), "damaged_packs", len(report.Damaged))
	return nil
}

// ready takes a shared lock and reads what is there, after the index was repaired, if need be.
func (b *backupRun) ready(ctx context.Context) (lock *repo.Lock, unlock func(), err error) {
	for ; ; b.mended = true {
		if lock, unlock, err = b.vault.lock(ctx, b.repo, b.runner, false); err != nil {
			return nil, nil, because(ctx, err)
		}
		if err = b.look(lock.Context()); err == nil {
			return lock, unlock, nil
		}
		err = because(lock.Context(), b.vault.explain(err))
		unlock()
		if b.mended || !errors.Is(err, repo.ErrIndex) {
			return nil, nil, err
		}
		if failed := b.vault.mendIndex(ctx, b.runner, b.repo); failed != nil {
			return nil, nil, because(ctx, fmt.Errorf("%w; repairing it before the backup failed: %w", err, failed))
		}
	}
}
