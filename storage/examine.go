package storage

import (
	"context"

	"github.com/caddy-backup/caddy-backup/backup"
)

// What a storage can do beside its contract shines through the retries.

// FreeSpace asks the storage below.
func (r *retrying) FreeSpace(ctx context.Context) (bytes int64, known bool) {
	if below, ok := r.below.(backup.SpaceTeller); ok {
		return below.FreeSpace(ctx)
	}
	return 0, false
}

// Examine asks the storage below.
func (r *retrying) Examine(ctx context.Context, t *backup.Task) []backup.Diagnosis {
	if below, ok := r.below.(backup.Examiner); ok {
		return below.Examine(ctx, t)
	}
	return nil
}

// Interface guards
var (
	_ backup.SpaceTeller = (*retrying)(nil)
	_ backup.Examiner    = (*retrying)(nil)
)
