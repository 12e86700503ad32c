package backup

import (
	"context"
	"time"
)

// Sweeper is a Storage in which a Put that is killed leaves something behind, which no listing names.
type Sweeper interface {
	// Sweep removes what Puts left behind that were killed before a time, and counts it. Nobody writes meanwhile: it is
	// called under an exclusive lock.
	Sweep(ctx context.Context, before time.Time) (files int, bytes int64, err error)
}

// sweepAge is beyond any Put: a lock of whoever still wrote would have been stale long before.
const sweepAge = 24 * time.Hour

// sweep removes what killed processes left unfinished in the storage, where it can. It is no reason to fail: nobody
// misses anything, only space.
func (c repositoryRun) sweep(ctx context.Context) {
	sweeper, ok := (*c.vault.storage.to.Load()).(Sweeper)
	if !ok {
		return
	}
	files, bytes, err := sweeper.Sweep(ctx, time.Now().Add(-sweepAge))
	if files > 0 {
		c.log.Info("removed files that killed processes left unfinished", "files", files, "bytes", bytes)
	}
	if err != nil {
		c.log.Warn("cannot remove what killed processes left unfinished", "error", err)
	}
}
