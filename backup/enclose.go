package backup

import (
	"cmp"
	"context"
	"fmt"
	"time"
)

// Dump is what a snapshot of a job holds, for a Mailer. It keeps no content: each reading is a new one, of the repository as it
// is configured then. Its methods may be called at once.
type Dump struct {
	// Format is the form in which files are wanted: "gz", "bz2", "zst", or "" as they are. Folders go as tar.gz.
	Format string

	service  *Service
	snapshot string // stable ID, which outlives a pin
	where    string // the repository
	job      string
}

// Parts lists what the job dumped, in the order of the manifest.
func (d *Dump) Parts(ctx context.Context) ([]ManifestPart, error) {
	s, err := d.service.Snapshot(ctx, d.where, d.snapshot, "")
	if err != nil {
		return nil, err
	}
	if s.Job == "" || s.Manifest == nil {
		return nil, fmt.Errorf("%w: snapshot %s has no manifest that tells its parts", ErrNotFound, d.snapshot[:min(8, len(d.snapshot))])
	}
	return s.Manifest.Parts, nil
}

// Open opens a part that is a file; close it. Reading ends when ctx is done.
func (d *Dump) Open(ctx context.Context, part string) (*Opened, error) {
	return d.service.Open(ctx, d.where, d.snapshot, d.path(part))
}

// OpenFolder finds a part that is a folder.
func (d *Dump) OpenFolder(ctx context.Context, part string) (*Folder, error) {
	return d.service.OpenFolder(ctx, d.where, d.snapshot, d.path(part))
}

func (d *Dump) path(part string) string { return "/" + d.job + "/" + part }

// mailedLinks is for how long the links in a mail are good.
const mailedLinks = 72 * time.Hour

// Links makes a link to each part, to download it without signing in, and says until when they are good, in the job's
// zone. There are none when the public address is not known.
func (d *Dump) Links(ctx context.Context) (links []string, until time.Time, err error) {
	c, err := d.service.current()
	if err != nil || c.PublicURL == "" {
		return nil, time.Time{}, err
	}
	parts, err := d.Parts(ctx)
	if err != nil {
		return nil, time.Time{}, err
	}
	until = d.service.now().Add(mailedLinks).UTC().Truncate(time.Second)
	for _, p := range parts {
		l := Link{Repository: d.where, Snapshot: d.snapshot, Path: d.path(p.Name), Format: cmp.Or(d.Format, "raw"), Expires: until}
		if p.Folder {
			l.Format = "tar.gz"
		}
		address, err := d.service.SignLink(ctx, l)
		if err != nil {
			return nil, time.Time{}, err
		}
		links = append(links, address)
	}
	return links, until.In(c.zoneOf(d.job)), nil
}
