package caddybackup

import (
	"context"
	"errors"
	"testing"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-backup/caddy-backup/storage"
)

func init() { caddy.RegisterModule(new(remoteModule)) }

// remoteModule is a storage of another machine, to which every first Put fails.
type remoteModule struct {
	storage.Memory
	failed bool
}

func (*remoteModule) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "backup.storages.test-remote", New: func() caddy.Module { return new(remoteModule) }}
}

func (*remoteModule) Location() string { return "test-remote://nas/backups" }

func (m *remoteModule) Put(ctx context.Context, name string, data []byte) error {
	if !m.failed {
		m.failed = true
		return errors.New("connection reset by peer")
	}
	return m.Memory.Put(ctx, name, data)
}

// TestRemoteStorageIsTriedAgain has a configuration's storage that lies on another machine get retries, whoever made it.
func TestRemoteStorageIsTriedAgain(t *testing.T) {
	ctx, cancel := caddy.NewContext(caddy.Context{Context: t.Context()})
	defer cancel()
	c, err := (&Repository{StorageRaw: []byte(`{"scheme":"test-remote"}`)}).configure(ctx, "far", t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Storage.Put(t.Context(), "config", []byte("x")); err != nil {
		t.Error(err)
	}
	if c.Storage.Location() != "test-remote://nas/backups" {
		t.Error(c.Storage.Location())
	}
}
