package handler

import (
	"github.com/caddy-backup/caddy-backup/archive"
	"github.com/caddy-backup/caddy-backup/backup"
)

type linkedPage struct {
	backup.MadeLink
	Path                        string
	Job                         string
	JobAddress, SnapshotAddress string
	ID                          string
}

// link makes a signed link to a file or folder of a snapshot, and shows it. A file goes in the form in which its job's
// downloads do, a folder as tar.gz.
func (p *pages) link(c *call) error {
	form, err := c.form()
	if err != nil {
		return err
	}
	ctx, cancel := patient(c)
	defer cancel()
	s, err := c.snapshot(ctx, c.repository(), c.query("job"))
	if err != nil {
		return err
	}
	format := formatOf(c.service, s.Job)
	if form.Get("folder") == "yes" {
		format = archive.TarGzip
	}
	q := backup.LinkRequest{Repository: s.Repository, Snapshot: s.ID, Path: form.Get("path"), Format: string(format)}
	made, err := c.service.MakeLink(ctx, c.by(), q)
	if err != nil {
		return err
	}
	view := linkedPage{MadeLink: made, Path: q.Path, Job: s.Job, SnapshotAddress: snapshotAddress(s.Repository, s.ID), ID: s.ID}
	if s.Job != "" {
		view.JobAddress = jobAddress(s.Job)
	}
	return p.page(c, "linked.html", "Link to "+q.Path, false, view)
}
