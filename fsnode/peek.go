package fsnode

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path"
)

// maxClosed is how many entries that cannot be read are named.
const maxClosed = 3

// Peeked is what a look into a folder found.
type Peeked struct {
	Entries int     // in the whole tree, as far as it was looked at, without what is left out
	Whole   bool    // false: there was no time for all of it
	Closed  []error // of what cannot be read, the first few; each says what to do
	More    int     // how many there are beside these
}

// Peek looks whether everything in the folder at root can be opened that Save would read, until ctx ends, without reading it. What
// vanishes meanwhile is passed over.
func Peek(ctx context.Context, root string, o SaveOptions) (Peeked, error) {
	top, err := openTop(root)
	if err != nil {
		return Peeked{}, err
	}
	defer top.Close()
	p := peeker{saver: saver{ctx: ctx, root: root, exclude: o.Exclude, notes: newNotes(nil)}, found: Peeked{Whole: true}}
	if p.skip, err = newSkips(root, o.Skip); err != nil {
		return Peeked{}, err
	}
	if err := p.folder(top, ""); err != nil {
		return Peeked{}, readable(err, root, "")
	}
	return p.found, nil
}

// peeker walks one folder, as a saver would.
type peeker struct {
	saver
	found Peeked
}

// folder looks at what is in a folder. The error is the folder's own.
func (p *peeker) folder(at *os.Root, rel string) error {
	_, names, err := look(at)
	if err != nil {
		return err
	}
	for _, name := range names {
		if p.ctx.Err() != nil {
			p.found.Whole = false
			return nil
		}
		rel := path.Join(rel, name)
		if err := p.entry(at, name, rel); err != nil && !errors.Is(err, fs.ErrNotExist) {
			p.closed(err, rel)
		}
	}
	return nil
}

func (p *peeker) entry(at *os.Root, name, rel string) error {
	fi, err := at.Lstat(name)
	if err != nil {
		return err
	}
	if p.leaveOut(fi, rel) {
		return nil
	}
	p.found.Entries++
	switch typeOf(fi.Mode()) {
	case "file":
		f, err := at.OpenFile(name, os.O_RDONLY|dontWait, 0)
		if err != nil {
			return err
		}
		return f.Close()
	case "dir":
		sub, err := openFolder(at, name)
		if err != nil {
			return err
		}
		defer sub.Close()
		return p.folder(sub, rel)
	}
	return nil
}

func (p *peeker) closed(err error, rel string) {
	if len(p.found.Closed) == maxClosed {
		p.found.More++
		return
	}
	p.found.Closed = append(p.found.Closed, readable(err, p.full(rel), rel))
}
