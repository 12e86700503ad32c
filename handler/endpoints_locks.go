package handler

import (
	"context"

	"github.com/caddy-backup/caddy-backup/backup"
)

type lockList struct {
	Total int                 `json:"total"`
	Locks []backup.LockStatus `json:"locks"`
}

// unlockRequest is the body of POST unlock.
type unlockRequest struct {
	All bool `json:"all"`
}

func presentLock(l backup.LockStatus) backup.LockStatus {
	toUTC(&l.Time)
	return l
}

func (a *API) locks(c *call) error {
	locks, err := c.service.Locks(c.r.Context(), c.repositoryName())
	return c.answer(lockList{len(locks), each(locks, presentLock)}, err)
}

func (a *API) unlock(c *call) error {
	var q unlockRequest
	if err := c.decode(&q); err != nil {
		return err
	}
	done, err := c.service.Unlock(c.r.Context(), c.by(), c.repositoryName(), q.All)
	return c.answer(backup.Unlocked{Removed: each(done.Removed, presentLock), Kept: each(done.Kept, presentLock)}, err)
}

// Locks lists the locks in a repository.
func (c *Client) Locks(ctx context.Context, repository string) ([]backup.LockStatus, error) {
	var out lockList
	err := c.get(ctx, ofRepository(repository, "locks"), nil, &out)
	return out.Locks, err
}

// Unlock removes the locks in a repository whose holders are dead; with all, every one but those that are provably held.
func (c *Client) Unlock(ctx context.Context, repository string, all bool) (out backup.Unlocked, err error) {
	err = c.post(ctx, ofRepository(repository, "unlock"), unlockRequest{all}, &out)
	return out, err
}
