package handler

import (
	"net/http"

	"github.com/caddy-backup/caddy-backup/backup"
)

// restoreFile restores a dump that is a file of this machine.
func (a *API) restoreFile(c *call) error {
	var q backup.FileRestore
	if err := c.decode(&q); err != nil {
		return err
	}
	q.Job = c.r.PathValue("job")
	run, err := c.service.RestoreFile(c.r.Context(), c.by(), q)
	return c.answerAs(http.StatusAccepted, presentRun(run), withRun(err, run))
}
