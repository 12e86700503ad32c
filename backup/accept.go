package backup

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/caddy-backup/caddy-backup/repo"
)

// AcceptRequest says that a suspect snapshot is right as it is.
type AcceptRequest struct {
	Repository string `json:"repository,omitempty"`
	Snapshot   string `json:"-"` // ID, stable ID, or a prefix of either
}

// Accept starts a run that makes a suspect snapshot a good one, on somebody's word, and returns at once: later backups are
// compared with it, retention counts it, and the run that made it is ok. The snapshot gets a new ID, which the run tells; its
// stable ID stays. ErrInvalid, ErrNotFound.
func (s *Service) Accept(ctx context.Context, by string, q AcceptRequest) (Run, error) {
	run, err := s.retag(ctx, by, KindAccept, q.Repository, q.Snapshot, func(ctx context.Context, r retagRun, found repo.Snapshot) error {
		good, err := r.do(ctx, found, accept)
		if err == nil {
			for _, run := range s.history.acquit(ctx, good, by) {
				s.acquitted(r.setup, run)
			}
		}
		return err
	})
	if err == nil {
		s.audit(by, "a suspect snapshot is to be accepted", "repository", run.Repository, "snapshot", run.Snapshot, "run", run.ID)
	}
	return run, err
}

func accept(_ context.Context, _ string, s repo.Snapshot) (tags []string, did string, err error) {
	switch {
	case jobOf(s) == "":
		return nil, "", fmt.Errorf("%w: snapshot %s was made by another program", ErrInvalid, s.ID.Short())
	case slices.Contains(s.Tags, repo.TagRepaired):
		return nil, "", fmt.Errorf("%w: snapshot %s lost something when it was repaired; nobody's word brings that back", ErrInvalid, s.ID.Short())
	case !slices.Contains(s.Tags, tagSuspect):
		return s.Tags, "was not suspect", nil
	}
	return withoutTag(s, tagSuspect), "is accepted as good", nil
}

// acquit makes the run that stored a snapshot ok, once the snapshot is accepted, and returns it if it was not.
func (h *history) acquit(ctx context.Context, s repo.Snapshot, by string) (acquitted []Run) {
	for _, tag := range s.Tags {
		id, isRun := strings.CutPrefix(tag, tagRun)
		run, known := h.get(ctx, id)
		if isRun && known && run.State == StateSuspect {
			run.State, run.Error, run.AcceptedBy = StateOK, "", by
			h.add(run)
			acquitted = append(acquitted, run)
		}
	}
	return acquitted
}

// acquitted tells that the job is well again, unless a later backup of it is not: people were told that this one was suspect.
func (s *Service) acquitted(c *setup, run Run) {
	run.Log = nil
	s.told.add(&s.telling, s.log.logger(), func() {
		now, runs := s.listening(c), s.allRuns()
		last := lastEnded(runs, KindBackup, func(r Run) bool { return r.Job == run.Job })
		if last == nil || last.ID != run.ID {
			return
		}
		e := Ending{Run: run}
		e.Run.State = StateSuspect
		e.weigh(runs) // since when it was not well, this one included
		e.Run.State, e.LastGood = StateOK, run.Ended
		if j, err := now.job(run.Job); err == nil {
			if until := s.deadline(now, j, &run, s.now()); until.IsZero() || s.now().Before(until) {
				e.OverdueSince = s.settle(now, run.Job)
			}
		}
		s.notify(now, e, e.events()...)
		if now.Alarm != nil {
			note := newNotification(now, e, EventRecovered, "")
			s.observed.add(&s.telling, s.log.logger(), func() { now.Alarm(note) })
		}
	})
}
