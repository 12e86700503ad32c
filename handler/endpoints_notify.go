package handler

import (
	"context"

	"github.com/caddy-backup/caddy-backup/backup"
)

type notifierList struct {
	Total     int                     `json:"total"`
	Notifiers []backup.NotifierStatus `json:"notifiers"`
}

func (a *API) notifiers(c *call) error {
	all, err := c.service.Notifiers(c.r.Context())
	return c.answer(notifierList{len(all), array(all)}, err)
}

// Notifiers lists the notifiers.
func (c *Client) Notifiers(ctx context.Context) ([]backup.NotifierStatus, error) {
	var out notifierList
	err := c.get(ctx, "notifiers", nil, &out)
	return out.Notifiers, err
}
