package fsnode

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path"
	"path/filepath"
	"syscall"

	"github.com/caddy-backup/caddy-backup/repo"
)

// Restored counts what was restored.
type Restored struct {
	Files, Folders, Others int64
	Bytes                  int64
	Notes                  []string // owners that could not be set, at most 20
}

// RestoreOptions follow a restore.
type RestoreOptions struct {
	Log      *slog.Logger
	Progress func(bytes int64) // added bytes; called from one goroutine at a time

	// Lost makes what cannot be read in the repository no error: it is told, left out, and everything else is restored.
	// path is slash-separated and begins with the node's name.
	Lost func(path string, err error)
}

// Restore writes node (a file, or a folder with everything below it) into the folder that root is, under its name.
// Nothing that exists is overwritten; nothing is ever written outside root, also through links. Content, mode, times,
// owner (when allowed), links, hard links, devices and extended attributes are as they were. What could not be set is a
// note; what could not be written is an error, and then what was restored before it stays, but no half file.
//
// When it returns nil, all is durable. It syncs the file system once, at the end: with an fsync for each, ten
// thousand small files took 23 s instead of 1 to 2.
func Restore(ctx context.Context, r *repo.Repository, node repo.Node, root *os.Root, o RestoreOptions) (Restored, error) {
	x := restorer{ctx: ctx, repo: r, top: root, links: map[linkKey]linked{}, notes: newNotes(o.Log), progress: o.Progress, lost: o.Lost}
	if x.progress == nil {
		x.progress = func(int64) {}
	}
	dir, err := root.Open(".")
	if err != nil {
		return Restored{}, fmt.Errorf("restore into %s: %w", root.Name(), bare(err))
	}
	defer dir.Close()
	err = x.unlessLost(place{root: root, dir: dir}, node)
	if err == nil {
		err = syncAll(root)
	}
	if x.foreign > 0 {
		x.notes.add("%d entries belong to user %s now, who may not give them to their old owners; restore as root to keep them",
			x.foreign, runningAs())
	}
	x.restored.Notes = x.notes.all()
	return x.restored, err
}

// place is an open folder that is restored into.
type place struct {
	root *os.Root
	dir  *os.File // the same folder, for system calls relative to it
	rel  string   // its path below the restore's root, slash-separated; empty for that
}

// restorer restores one node with all that is below it. Every step goes by the descriptor of the folder that was made
// before and by one legal name; whatever is made must not exist yet. So no link can lead it away.
type restorer struct {
	ctx      context.Context
	repo     *repo.Repository
	top      *os.Root
	links    map[linkKey]linked // files with several names, by the first one
	notes    *notes
	progress func(int64)
	lost     func(path string, err error) // nil: what cannot be read is an error
	restored Restored
	foreign  int // entries whose owner could not be set
}

// full is the path of an entry for people.
func (x *restorer) full(p place, name string) string {
	return filepath.Join(x.top.Name(), filepath.FromSlash(p.rel), name)
}

// lostError is an error of reading the repository, which writing elsewhere does not suffer from.
type lostError struct{ error }

func (e lostError) Unwrap() error { return e.error }

// unlessLost restores one entry; one that cannot be read in the repository is only told, where that is wanted.
func (x *restorer) unlessLost(p place, n repo.Node) error {
	err := x.node(p, n)
	if _, lost := errors.AsType[lostError](err); !lost || x.lost == nil || x.ctx.Err() != nil {
		return err
	}
	x.lost(path.Join(p.rel, n.Name), err)
	return nil
}

// node restores one entry, whatever it is.
func (x *restorer) node(p place, n repo.Node) error {
	if x.ctx.Err() != nil {
		return context.Cause(x.ctx)
	}
	if !legalName(n.Name) {
		return lostError{fmt.Errorf("%w: an entry of folder %q has the illegal name %q", repo.ErrDamaged, p.rel, n.Name)}
	}
	switch n.Type {
	case "dir":
		return x.folder(p, n)
	case "file":
		return x.linkedOr(p, n, x.file)
	case "symlink", "fifo", "dev", "chardev":
		return x.linkedOr(p, n, x.other)
	}
	x.notes.add("%s is left out: it is a %q, which cannot be restored", x.full(p, n.Name), n.Type)
	return nil
}

// folder restores a folder: first private, so that nobody gets in while it is filled; its own metadata last, since what
// is made in it changes its time, and its mode may forbid writing.
func (x *restorer) folder(p place, n repo.Node) error {
	if n.Subtree == nil {
		return lostError{fmt.Errorf("%w: the folder %s has no tree", repo.ErrDamaged, x.full(p, n.Name))}
	}
	nodes, err := x.repo.LoadTree(x.ctx, *n.Subtree)
	if err != nil {
		return lostError{fmt.Errorf("folder %s: %w", path.Join(p.rel, n.Name), err)}
	}
	if err := p.root.Mkdir(n.Name, 0o700); err != nil {
		return x.writable(err, p, n)
	}
	sub, err := enter(p, n.Name)
	if err != nil {
		return x.writable(err, p, n)
	}
	defer sub.close()
	for _, child := range nodes {
		if err := x.unlessLost(sub, child); err != nil {
			return err
		}
	}
	x.restored.Folders++
	return x.metadata(p, sub.dir, n)
}

// enter opens a folder that was just made.
func enter(p place, name string) (place, error) {
	root, err := openFolder(p.root, name)
	if err != nil {
		return place{}, err
	}
	dir, err := root.Open(".")
	if err != nil {
		_ = root.Close()
		return place{}, err
	}
	return place{root: root, dir: dir, rel: path.Join(p.rel, name)}, nil
}

func (p place) close() {
	_ = p.dir.Close()
	_ = p.root.Close()
}

// file restores a regular file. Its content is looked up before the file is made; after an error it is gone.
func (x *restorer) file(p place, n repo.Node) error {
	src, err := x.repo.OpenFile(x.ctx, n)
	if err != nil {
		return lostError{fmt.Errorf("restore %s: %w", x.full(p, n.Name), err)}
	}
	defer src.Close()
	f, err := p.root.OpenFile(n.Name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return x.writable(err, p, n)
	}
	err = x.fill(p, f, src, n)
	if e := f.Close(); err == nil && e != nil {
		err = x.writable(e, p, n)
	}
	if err != nil {
		_ = p.root.Remove(n.Name)
		return err
	}
	x.restored.Files++
	return nil
}

func (x *restorer) fill(p place, f *os.File, src *repo.File, n repo.Node) error {
	w := writer{f: f, x: x}
	_, err := src.WriteTo(&w)
	if w.err != nil {
		return x.writable(w.err, p, n)
	}
	if err != nil {
		return lostError{fmt.Errorf("restore %s: %w", x.full(p, n.Name), err)}
	}
	return x.metadata(p, f, n)
}

// writer counts, and remembers whether it was the file that failed.
type writer struct {
	f   *os.File
	x   *restorer
	err error
}

func (w *writer) Write(b []byte) (int, error) {
	n, err := w.f.Write(b)
	w.x.restored.Bytes += int64(n)
	w.x.progress(int64(n))
	w.err = err
	return n, err
}

// other restores what has no content: a link, a fifo, a device.
func (x *restorer) other(p place, n repo.Node) error {
	var err error
	if n.Type == "symlink" {
		err = p.root.Symlink(n.LinkTarget, n.Name)
	} else {
		err = makeSpecial(p, n)
	}
	if n.Type != "symlink" && cannotSet(err) {
		x.notes.add("%s, a %s, could not be made: %v", x.full(p, n.Name), n.Type, err)
		return nil
	}
	if err != nil {
		return x.writable(err, p, n)
	}
	x.restored.Others++
	return x.metadata(p, nil, n)
}

// metadata sets what is known of an entry but its content. f is nil for what must not be opened. The order matters:
// a change of owner clears setuid and capabilities, a closed mode forbids extended attributes, and all change times.
func (x *restorer) metadata(p place, f *os.File, n repo.Node) error {
	if err := setOwner(p.root, n); cannotSet(err) {
		x.foreign++
		n.Mode &^= fs.ModeSetuid | fs.ModeSetgid // it would run as somebody whom nobody has asked
	} else if err != nil {
		return x.writable(err, p, n)
	}
	steps := []struct {
		what string
		set  func() error
	}{
		{"extended attributes", func() error { return setXAttrs(p, f, n) }},
		{"mode", func() error { return setMode(p, f, n) }},
		{"times", func() error { return setTimes(p, n) }},
	}
	for _, step := range steps {
		if err := step.set(); cannotSet(err) {
			x.notes.add("the %s of %s could not be set: %v", step.what, x.full(p, n.Name), err)
		} else if err != nil {
			return x.writable(fmt.Errorf("set its %s: %w", step.what, err), p, n)
		}
	}
	return nil
}

func setMode(p place, f *os.File, n repo.Node) error {
	mode := n.Mode & (fs.ModePerm | fs.ModeSetuid | fs.ModeSetgid | fs.ModeSticky)
	switch {
	case n.Type == "symlink":
		return nil
	case f != nil:
		return f.Chmod(mode)
	}
	return p.root.Chmod(n.Name, mode)
}

// cannotSet reports whether an error only says that this user or this file system cannot have a piece of metadata.
func cannotSet(err error) bool {
	return errors.Is(err, fs.ErrPermission) || errors.Is(err, errors.ErrUnsupported) || errors.Is(err, syscall.EINVAL)
}

// writable turns an error of writing the entry into one that names it and the way out.
func (x *restorer) writable(err error, p place, n repo.Node) error {
	err = fmt.Errorf("restore %s: %w", x.full(p, n.Name), bare(err))
	switch {
	case errors.Is(err, fs.ErrExist):
		return fmt.Errorf("%w; nothing is overwritten: restore into an empty folder", err)
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return fmt.Errorf("%w; free some space there, or restore to another volume", err)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("%w; user %s (uid %d) may not write there", err, runningAs(), os.Getuid())
	}
	return err
}
