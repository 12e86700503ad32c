package repo

import (
	"context"
	"io"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// dirStorage is a Storage over a folder, for tests: without retries, durability or any other care.
type dirStorage struct{ root string }

func (d dirStorage) path(name string) string { return filepath.Join(d.root, filepath.FromSlash(name)) }

func (d dirStorage) Put(ctx context.Context, name string, data []byte) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	p := d.path(name)
	if err := os.MkdirAll(filepath.Dir(p), 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(p), "tmp-*")
	if err != nil {
		return err
	}
	if _, err := f.Write(data); err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	return os.Rename(f.Name(), p)
}

func (d dirStorage) Get(ctx context.Context, name string, off, n int64) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	data, err := os.ReadFile(d.path(name))
	if err != nil {
		return nil, err
	}
	if n < 0 {
		n = int64(len(data)) - off
	}
	if off < 0 || n < 0 || off+n > int64(len(data)) {
		return nil, io.ErrUnexpectedEOF
	}
	return data[off : off+n], nil
}

func (d dirStorage) List(ctx context.Context, dir string) iter.Seq2[FileInfo, error] {
	return func(yield func(FileInfo, error) bool) {
		err := filepath.WalkDir(d.path(dir), func(p string, e fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			if err := ctx.Err(); err != nil {
				return err
			}
			if e.IsDir() {
				return nil
			}
			i, err := e.Info()
			if err != nil {
				return nil // vanished
			}
			name := filepath.ToSlash(strings.TrimPrefix(p, d.root+string(filepath.Separator)))
			if !yield(FileInfo{name, i.Size(), i.ModTime()}, nil) {
				return fs.SkipAll
			}
			return nil
		})
		if err != nil && !os.IsNotExist(err) {
			yield(FileInfo{}, err)
		}
	}
}

func (d dirStorage) Delete(ctx context.Context, name string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	return os.Remove(d.path(name))
}

// cheap makes opening and creating fast in tests.
var cheap = Options{KDF: KDF{N: 16, R: 1, P: 1}}

// newTestRepo creates a repository with a cheap key in a folder of its own.
func newTestRepo(t testing.TB, o Options) (*Repository, dirStorage) {
	t.Helper()
	st := dirStorage{t.TempDir()}
	o.KDF = cheap.KDF
	r, err := Init(t.Context(), st, []byte("test"), o)
	if err != nil {
		t.Fatal(err)
	}
	return r, st
}

// faultStorage is a dirStorage whose operations a test can watch and make fail.
type faultStorage struct {
	dirStorage
	fail func(op, name string) error // nil: do it
	mu   sync.Mutex                  // of fail, once something runs
}

func (f *faultStorage) set(fail func(op, name string) error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fail = fail
}

func (f *faultStorage) ask(op, name string) error {
	f.mu.Lock()
	fail := f.fail
	f.mu.Unlock()
	if fail == nil {
		return nil
	}
	return fail(op, name)
}

func (f *faultStorage) Put(ctx context.Context, name string, data []byte) error {
	if err := f.ask("put", name); err != nil {
		return err
	}
	return f.dirStorage.Put(ctx, name, data)
}

func (f *faultStorage) Get(ctx context.Context, name string, off, n int64) ([]byte, error) {
	if err := f.ask("get", name); err != nil {
		return nil, err
	}
	return f.dirStorage.Get(ctx, name, off, n)
}

func (f *faultStorage) List(ctx context.Context, dir string) iter.Seq2[FileInfo, error] {
	if err := f.ask("list", dir); err != nil {
		return func(yield func(FileInfo, error) bool) { yield(FileInfo{}, err) }
	}
	return f.dirStorage.List(ctx, dir)
}

func (f *faultStorage) Delete(ctx context.Context, name string) error {
	if err := f.ask("delete", name); err != nil {
		return err
	}
	return f.dirStorage.Delete(ctx, name)
}
