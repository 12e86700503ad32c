package fsnode

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path"
	"path/filepath"
	"slices"

	"github.com/caddy-backup/caddy-backup/repo"
)

// SaveOptions choose what of a folder is saved.
type SaveOptions struct {
	Exclude []string // patterns, see Match
	Skip    []string // absolute paths that are left out: our own repositories and password files
	Log     *slog.Logger
}

// Saved counts what was saved.
type Saved struct {
	Files, Folders, Others int64    // without the root itself
	Bytes                  int64    // of the files' content
	Notes                  []string // what a person should know: vanished files, sockets, at most 20
}

// Save writes what the folder at root holds into dir. A file that cannot be read is an error that names it, the user we
// run as, and what to do; one that vanished meanwhile is a note. Links are saved as links, but for root itself.
//
// The tree may change, also maliciously, while it is read: every entry is reached from the folder that was opened
// before, never by its whole path, and what was opened is compared with what was looked at. A folder takes memory for
// its own names and nodes only while it is open; at most one per level is.
func Save(ctx context.Context, root string, dir *repo.Dir, o SaveOptions) (Saved, error) {
	s := saver{ctx: ctx, root: root, exclude: o.Exclude, owners: newOwners(), notes: newNotes(o.Log)}
	for _, p := range o.Exclude {
		if err := CheckPattern(p); err != nil {
			return Saved{}, err
		}
	}
	top, err := openTop(root)
	if err != nil {
		return Saved{}, err
	}
	defer top.Close()
	if s.skip, err = newSkips(root, o.Skip); err != nil {
		return Saved{}, err
	}
	_, names, err := look(top)
	if err != nil {
		return Saved{}, readable(err, root, "")
	}
	err = s.folder(top, names, "", dir)
	s.saved.Notes = s.notes.all()
	return s.saved, err
}

// openTop opens the folder at root, and nothing else.
func openTop(root string) (*os.Root, error) {
	fi, err := os.Stat(root) // before the open, which waits for ever on a fifo
	if err == nil && !fi.IsDir() {
		return nil, fmt.Errorf("%s: %w; name the folder that it lies in, and leave out the rest", root, repo.ErrNotFolder)
	}
	if err != nil {
		return nil, readable(err, root, "")
	}
	top, err := os.OpenRoot(root)
	if err != nil {
		return nil, readable(err, root, "")
	}
	return top, nil
}

// saver walks one folder.
type saver struct {
	ctx     context.Context
	root    string
	exclude []string
	skip    skips
	owners  *owners
	notes   *notes
	saved   Saved
}

// full is the path of an entry for people.
func (s *saver) full(rel string) string { return filepath.Join(s.root, filepath.FromSlash(rel)) }

// folder saves what is in the folder at rel.
func (s *saver) folder(at *os.Root, names []string, rel string, dir *repo.Dir) error {
	for _, name := range names {
		if s.ctx.Err() != nil {
			return context.Cause(s.ctx)
		}
		if err := s.entry(at, name, path.Join(rel, name), dir); err != nil {
			return err
		}
	}
	return nil
}

// look reads what a folder's own inode holds: its extended attributes, and the names in it, sorted. It is open for
// that only, so that a deep tree costs one descriptor per level.
func look(at *os.Root) (attrs []repo.XAttr, names []string, err error) {
	f, err := at.Open(".")
	if err != nil {
		return nil, nil, err
	}
	defer f.Close()
	if attrs, err = fileXAttrs(f); err != nil {
		return nil, nil, err
	}
	names, err = f.Readdirnames(-1)
	slices.Sort(names)
	return attrs, names, err
}

// errSwapped says that an entry is not the one any more that was looked at: look again.
var errSwapped = errors.New("it is replaced again and again while it is read")

// sourceError is one of the entry, not of the repository that it is written to.
type sourceError struct{ error }

func (e sourceError) Unwrap() error { return e.error }

// openError is of an entry that could not be opened though it seems to be the one that was looked at. Nothing of it is saved yet.
type openError struct{ sourceError }

func (e openError) Unwrap() error { return e.sourceError }

// settled tries to save an entry until it is the same one for long enough. What takes the place of a file often gets its number, so
// that a file which was something else for just the moment of opening cannot be told from one that never changed: an error
// of opening counts when it comes twice in a row.
func settled(try func() error) error {
	err, before := errSwapped, false
	for n := 0; n < 100; n++ {
		err = try()
		_, open := err.(openError) // not one of an entry further down
		if err != errSwapped && (!open || before) {
			break
		}
		before = open
	}
	return err
}

// entry saves one entry of a folder, whatever it is.
func (s *saver) entry(at *os.Root, name, rel string, dir *repo.Dir) error {
	err := settled(func() error {
		fi, err := at.Lstat(name)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			s.notes.add("%s vanished while the folder was read; it is not in this backup", s.full(rel))
			return nil
		case err != nil:
			return sourceError{err}
		case s.leaveOut(fi, rel):
			return nil
		}
		return s.kind(at, fi, rel, dir)
	})
	if _, ours := errors.AsType[sourceError](err); ours || errors.Is(err, errSwapped) {
		return readable(err, s.full(rel), rel)
	}
	return err
}

// leaveOut reports whether the entry is excluded, or ours.
func (s *saver) leaveOut(fi fs.FileInfo, rel string) bool {
	if excluded(s.exclude, rel, fi.IsDir()) {
		return true
	}
	if s.skip.has(fi, s.full(rel)) {
		s.notes.add("%s is left out: it is a repository or a password file of ours", s.full(rel))
		return true
	}
	return false
}

// kind saves an entry by its kind.
func (s *saver) kind(at *os.Root, fi fs.FileInfo, rel string, dir *repo.Dir) error {
	switch t := typeOf(fi.Mode()); t {
	case "file":
		return s.file(at, fi, rel, dir)
	case "dir":
		return s.sub(at, fi, rel, dir)
	case "symlink", "fifo", "dev", "chardev":
		return s.other(at, fi, dir)
	case "socket":
		s.notes.add("%s is a socket; it is left out, since only the program that listens can make it", s.full(rel))
	default:
		s.notes.add("%s is left out: it is of a kind that cannot be stored (%v)", s.full(rel), fi.Mode().Type())
	}
	return nil
}

// replaced tells an error of an entry that is another one by now from one that stays.
func replaced(at *os.Root, fi fs.FileInfo, err error) error {
	if now, e := at.Lstat(fi.Name()); errors.Is(err, fs.ErrNotExist) || e != nil || !same(fi, now) {
		return errSwapped
	}
	return openError{sourceError{err}}
}

// same reports whether two looks saw one entry. Its number alone does not tell: a new fifo may get that of the file
// that was removed a moment ago.
func same(a, b fs.FileInfo) bool { return os.SameFile(a, b) && a.Mode().Type() == b.Mode().Type() }

// sub saves a folder with all that is in it.
func (s *saver) sub(parent *os.Root, fi fs.FileInfo, rel string, dir *repo.Dir) error {
	at, err := openFolder(parent, fi.Name())
	if err != nil {
		return replaced(parent, fi, err)
	}
	defer at.Close()
	now, err := at.Stat(".")
	if err != nil {
		return replaced(parent, fi, err)
	}
	if !same(fi, now) {
		return errSwapped
	}
	attrs, names, err := look(at)
	if err != nil {
		return replaced(parent, fi, err)
	}
	n := nodeOf(fi.Name(), now, s.owners)
	n.ExtendedAttributes = attrs
	sub, err := dir.Mkdir(n)
	if err != nil {
		return err
	}
	if err := s.folder(at, names, rel, sub); err != nil {
		return err
	}
	sub.Finish()
	s.saved.Folders++
	return nil
}

// file saves a regular file. It is opened without waiting, in case it has become a fifo.
func (s *saver) file(at *os.Root, fi fs.FileInfo, rel string, dir *repo.Dir) error {
	f, err := at.OpenFile(fi.Name(), os.O_RDONLY|dontWait, 0)
	if err != nil {
		return replaced(at, fi, err)
	}
	defer f.Close()
	before, err := f.Stat()
	if err != nil {
		return sourceError{err}
	}
	if !same(fi, before) {
		return errSwapped
	}
	n := nodeOf(fi.Name(), before, s.owners)
	if n.ExtendedAttributes, err = fileXAttrs(f); err != nil {
		return sourceError{err}
	}
	size, err := s.content(f, n, dir)
	if err != nil {
		return err
	}
	after, err := f.Stat()
	if err != nil {
		return sourceError{err}
	}
	if size != after.Size() || !sameTimes(before, after) {
		s.notes.add("%s changed while it was read; the backup may hold a mixture of old and new", s.full(rel))
	}
	s.saved.Files++
	s.saved.Bytes += size
	return nil
}

// content copies a file's bytes, up to the end that it has when we get there.
func (s *saver) content(f *os.File, n repo.Node, dir *repo.Dir) (int64, error) {
	w, err := dir.Create(n)
	if err != nil {
		return 0, err
	}
	r := reader{ctx: s.ctx, f: f}
	size, err := w.ReadFrom(&r)
	if r.err != nil {
		return size, sourceError{r.err}
	}
	if err != nil {
		return size, err
	}
	return size, w.Close()
}

// reader remembers whether it was the file that failed, and heeds the context.
type reader struct {
	ctx context.Context
	f   *os.File
	err error
}

func (r *reader) Read(p []byte) (int, error) {
	if r.ctx.Err() != nil {
		return 0, context.Cause(r.ctx)
	}
	n, err := r.f.Read(p)
	if err != nil && err != io.EOF {
		r.err = err
	}
	return n, err
}

// other saves what has no content: a link, a fifo, a device.
func (s *saver) other(at *os.Root, fi fs.FileInfo, dir *repo.Dir) error {
	n := nodeOf(fi.Name(), fi, s.owners)
	var err error
	if n.Type == "symlink" {
		if n.LinkTarget, err = at.Readlink(fi.Name()); err != nil {
			return replaced(at, fi, err)
		}
	}
	if n.ExtendedAttributes, err = linkXAttrs(at, fi.Name()); err != nil {
		return replaced(at, fi, err)
	}
	s.saved.Others++
	return dir.Add(n)
}
