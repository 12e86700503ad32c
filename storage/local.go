package storage

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"
	"path"
	"path/filepath"
	"strings"
	"sync"
	"syscall"

	"github.com/caddy-backup/caddy-backup/backup"
	"github.com/caddy-backup/caddy-backup/repo"
)

// Local keeps a repository in a folder of this machine, in the layout and with the modes of restic's local backend, so
// that both can work on it. Folders are made when the first Put needs them; nothing happens before.
type Local struct {
	root   string
	synced sync.Map // folders, by path, whose own entry in their parent is known to be durable
}

var (
	_ repo.Storage       = (*Local)(nil)
	_ backup.SpaceTeller = (*Local)(nil)
)

// NewLocal returns the storage in the folder root, an absolute path. It touches nothing.
func NewLocal(root string) *Local { return &Local{root: filepath.Clean(root)} }

// Location is the folder's path.
func (l *Local) Location() string { return l.root }

// FreeSpace is how many bytes can still be written into the folder, or where it will be made.
func (l *Local) FreeSpace(context.Context) (int64, bool) { return backup.FreeSpace(l.root) }

// Put implements repo.Storage.
func (l *Local) Put(ctx context.Context, name string, data []byte) error {
	p, err := l.path(name)
	if err != nil {
		return err
	}
	err = l.writeDurably(ctx, p, data)
	if l.makesRoom(name, err) {
		err = l.writeDurably(ctx, p, data)
	}
	if err != nil {
		return fmt.Errorf("store %s: %w", name, l.explain(err))
	}
	if isLock(name) {
		l.keepReserves()
	}
	return nil
}

// Get implements repo.Storage.
func (l *Local) Get(ctx context.Context, name string, off, n int64) ([]byte, error) {
	p, err := l.path(name)
	if err != nil {
		return nil, err
	}
	data, err := readRange(ctx, p, off, n)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, l.explain(err))
	}
	return data, nil
}

// List implements repo.Storage. What a Put left behind that was killed half-way is not named.
func (l *Local) List(ctx context.Context, dir string) iter.Seq2[repo.FileInfo, error] {
	return func(yield func(repo.FileInfo, error) bool) {
		p := l.root
		var err error
		if dir != "" {
			p, err = l.path(dir)
		}
		if err == nil {
			err = walk(ctx, p, dir, 0, func(fi repo.FileInfo) bool { return isTemp(path.Base(fi.Name)) || yield(fi, nil) })
		}
		if err != nil && err != errStopped {
			yield(repo.FileInfo{}, fmt.Errorf("list %s: %w", p, l.explain(err)))
		}
	}
}

// Delete implements repo.Storage. The files are read-only; on Unix the folder's permission is what counts.
func (l *Local) Delete(ctx context.Context, name string) error {
	p, err := l.path(name)
	if err != nil {
		return err
	}
	if err := deleteDurably(ctx, p); err != nil {
		return fmt.Errorf("delete %s: %w", name, l.explain(err))
	}
	if isLock(name) {
		l.keepReserves()
	}
	return nil
}

// path is where the file of that name lies.
func (l *Local) path(name string) (string, error) {
	if err := checkName(name); err != nil {
		return "", err
	}
	return filepath.Join(l.root, filepath.FromSlash(name)), nil
}

// checkName refuses what could leave the repository's folder. Names come from listings and IDs; this is the last gate.
func checkName(name string) error {
	if name == "." || !fs.ValidPath(name) || strings.ContainsAny(name, "\x00\\") {
		return fmt.Errorf("illegal name %q in a storage: %w", name, fs.ErrInvalid)
	}
	return nil
}

// readRange returns n bytes of the file p from off on; n < 0 means all that follow.
func readRange(ctx context.Context, p string, off, n int64) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(p, os.O_RDONLY|syscall.O_NONBLOCK, 0) // a fifo in the file's place must not make us wait for a writer
	if err != nil {
		return nil, err
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !fi.Mode().IsRegular() {
		return nil, &fs.PathError{Op: "read", Path: p, Err: fs.ErrNotExist}
	}
	// The size is checked before memory is taken: n may come from a damaged index.
	if n, err = span(off, n, fi.Size()); err != nil {
		return nil, err
	}
	data := make([]byte, n)
	for done := int64(0); done < n; {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		m, err := f.ReadAt(data[done:min(done+pieceSize, n)], off+done)
		done += int64(m)
		if err == io.EOF && done < n { // truncated while we read
			return nil, io.ErrUnexpectedEOF
		}
		if err != nil && err != io.EOF {
			return nil, err
		}
	}
	return data, nil
}

// pieceSize is how many bytes are read or written between two looks at the context.
const pieceSize = 4 << 20

// span checks a range against a file's size and returns its length.
func span(off, n, size int64) (int64, error) {
	switch {
	case off < 0:
		return 0, fmt.Errorf("offset %d: %w", off, fs.ErrInvalid)
	case off > size, n > size-off:
		return 0, fmt.Errorf("range %d+%d of %d bytes: %w", off, n, size, io.ErrUnexpectedEOF)
	case n < 0:
		return size - off, nil
	}
	return n, nil
}

var errStopped = errors.New("stopped")

// maxDepth ends a walk that goes in circles through links. A repository is two folders deep.
const maxDepth = 16

// walk calls yield for every regular file below the folder p, whose name in the storage is name, temporary ones too. It follows links to
// folders and files, since people move data/ to another disk, and a file that is not listed counts as missing.
func walk(ctx context.Context, p, name string, depth int, yield func(repo.FileInfo) bool) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if depth > maxDepth {
		return &fs.PathError{Op: "list", Path: p, Err: errors.New("folders are nested too deep; does a link lead in circles?")}
	}
	entries, err := os.ReadDir(p)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, e := range entries {
		sub, subName := filepath.Join(p, e.Name()), path.Join(name, e.Name())
		fi, err := e.Info()
		if err == nil && fi.Mode()&fs.ModeSymlink != 0 {
			fi, err = os.Stat(sub)
		}
		switch {
		case name == "" && e.Name() == "lost+found": // the file system's own, where a disk of its own is the repository
		case errors.Is(err, fs.ErrNotExist): // deleted meanwhile, or a link to nothing
		case err != nil:
			return err
		case fi.IsDir():
			if err := walk(ctx, sub, subName, depth+1, yield); err != nil {
				return err
			}
		case fi.Mode().IsRegular():
			if !yield(repo.FileInfo{Name: subName, Size: fi.Size(), ModTime: fi.ModTime()}) {
				return errStopped
			}
		}
	}
	return nil
}
