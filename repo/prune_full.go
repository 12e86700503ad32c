package repo

import (
	"context"
	"errors"
	"fmt"
	"syscall"
)

// dropOnly is what a prune can do when the disk is full: what it has stored is taken back, and the packs are deleted that
// hold nothing that is needed, step by step, each in the usual order (new index, old index away, packs away). Often
// the first steps write nothing at all.
//
// Packs are never deleted while an index lists them, however full the disk is: after a crash a backup could count on what
// is gone.
func (p *pruner) dropOnly(ctx context.Context, w *written, full error) error {
	if err := p.takeBack(ctx, w); err != nil {
		return errors.Join(full, err)
	}
	p.verdicts = without(p.verdicts, repackPack)
	p.summarize()
	p.report.BytesFreed = 0
	changes := planDrops(p.catalog, p.verdicts)
	if len(changes) == 0 {
		return full
	}
	if reserver, ok := p.live.storage.(Reserver); ok {
		reserver.Release() // the new index comes before the old one goes
	}
	for _, change := range changes {
		if err := p.relist(ctx, change.list, new(written)); err != nil {
			return err
		}
		if err := p.deleteIndex(ctx, change.files); err != nil {
			return err
		}
		if err := p.dropPacks(ctx, change.drop); err != nil {
			return err
		}
	}
	p.note("the disk was full: only packs were deleted that hold nothing that is needed; prune once more for the rest")
	return p.live.LoadIndex(ctx)
}

// takeBack deletes what this prune has stored, the index files first.
func (p *pruner) takeBack(ctx context.Context, w *written) error {
	if err := p.deleteIndex(ctx, w.files); err != nil {
		return err
	}
	p.report.IndexFilesWritten, p.report.IndexFilesDeleted = 0, 0
	_, err := p.deletePacks(ctx, w.packs)
	return err
}

// noSpace reports whether something could not be stored because the disk is full.
func noSpace(err error) bool { return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) }

func (p *pruner) note(format string, args ...any) {
	p.report.Notes = append(p.report.Notes, fmt.Sprintf(format, args...))
}
