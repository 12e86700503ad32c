package storage_test

import (
	"context"
	"testing"

	"github.com/caddy-backup/caddy-backup/repo"
	"github.com/caddy-backup/caddy-backup/storage"
	"github.com/caddy-backup/caddy-backup/storage/storagetest"
)

var ctx = context.Background()

func TestMemory(t *testing.T) {
	storagetest.Run(t, func(*testing.T) repo.Storage { return new(storage.Memory) })
}

func TestLocal(t *testing.T) {
	storagetest.Run(t, func(t *testing.T) repo.Storage { return storage.NewLocal(t.TempDir()) })
}

// TestLocalNotThere has the folder, and the one it lies in, made by the first Put.
func TestLocalNotThere(t *testing.T) {
	storagetest.Run(t, func(t *testing.T) repo.Storage { return storage.NewLocal(t.TempDir() + "/not/yet") })
}
