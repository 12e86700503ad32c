package handler

import (
	"cmp"
	"context"
	"net/http"

	"github.com/caddy-backup/caddy-backup/backup"
)

func (a *API) mail(c *call) error {
	var q backup.MailRequest
	if err := c.decode(&q); err != nil {
		return err
	}
	report, err := c.mail(q)
	return c.answerAs(http.StatusAccepted, report, err)
}

// mail is the button of a snapshot's page, which says what is on its way.
func (p *pages) mail(c *call) error {
	report, err := c.mail(backup.MailRequest{})
	if err != nil {
		return err
	}
	return p.page(c, "mailed.html", "Mail of snapshot "+short(report.Snapshot), false, mailedPage{report, jobAddress(report.Job),
		snapshotAddress(c.query("repository"), report.Snapshot)})
}

type mailedPage struct {
	backup.MailReport
	JobAddress, SnapshotAddress string
}

func (c *call) mail(q backup.MailRequest) (backup.MailReport, error) {
	q.Repository, q.Job = cmp.Or(q.Repository, c.query("repository")), cmp.Or(q.Job, c.query("job"))
	id, err := c.snapshotID(q.Repository, q.Job)
	if err != nil {
		return backup.MailReport{}, err
	}
	q.Snapshot = id
	return c.service.Mail(c.r.Context(), c.by(), q)
}

// Mail sends the mail about a snapshot once more.
func (c *Client) Mail(ctx context.Context, q backup.MailRequest) (out backup.MailReport, err error) {
	err = c.post(ctx, join("snapshots", q.Snapshot, "mail"), q, &out)
	return out, err
}
