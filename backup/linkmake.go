package backup

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/caddy-backup/caddy-backup/repo"
)

// LinkRequest asks for a Link to a file or folder of a snapshot.
type LinkRequest struct {
	Repository string `json:"repository,omitempty"`
	Snapshot   string `json:"-"`             // as for Snapshot
	Job        string `json:"job,omitempty"` // whose latest is meant
	Path       string `json:"path"`          // as for List
	Format     string `json:"format,omitempty"`
}

// MadeLink is a link with its signature.
type MadeLink struct {
	URL     string    `json:"url"` // whoever has it can download
	Expires time.Time `json:"expires"`
}

// madeLinks is for how long a link is good that somebody asked for.
const madeLinks = 10 * time.Minute

// MakeLink makes a link that is good for ten minutes. ErrNotFound; ErrInvalid without a public address, and when a folder is
// asked for in no form of folders.
func (s *Service) MakeLink(ctx context.Context, by string, q LinkRequest) (MadeLink, error) {
	x, err := s.Snapshot(ctx, q.Repository, q.Snapshot, q.Job)
	if err != nil {
		return MadeLink{}, err
	}
	full, folder, err := s.find(ctx, x, q.Path)
	if err != nil {
		return MadeLink{}, err
	}
	forFolder := q.Format == "tar" || q.Format == "tar.gz" || q.Format == "zip"
	if folder != forFolder {
		return MadeLink{}, fmt.Errorf("%w: %s cannot be downloaded as %s: files go as raw, gz, bz2 or zst, folders as tar, tar.gz or zip", ErrInvalid,
			full, q.Format)
	}
	l := Link{Repository: x.Repository, Snapshot: x.StableID, Path: full, Format: q.Format, Expires: s.now().Add(madeLinks).UTC().Truncate(time.Second)}
	address, err := s.SignLink(ctx, l)
	if err == nil {
		s.audit(by, "link made", "snapshot", x.ID, "path", full, "expires", l.Expires)
	}
	return MadeLink{address, l.Expires}, err
}

// find looks a path up, and says where it is from the root and whether it is a folder.
func (s *Service) find(ctx context.Context, x Snapshot, path string) (full string, folder bool, err error) {
	o, err := s.Open(ctx, x.Repository, x.ID, path)
	if errors.Is(err, repo.ErrIsFolder) {
		f, err := s.OpenFolder(ctx, x.Repository, x.ID, path)
		if err != nil {
			return "", true, err
		}
		return f.Path, true, nil
	}
	if err != nil {
		return "", false, err
	}
	return o.Path, false, o.Close()
}
