package backuptest

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/caddy-backup/caddy-backup/backup"
	"github.com/caddy-backup/caddy-backup/repo"
)

// Source is a source of one part, <name>.sql, that dumps what it is told and remembers what it restored. It may be
// told otherwise at any time.
type Source struct {
	mu       sync.Mutex
	dump     DumpFunc
	facts    backup.Facts
	restored map[string][]byte
}

// DumpFunc is what a dump does.
type DumpFunc func(ctx context.Context, w io.Writer, t *backup.Task) error

var _ backup.Source = (*Source)(nil)

// NewSource makes a source that dumps data.
func NewSource(data string) *Source {
	s := &Source{restored: map[string][]byte{}, facts: backup.Facts{Engine: "fake 1.0", Checked: "by looking at it"}}
	s.Set(data)
	return s
}

// Set makes data what the source holds.
func (s *Source) Set(data string) {
	s.Do(func(_ context.Context, w io.Writer, _ *backup.Task) error {
		_, err := io.WriteString(w, data)
		return err
	})
}

// Fail makes dumps fail with err after they have written some.
func (s *Source) Fail(err error) {
	s.Do(func(_ context.Context, w io.Writer, _ *backup.Task) error {
		io.WriteString(w, "half a du")
		return err
	})
}

// Hold makes dumps stop in the middle: each sends on entered and then waits until release is called, or its context
// is done.
func (s *Source) Hold(data string) (entered <-chan struct{}, release func()) {
	in, out := make(chan struct{}, 100), make(chan struct{})
	s.Do(func(ctx context.Context, w io.Writer, _ *backup.Task) error {
		in <- struct{}{}
		select {
		case <-out:
		case <-ctx.Done():
			return ctx.Err()
		}
		_, err := io.WriteString(w, data)
		return err
	})
	return in, sync.OnceFunc(func() { close(out) })
}

// Do makes dumps do whatever is wanted.
func (s *Source) Do(dump DumpFunc) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.dump = dump
}

// Note makes dumps tell something.
func (s *Source) Note(facts backup.Facts) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.facts = facts
}

// Restored is what was restored into a place.
func (s *Source) Restored(place string) ([]byte, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	data, ok := s.restored[place]
	return data, ok
}

// Parts implements backup.Source.
func (s *Source) Parts(_ context.Context, name string) ([]backup.Part, error) {
	return []backup.Part{{Name: name + ".sql", Media: "application/sql"}}, nil
}

// Dump implements backup.Source.
func (s *Source) Dump(ctx context.Context, _ backup.Part, w io.Writer, t *backup.Task) (backup.Facts, error) {
	s.mu.Lock()
	dump, facts := s.dump, s.facts
	s.mu.Unlock()
	if err := dump(ctx, w, t); err != nil {
		return backup.Facts{}, err
	}
	return facts, nil
}

// Restore implements backup.Source.
func (s *Source) Restore(_ context.Context, _ backup.Part, r io.Reader, place string, _ *backup.Task) error {
	if _, exists := s.Restored(place); exists {
		return fmt.Errorf("%w: %s exists", backup.ErrConflict, place)
	}
	data, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.restored[place] = data
	return nil
}

// Folder is a source of one part that is a folder, named as the source: its files by their path.
type Folder map[string]string

var _ backup.FolderSource = Folder(nil)

// Parts implements backup.Source.
func (Folder) Parts(_ context.Context, name string) ([]backup.Part, error) {
	return []backup.Part{{Name: name, Folder: true}}, nil
}

// Root implements backup.FolderSource.
func (Folder) Root(backup.Part) (repo.Node, error) {
	return repo.Node{Mode: fs.ModeDir | 0o750}, nil
}

// DumpFolder implements backup.FolderSource.
func (f Folder) DumpFolder(_ context.Context, _ backup.Part, dir *repo.Dir, _ *backup.Task) (backup.Facts, error) {
	return backup.Facts{Source: "a fake folder"}, f.fill(dir, "")
}

// fill writes the files below a folder, and its folders.
func (f Folder) fill(dir *repo.Dir, below string) error {
	folders := map[string]bool{}
	for _, p := range slices.Sorted(maps.Keys(f)) {
		rest, ok := strings.CutPrefix(p, below)
		if !ok {
			continue
		}
		if name, _, deeper := strings.Cut(rest, "/"); deeper {
			if folders[name] {
				continue
			}
			folders[name] = true
			sub, err := dir.Mkdir(repo.Node{Name: name, Mode: fs.ModeDir | 0o755})
			if err != nil {
				return err
			}
			if err := f.fill(sub, below+name+"/"); err != nil {
				return err
			}
			if _, err := sub.Close(); err != nil {
				return err
			}
			continue
		}
		w, err := dir.Create(repo.Node{Name: rest, Mode: 0o644})
		if err != nil {
			return err
		}
		if _, err := io.WriteString(w, f[p]); err != nil {
			return err
		}
		if err := w.Close(); err != nil {
			return err
		}
	}
	return nil
}

// Dump implements backup.Source; it is never called.
func (Folder) Dump(context.Context, backup.Part, io.Writer, *backup.Task) (backup.Facts, error) {
	panic("a folder is dumped by DumpFolder")
}

// Restore implements backup.Source.
func (Folder) Restore(context.Context, backup.Part, io.Reader, string, *backup.Task) error {
	return fmt.Errorf("%w: a folder is restored into a target", backup.ErrInvalid)
}
