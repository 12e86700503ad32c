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

// loads is how many files are loaded at once: a remote storage makes us wait more than compute.
const loads = 8

// loaded is what loadFiles brings.
type loaded[T any] struct {
	listed map[ID]bool // all files that are there
	fresh  map[ID]T    // those that were not to be skipped, decoded
	bad    errorList   // one error for each that is there and cannot be decoded
}

// loadFiles lists a folder of unpacked files and decodes, in parallel, those that want says yes to; it is asked for all
// before the first is decoded. The text that decode gets is gone when it returns. Files that vanish meanwhile are not
// there; damaged ones are reported beside the others; an error of the storage is an error of all.
func loadFiles[T any](ctx context.Context, r *Repository, dir string, want func(ID, FileInfo) bool,
	decode func(ID, FileInfo, []byte) (T, error)) (loaded[T], error) {
	files, err := listFiles(ctx, r.storage, dir)
	if err != nil {
		return loaded[T]{}, err
	}
	out := loaded[T]{listed: make(map[ID]bool, len(files)), fresh: make(map[ID]T)}
	wanted := make(map[ID]FileInfo)
	for _, f := range files {
		id, _ := ParseID(path.Base(f.Name)) // listFiles took only those that parse
		out.listed[id] = true
		if want(id, f) {
			wanted[id] = f
		}
	}
	gone, err := out.load(ctx, r, dir, wanted, decode)
	if err != nil {
		return loaded[T]{}, err
	}
	return out, out.settle(ctx, r, dir, gone)
}

// load fills in fresh and bad, and returns those that are not there.
func (l *loaded[T]) load(ctx context.Context, r *Repository, dir string, wanted map[ID]FileInfo,
	decode func(ID, FileInfo, []byte) (T, error)) (gone []ID, err error) {
	var mu sync.Mutex
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(loads)
	if dir == "index" {
		group.SetLimit(r.opt.Cores) // they are large
	}
	for id, f := range wanted {
		group.Go(func() error {
			v, err := loadFile(ctx, r, dir, id, f, decode)
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err == nil:
				l.fresh[id] = v
			case errors.Is(err, fs.ErrNotExist):
				gone = append(gone, id)
			case errors.Is(err, ErrDamaged):
				l.bad = append(l.bad, err)
			default:
				return err
			}
			return nil
		})
	}
	return gone, group.Wait()
}

func loadFile[T any](ctx context.Context, r *Repository, dir string, id ID, f FileInfo,
	decode func(ID, FileInfo, []byte) (T, error)) (v T, err error) {
	if f.Size > maxUnpacked {
		return v, fmt.Errorf("file %s%s: %w: it has %d bytes", f.Name, r.at(), ErrDamaged, f.Size)
	}
	u := r.codecs.unpacker()
	defer r.codecs.putUnpacker(u)
	text, err := r.loadUnpackedInto(ctx, u, dir, id)
	if err != nil {
		return v, err
	}
	if v, err = decode(id, f, text); err != nil {
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
