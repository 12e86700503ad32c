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

// doctor is a POST: it writes, reads and deletes a file in each repository, and may send tests.
func (a *API) doctor(c *call) error {
	var q backup.DoctorRequest
	if err := c.decode(&q); err != nil {
		return err
	}
	x, err := c.service.Doctor(c.r.Context(), c.by(), q)
	return c.answer(presentExamination(x), err)
}

// Doctor looks at everything that the next runs will need.
func (c *Client) Doctor(ctx context.Context, q backup.DoctorRequest) (out backup.Examination, err error) {
	err = c.post(ctx, "doctor", q, &out)
	return out, err
}
