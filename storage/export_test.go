package storage

import (
	"log/slog"
	"time"

	"github.com/caddy-backup/caddy-backup/backup"
)

// Impatient is a storage with retries that waits only for an instant.
func Impatient(below backup.Storage, log *slog.Logger) backup.Storage {
	r := newRetrying(below, log)
	r.first, r.longest = time.Microsecond, 100*time.Microsecond
	return r
}

// Retrying is a storage with retries as they are, wherever it lies.
func Retrying(below backup.Storage, log *slog.Logger) backup.Storage { return newRetrying(below, log) }
