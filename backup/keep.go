package backup

import (
	"context"

	"github.com/caddy-backup/caddy-backup/repo"
)

// KeepRequest asks for a snapshot to be pinned, or to be no longer.
type KeepRequest struct {
	Repository string  `json:"repository,omitempty"`
	Snapshot   string  `json:"-"` // ID, stable ID, or a prefix of either
	Keep       bool    `json:"-"`
	Note       *string `json:"note,omitempty"` // why; one line. Of one that is pinned: nil leaves the note as it is, "" removes it
}

// Keep starts a run that pins a snapshot, so that no retention removes it and no limit counts it, or undoes that, and
// returns at once. The snapshot gets a new ID, which the run tells; its stable ID stays. One that is pinned may be given
// another note. ErrInvalid, ErrNotFound.
func (s *Service) Keep(ctx context.Context, by string, q KeepRequest) (Run, error) {
	if q.Note != nil {
		note, err := checkNote(*q.Note)
		if err != nil {
			return Run{}, err
		}
		q.Note = &note
	}
	run, err := s.retag(ctx, by, KindKeep, q.Repository, q.Snapshot, func(ctx context.Context, r retagRun, found repo.Snapshot) error {
		_, err := r.do(ctx, found, keepRun{r, q}.decide)
		return err
	})
	if err == nil {
		s.audit(by, "pin asked for", "repository", run.Repository, "snapshot", run.Snapshot, "keep", q.Keep, "run", run.ID)
	}
	return run, err
}

// keepRun decides of the tag of a pinned snapshot, and of its note.
type keepRun struct {
	retagRun
	request KeepRequest
}

func (k keepRun) decide(ctx context.Context, repository string, s repo.Snapshot) (tags []string, did string, err error) {
	switch {
	case !k.request.Keep && !pinned(s):
		return s.Tags, "was not pinned", nil
	case !k.request.Keep:
		return withoutTag(s, tagKeep), "is no longer pinned", nil
	}
	noted, err := k.note(ctx, repository, s.StableID())
	switch {
	case err != nil:
		return nil, "", err
	case !pinned(s):
		return append(withoutTag(s, tagKeep), tagKeep), "is pinned", nil
	case noted:
		return s.Tags, "is pinned, with another note", nil
	}
	return s.Tags, "is pinned already", nil
}

// note writes down why a snapshot is about to be pinned, and reports whether that is news. It comes before the tag: a note
// of a snapshot that is not pinned is shown nowhere, and swept away.
func (k keepRun) note(ctx context.Context, repository string, id repo.ID) (changed bool, err error) {
	if k.request.Note == nil {
		return false, nil
	}
	n, err := loadNotes(ctx, k.setup, repository)
	if err != nil || n[id] == *k.request.Note {
		return false, err
	}
	if err := n.write(id, *k.request.Note); err != nil {
		return false, err
	}
	return true, n.save(ctx, k.setup, repository)
}
