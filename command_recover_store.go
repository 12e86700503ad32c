package caddybackup

import (
	"context"
	"fmt"
	"io/fs"
	"strings"
	"sync"

	"github.com/caddy-backup/caddy-backup/backup"
)

// memoryStore is a backup.Store that lives as long as the command: the logs of its runs.
type memoryStore struct{ values sync.Map }

var _ backup.Store = (*memoryStore)(nil)

func (m *memoryStore) Store(_ context.Context, key string, value []byte) error {
	m.values.Store(key, value)
	return nil
}

func (m *memoryStore) Load(_ context.Context, key string) ([]byte, error) {
	value, ok := m.values.Load(key)
	if !ok {
		return nil, fmt.Errorf("%s: %w", key, fs.ErrNotExist)
	}
	return value.([]byte), nil
}

func (m *memoryStore) Delete(_ context.Context, key string) error {
	m.values.Delete(key)
	return nil
}

func (m *memoryStore) List(_ context.Context, prefix string, _ bool) (keys []string, err error) {
	m.values.Range(func(key, _ any) bool {
		if strings.HasPrefix(key.(string), prefix+"/") {
			keys = append(keys, key.(string))
		}
		return true
	})
	return keys, nil
}
