package handler

import (
	"net/http"

	"github.com/caddy-backup/caddy-backup/backup"
)

// Passwords come in over the admin endpoint only, in the body of a request. No answer, address or log has them.

// newPassword is the body of requests that set one.
type newPassword struct {
	Password string `json:"password"`
}

type keyList struct {
	Total int          `json:"total"`
	Keys  []backup.Key `json:"keys"`
}

func presentKey(k backup.Key) backup.Key {
	toUTC(&k.Created)
	return k
}

func (a *API) keys(c *call) error {
	keys, err := c.service.Keys(c.r.Context(), c.repositoryName())
	return c.answer(keyList{len(keys), each(keys, presentKey)}, err)
}

func (a *API) addKey(c *call) error {
	var q newPassword
	if err := c.decode(&q); err != nil {
		return err
	}
	run, err := c.service.AddKey(c.r.Context(), c.by(), c.repositoryName(), []byte(q.Password))
	return c.answerAs(http.StatusAccepted, presentRun(run), withRun(err, run))
}

func (a *API) removeKey(c *call) error {
	run, err := c.service.RemoveKey(c.r.Context(), c.by(), c.repositoryName(), c.id())
	return c.answerAs(http.StatusAccepted, presentRun(run), withRun(err, run))
}

func (a *API) changePassword(c *call) error {
	var q newPassword
	if err := c.decode(&q); err != nil {
		return err
	}
	run, err := c.service.ChangePassword(c.r.Context(), c.by(), c.repositoryName(), []byte(q.Password))
	return c.answerAs(http.StatusAccepted, presentRun(run), withRun(err, run))
}
