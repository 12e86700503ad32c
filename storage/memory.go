package storage

import (
	"context"
	"fmt"
	"io/fs"
	"iter"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/caddy-backup/caddy-backup/repo"
)

// Memory keeps a repository in memory, for tests and examples. The zero value is ready to use.
type Memory struct {
	Now func() time.Time // the clock that its files bear; default time.Now

	mu    sync.RWMutex
	files map[string]memoryFile
}

type memoryFile struct {
	data    []byte // never changed in place
	written time.Time
}

var _ repo.Storage = (*Memory)(nil)

// Location is "memory".
func (m *Memory) Location() string { return "memory" }

// Put implements repo.Storage.
func (m *Memory) Put(ctx context.Context, name string, data []byte) error {
	if err := check(ctx, name); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.files == nil {
		m.files = map[string]memoryFile{}
	}
	now := m.Now
	if now == nil {
		now = time.Now
	}
	m.files[name] = memoryFile{slices.Clone(data), now()}
	return nil
}

// Get implements repo.Storage.
func (m *Memory) Get(ctx context.Context, name string, off, n int64) ([]byte, error) {
	if err := check(ctx, name); err != nil {
		return nil, err
	}
	m.mu.RLock()
	file, ok := m.files[name]
	data := file.data
	m.mu.RUnlock()
	if !ok {
		return nil, fmt.Errorf("read %s: %w", name, fs.ErrNotExist)
	}
	n, err := span(off, n, int64(len(data)))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	return append(make([]byte, 0, n), data[off:off+n]...), nil
}

// List implements repo.Storage.
func (m *Memory) List(ctx context.Context, dir string) iter.Seq2[repo.FileInfo, error] {
	return func(yield func(repo.FileInfo, error) bool) {
		if dir != "" {
			if err := checkName(dir); err != nil {
				yield(repo.FileInfo{}, err)
				return
			}
			dir += "/"
		}
		for _, fi := range m.below(dir) {
			if err := ctx.Err(); err != nil {
				yield(repo.FileInfo{}, err)
				return
			}
			if !yield(fi, nil) {
				return
			}
		}
		if err := ctx.Err(); err != nil {
			yield(repo.FileInfo{}, err)
		}
	}
}

// below is a copy of the listing, so that a caller may write while it reads it.
func (m *Memory) below(prefix string) []repo.FileInfo {
	m.mu.RLock()
	defer m.mu.RUnlock()
	var files []repo.FileInfo
	for name, f := range m.files {
		if strings.HasPrefix(name, prefix) {
			files = append(files, repo.FileInfo{Name: name, Size: int64(len(f.data)), ModTime: f.written})
		}
	}
	return files
}

// Delete implements repo.Storage.
func (m *Memory) Delete(ctx context.Context, name string) error {
	if err := check(ctx, name); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, ok := m.files[name]; !ok {
		return fmt.Errorf("delete %s: %w", name, fs.ErrNotExist)
	}
	delete(m.files, name)
	return nil
}

func check(ctx context.Context, name string) error {
	if err := checkName(name); err != nil {
		return err
	}
	return ctx.Err()
}
