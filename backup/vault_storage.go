package backup

import (
	"context"
	"iter"
	"sync/atomic"

	"github.com/caddy-backup/caddy-backup/repo"
)

// liveStorage is the storage of the current configuration under a vault that outlives configurations.
type liveStorage struct {
	to atomic.Pointer[Storage]
}

var _ repo.Storage = (*liveStorage)(nil)

func (l *liveStorage) set(to Storage) { l.to.Store(&to) }

func (l *liveStorage) Put(ctx context.Context, name string, data []byte) error {
	err := (*l.to.Load()).Put(ctx, name, data)
	if err == nil {
		answered(ctx, name)
	}
	return err
}

func (l *liveStorage) Get(ctx context.Context, name string, off, n int64) ([]byte, error) {
	data, err := (*l.to.Load()).Get(ctx, name, off, n)
	if err == nil {
		answered(ctx, name)
	}
	return data, err
}

func (l *liveStorage) List(ctx context.Context, dir string) iter.Seq2[repo.FileInfo, error] {
	return func(yield func(repo.FileInfo, error) bool) {
		for f, err := range (*l.to.Load()).List(ctx, dir) {
			if err == nil {
				answered(ctx, dir)
			}
			if !yield(f, err) {
				return
			}
		}
	}
}

func (l *liveStorage) Delete(ctx context.Context, name string) error {
	err := (*l.to.Load()).Delete(ctx, name)
	if err == nil {
		answered(ctx, name)
	}
	return err
}

// Release implements repo.Reserver, where the storage does.
func (l *liveStorage) Release() bool {
	reserver, ok := (*l.to.Load()).(repo.Reserver)
	return ok && reserver.Release()
}
