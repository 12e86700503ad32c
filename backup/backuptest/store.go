package backuptest

import (
	"context"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/caddy-backup/caddy-backup/backup"
)

// Store is a backup.Store in memory. The zero value is ready to use.
type Store struct {
	mu     sync.Mutex
	values map[string][]byte
	locks  map[string]bool
	fault  error
}

var (
	_ backup.Store  = (*Store)(nil)
	_ backup.Locker = (*Store)(nil)
)

// Fail makes everything fail with err, until Fail(nil).
func (s *Store) Fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fault = err
}

// Store implements backup.Store.
func (s *Store) Store(_ context.Context, key string, value []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fault != nil {
		return s.fault
	}
	if s.values == nil {
		s.values = map[string][]byte{}
	}
	s.values[key] = slices.Clone(value)
	return nil
}

// Load implements backup.Store.
func (s *Store) Load(_ context.Context, key string) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fault != nil {
		return nil, s.fault
	}
	value, ok := s.values[key]
	if !ok {
		return nil, fmt.Errorf("%s: %w", key, fs.ErrNotExist)
	}
	return slices.Clone(value), nil
}

// Delete implements backup.Store.
func (s *Store) Delete(_ context.Context, key string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fault != nil {
		return s.fault
	}
	if _, ok := s.values[key]; !ok {
		return fmt.Errorf("%s: %w", key, fs.ErrNotExist)
	}
	delete(s.values, key)
	return nil
}

// List implements backup.Store. Like Caddy's storages it knows folders by their keys.
func (s *Store) List(_ context.Context, prefix string, recursive bool) ([]string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fault != nil {
		return nil, s.fault
	}
	var keys []string
	for key := range s.values {
		rest, ok := strings.CutPrefix(key, strings.TrimSuffix(prefix, "/")+"/")
		if ok && (recursive || !strings.Contains(rest, "/")) {
			keys = append(keys, key)
		}
	}
	if keys == nil {
		return nil, fmt.Errorf("%s: %w", prefix, fs.ErrNotExist)
	}
	slices.Sort(keys)
	return keys, nil
}

// Lock implements backup.Locker, as Caddy's file storage does: it looks once a second.
func (s *Store) Lock(ctx context.Context, name string) error {
	for {
		taken, err := s.take(name)
		if taken || err != nil {
			return err
		}
		select {
		case <-time.After(time.Second):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (s *Store) take(name string) (bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fault != nil || s.locks[name] {
		return false, s.fault
	}
	if s.locks == nil {
		s.locks = map[string]bool{}
	}
	s.locks[name] = true
	return true, nil
}

// Unlock implements backup.Locker.
func (s *Store) Unlock(_ context.Context, name string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.locks, name)
	return s.fault
}
