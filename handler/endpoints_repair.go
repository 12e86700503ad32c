package handler

import (
	"cmp"
	"context"
	"net/http"

	"github.com/caddy-backup/caddy-backup/backup"
)

func (a *API) repair(c *call) error {
	var q backup.RepairRequest
	if err := c.decode(&q); err != nil {
		return err
	}
	q.Repository = c.repositoryName()
	run, err := c.service.Repair(c.r.Context(), c.by(), q)
	return c.answerAs(http.StatusAccepted, presentRun(run), withRun(err, run))
}

// Repair starts the repair of the index or of the snapshots of a repository.
func (c *Client) Repair(ctx context.Context, q backup.RepairRequest) (out backup.Run, err error) {
	name := cmp.Or(q.Repository, defaultRepository)
	err = c.post(ctx, join("repositories", name, "repair"), q, &out)
	return out, err
}
