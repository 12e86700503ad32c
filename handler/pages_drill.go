package handler

import (
	"errors"

	"github.com/caddy-backup/caddy-backup/backup"
)

// drill is the button of a job's page, and of a snapshot's, which names the snapshot. It shows the run; when one is going on
// already, that one.
func (p *pages) drill(c *call) error {
	form, err := c.form()
	if err != nil {
		return err
	}
	q := backup.DrillRequest{Job: c.r.PathValue("job"), Snapshot: form.Get("snapshot")}
	run, err := c.service.Drill(c.r.Context(), c.by(), q)
	if err != nil && (run.ID == "" || !errors.Is(err, backup.ErrConflict)) {
		return err
	}
	return redirect(c, runAddress(run.ID))
}
