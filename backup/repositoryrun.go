package backup

import (
	"context"

	"github.com/caddy-backup/caddy-backup/repo"
)

// repositoryRun is a run that works on a repository as a whole.
type repositoryRun struct {
	*runner
	vault *vault
}

// locked has work done on the open repository under a lock, whose context ends when the lock is lost. Exclusive work first
// waits for the backups of this process, and keeps the next ones waiting: their locks would be in its way.
func (c repositoryRun) locked(ctx context.Context, exclusive bool,
	work func(context.Context, *repo.Repository, *repo.Lock) error) error {
	if exclusive {
		if err := c.vault.gate.enter(ctx, c.runner); err != nil {
			return err
		}
		defer c.vault.gate.leave()
	}
	ctx, stop := c.begin(ctx, DefaultTimeout)
	defer stop()
	ctx, rest := c.watched(ctx, DefaultStall)
	defer rest()
	c.setStep("opening the repository")
	r, err := c.vault.open(ctx, c.setup, createNever)
	if err != nil {
		return because(ctx, err)
	}
	lock, unlock, err := c.vault.lock(ctx, r, c.runner, exclusive)
	if err != nil {
		return because(ctx, err)
	}
	defer unlock()
	return because(lock.Context(), c.vault.explain(work(lock.Context(), r, lock)))
}
