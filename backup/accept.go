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
			s.history.acquit(ctx, good, by)
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

// acquit makes the run that stored a snapshot ok, once the snapshot is accepted.
func (h *history) acquit(ctx context.Context, s repo.Snapshot, by string) {
	for _, tag := range s.Tags {
		id, isRun := strings.CutPrefix(tag, tagRun)
		run, known := h.get(ctx, id)
		if isRun && known && run.State == StateSuspect {
			run.State, run.Error, run.AcceptedBy = StateOK, "", by
			h.add(run)
		}
	}
}
