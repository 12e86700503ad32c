package handler

import (
	"net/http"

	"github.com/caddy-backup/caddy-backup/backup"
)

// drill tries a snapshot of a job out: by default the newest good one.
func (a *API) drill(c *call) error {
	var q backup.DrillRequest
	if err := c.decode(&q); err != nil {
		return err
	}
	q.Job = c.r.PathValue("job")
	run, err := c.service.Drill(c.r.Context(), c.by(), q)
	return c.answerAs(http.StatusAccepted, presentRun(run), withRun(err, run))
}
