package backup

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync/atomic"

	"github.com/dustin/go-humanize"

	"github.com/caddy-backup/caddy-backup/repo"
)

// PruneRequest asks for the space to be freed that no snapshot needs.
type PruneRequest struct {
	Repository  string `json:"-"` // default "default", or the only one
	DryRun      bool   `json:"dry_run"`
	MaxUnused   string `json:"max_unused,omitempty"` // share that may go on being unused, "5%" by default; "0%" is none, "unlimited" any
	AcceptFewer bool   `json:"accept_fewer"`         // go on although others removed snapshots or keys since the last run
	Confirm     bool   `json:"confirm"`              // delete all data when there is no snapshot at all
}

// parseMaxUnused reads "5%", or "unlimited", as repo.PruneOptions has it. ErrInvalid.
func parseMaxUnused(text string) (float64, error) {
	if text == "" {
		return repo.DefaultMaxUnused, nil
	}
	if text == "unlimited" {
		return 1, nil
	}
	share, isShare := strings.CutSuffix(text, "%")
	percent, err := strconv.ParseFloat(share, 64)
	if !isShare || err != nil || !(percent >= 0 && percent <= 100) {
		return 0, fmt.Errorf("%w max unused %q: write a share such as 5%%, or unlimited", ErrInvalid, text)
	}
	if percent == 0 {
		return repo.NoUnused, nil
	}
	return percent / 100, nil
}

// Prune starts a prune and returns at once. ErrInvalid; ErrConflict (with the running run) when this repository is being pruned.
func (s *Service) Prune(ctx context.Context, by string, q PruneRequest) (Run, error) {
	return s.prune(by, q, Run{})
}

// prune starts a prune; run says why it is started, if not by a person.
func (s *Service) prune(by string, q PruneRequest, run Run) (Run, error) {
	unused, err := parseMaxUnused(q.MaxUnused)
	if err != nil {
		return Run{}, err
	}
	c, v, err := s.vault(q.Repository)
	if err != nil {
		return Run{}, err
	}
	clash := func(r Run) bool { return r.Kind == KindPrune && r.Repository == v.name }
	run.Kind, run.Repository, run.DryRun = KindPrune, v.name, q.DryRun
	run, err = s.start(c, by, run, clash, func(ctx context.Context, r *runner) error {
		return pruneRun{repositoryRun{r, v}, q}.do(ctx, unused)
	})
	if err == nil {
		s.audit(by, "prune asked for", "repository", v.name, "dry_run", q.DryRun, "max_unused", q.MaxUnused, "accept_fewer", q.AcceptFewer, "run", run.ID)
	}
	return run, err
}

// pruneRun frees space, under an exclusive lock.
type pruneRun struct {
	repositoryRun
	request PruneRequest
}

func (p pruneRun) do(ctx context.Context, unused float64) error {
	return p.locked(ctx, true, func(ctx context.Context, r *repo.Repository, lock *repo.Lock) error {
		seen, err := p.vault.look(ctx, p.runner, r, p.request.AcceptFewer && !p.run.DryRun)
		if err != nil {
			return refuse(err)
		}
		if err := p.vault.refusal(seen, p.service.now(), p.request.AcceptFewer); err != nil {
			return err
		}
		if len(seen.snapshots) == 0 && !p.request.Confirm { // what a storage fails to list looks the same
			return fmt.Errorf("%w, nothing was deleted: without a snapshot all data in the repository would go; if it shall, add --confirm", ErrRefused)
		}
		if !p.run.DryRun {
			p.sweep(ctx)
			p.vault.sweepNotes(ctx, p.runner, r.Config().ID, seen, seen.snapshots)
		}
		report, err := r.Prune(ctx, lock, p.options(seen, unused))
		p.vault.indexed.Store(false) // whatever it got to
		if report != nil {
			p.update(func(run *Run) { run.Prune, run.Summary = report, pruneSummary(report) })
			p.leavesPacks(report.PackBytes)
		}
		return err
	})
}

func (p pruneRun) options(seen *sight, unused float64) repo.PruneOptions {
	var now atomic.Pointer[Progress]
	now.Store(&Progress{})
	p.setProgress(func() Progress { return *now.Load() })
	return repo.PruneOptions{
		MaxUnused: unused, DryRun: p.run.DryRun, AllowEmpty: p.request.Confirm,
		Confirm: func(found []repo.Snapshot) error { return sameSnapshots(seen.snapshots, found) },
		Progress: func(step repo.PruneProgress) {
			p.setStep(string(step.Step))
			if step.Step == repo.PruneRepacking {
				now.Store(&Progress{Bytes: step.Done, Total: step.Total})
			}
		},
	}
}

// sameSnapshots refuses a prune that found fewer snapshots than were just compared with what is remembered.
func sameSnapshots(seen, found []repo.Snapshot) error {
	for _, s := range seen {
		if !containsSnapshot(found, s.ID) {
			return fmt.Errorf("%w, nothing was deleted: the storage listed snapshot %s a moment ago, and does not now", ErrRefused, s.ID.Short())
		}
	}
	return nil
}

// pruneSummary says what came of it.
func pruneSummary(r *repo.PruneReport) string {
	freed := humanize.IBytes(uint64(max(r.BytesFreed, 0)))
	verb := "freed"
	if r.DryRun {
		verb = "would be freed"
	}
	return fmt.Sprintf("%s %s: %s deleted, %d repacked, %d kept; %s stay unused", freed, verb, plural(r.PacksDeleted+r.PacksUnindexed, "pack"),
		r.PacksRepacked, r.PacksKept, humanize.IBytes(uint64(max(r.BytesLeftUnused, 0))))
}
