package repo

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"sync"

	"golang.org/x/sync/errgroup"
)

// minLoads is how many files are loaded at once at the least: a remote storage makes us wait more than compute.
const minLoads = 4

// loaded is what loadFiles brings.
type loaded[T any] struct {
	listed map[ID]bool // all files that are there
	fresh  map[ID]T    // those that were not to be skipped, decoded
	bad    errorList   // one error for each that is there and cannot be decoded
}

// loadFiles lists a folder of unpacked files and decodes, in parallel, those that skip does not want. Files that vanish
// meanwhile are not there; damaged ones are reported beside the others; an error of the storage is an error of all.
func loadFiles[T any](ctx context.Context, r *Repository, dir string, skip func(ID, FileInfo) bool,
	decode func(ID, []byte) (T, error)) (loaded[T], error) {
	files, err := listFiles(ctx, r.storage, dir)
	if err != nil {
		return loaded[T]{}, err
	}
	out := loaded[T]{listed: make(map[ID]bool, len(files)), fresh: make(map[ID]T)}
	var mu sync.Mutex
	var gone []ID
	group, gctx := errgroup.WithContext(ctx)
	group.SetLimit(max(minLoads, r.opt.Cores))
	for _, f := range files {
		id, _ := ParseID(path.Base(f.Name)) // listFiles took only those that parse
		out.listed[id] = true
		if skip(id, f) {
			continue
		}
		group.Go(func() error {
			v, err := loadFile(gctx, r, dir, id, f, decode)
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err == nil:
				out.fresh[id] = v
			case errors.Is(err, fs.ErrNotExist):
				gone = append(gone, id)
			case errors.Is(err, ErrDamaged):
				out.bad = append(out.bad, err)
			default:
				return err
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return loaded[T]{}, err
	}
	return out, out.settle(ctx, r, dir, gone)
}

func loadFile[T any](ctx context.Context, r *Repository, dir string, id ID, f FileInfo,
	decode func(ID, []byte) (T, error)) (v T, err error) {
	if f.Size > maxUnpacked {
		return v, fmt.Errorf("file %s%s: %w: it has %d bytes", f.Name, r.at(), ErrDamaged, f.Size)
	}
	text, err := r.loadUnpacked(ctx, dir, id)
	if err != nil {
		return v, err
	}
	if v, err = decode(id, text); err != nil {
		return v, fmt.Errorf("file %s%s: %w", f.Name, r.at(), err)
	}
	return v, nil
}

// settle lists again when files were listed and then not found. Most likely somebody has deleted them; but a file that
// is still listed must not be taken for deleted, or a lying storage would have prune throw away what it needs.
func (l *loaded[T]) settle(ctx context.Context, r *Repository, dir string, gone []ID) error {
	if len(gone) == 0 {
		return nil
	}
	files, err := listFiles(ctx, r.storage, dir)
	if err != nil {
		return err
	}
	still := make(map[string]bool, len(files))
	for _, f := range files {
		still[path.Base(f.Name)] = true
	}
	for _, id := range gone {
		if still[id.String()] {
			l.bad = append(l.bad, fmt.Errorf("file %s/%s%s: %w: it is listed, but cannot be found", dir, id, r.at(), ErrDamaged))
		} else {
			delete(l.listed, id)
		}
	}
	return nil
}
