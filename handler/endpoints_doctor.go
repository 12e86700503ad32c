package handler

import (
	"context"

	"github.com/caddy-backup/caddy-backup/backup"
)

func presentExamination(x backup.Examination) backup.Examination {
	toUTC(&x.At)
	x.Diagnoses = array(x.Diagnoses)
	return x
}

// doctor is a POST: it writes, reads and deletes a file in each repository.
func (a *API) doctor(c *call) error {
	x, err := c.service.Doctor(c.r.Context(), c.by())
	return c.answer(presentExamination(x), err)
}

// Doctor looks at everything that the next runs will need.
func (c *Client) Doctor(ctx context.Context) (out backup.Examination, err error) {
	err = c.post(ctx, "doctor", nil, &out)
	return out, err
}
