package handler

import (
	"context"
	"net/http"

	"github.com/caddy-backup/caddy-backup/backup"
)

func presentKit(k backup.Kit) backup.Kit {
	toUTC(&k.Made)
	k.Repositories = each(k.Repositories, func(r backup.KitRepository) backup.KitRepository {
		toUTC(&r.Confirmed)
		return r
	})
	return k
}

// kit answers without passwords: those never leave by the web.
func (a *API) kit(c *call) error {
	kit, err := c.service.Kit(c.r.Context(), c.query("repository"))
	return c.answer(presentKit(kit), err)
}

func (a *API) confirmKit(c *call) error {
	if err := c.service.ConfirmKit(c.r.Context(), c.by(), c.repositoryName()); err != nil {
		return err
	}
	c.w.WriteHeader(http.StatusNoContent)
	return nil
}

// confirmKit is the button below the request to save the kit.
func (p *pages) confirmKit(c *call) error {
	if err := c.service.ConfirmKit(c.r.Context(), c.by(), c.r.PathValue("name")); err != nil {
		return err
	}
	return redirect(c, "")
}

// Kit is the recovery kit of a repository, of all without a name. Passwords are not in it.
func (c *Client) Kit(ctx context.Context, repository string) (out backup.Kit, err error) {
	err = c.get(ctx, "kit", query("repository", repository), &out)
	return out, err
}

// ConfirmKit notes that somebody has saved the recovery kit.
func (c *Client) ConfirmKit(ctx context.Context, repository string) error {
	return c.post(ctx, ofRepository(repository, "kit", "confirm"), nil, nil)
}
