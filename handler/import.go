package handler

import (
	"net/http"

	"github.com/caddy-backup/caddy-backup/backup"
)

// maxImport is the largest body of an import, in bytes: it may name every dump of some years.
const maxImport = 4 << 20

// importFiles takes a backup.ImportRequest; the job in the address is the one that counts. It names files of the server.
func (a *API) importFiles(c *call) error {
	var q backup.ImportRequest
	if err := c.decodeUpTo(maxImport, &q); err != nil {
		return err
	}
	q.Job = c.r.PathValue("job")
	run, err := c.service.Import(c.r.Context(), c.by(), q)
	return c.answerAs(http.StatusAccepted, presentRun(run), withRun(err, run))
}
