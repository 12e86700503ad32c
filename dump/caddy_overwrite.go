package dump

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/caddyserver/certmagic"
	"github.com/dustin/go-humanize"

	"github.com/caddy-backup/caddy-backup/backup"
	"github.com/caddy-backup/caddy-backup/repo"
)

// maxCaddyRestore bounds, in bytes, the values that a restore over the live storage holds in memory, old and new: a storage of
// thousands of certificates has a tenth of it.
const maxCaddyRestore = 256 << 20

// undoTime is how long it is tried to put the old values back.
const undoTime = 10 * time.Second

// Live names the storage, or the key in it that is meant.
func (c *Caddy) Live(s backup.Stored) string {
	return strings.TrimSuffix(c.place()+"/"+keyOf(s.Sub), "/")
}

// keyOf is the key of what lies at a path in the part; "" is all of the storage.
func keyOf(sub string) string {
	key, _ := strings.CutPrefix(sub, storageFolder)
	return strings.Trim(key, "/")
}

// Ready looks whether it is about the storage, and whether that can be written.
func (c *Caddy) Ready(ctx context.Context, s backup.Stored, _ backup.Over, t *backup.Task) error {
	if first, _, _ := strings.Cut(s.Sub, "/"); first != "" && first != storageFolder {
		return fmt.Errorf("%w: only %s/ can be restored over the live one; a configuration is restored as a file, with --target, looked at, "+
			"and loaded with caddy reload", backup.ErrInvalid, storageFolder)
	}
	if _, err := c.storage.List(ctx, "", false); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("the storage of Caddy, %s, cannot be read by user %s: %w", c.place(), userName(), err)
	}
	if f, ok := c.storage.(*certmagic.FileStorage); ok {
		at := f.Path
		if _, err := os.Stat(at); errors.Is(err, fs.ErrNotExist) {
			at = filepath.Dir(at)
		}
		if err := syscall.Access(at, 2|1); err != nil { // W_OK and X_OK
			return fmt.Errorf("folder %s cannot be written to by user %s: %w", at, userName(), err)
		}
	}
	t.Log.Info("Caddy goes on with the certificates that it has in memory: start it anew when they are restored")
	return nil
}

// storedValue is a key of the storage that is to get another value.
type storedValue struct {
	key      string
	old, new []byte
	there    bool // it has an old value
	gone     bool // it is to have none
}

// OverwriteFolder gives the keys in the snapshot the values that they have there. All are read, from the snapshot and from the
// live storage, before the first is written; each is written as a whole, and after an error the old ones are put back. Keys that
// are only in the live storage stay: a certificate that came later is worth keeping. So do locks, and what backups keep there. When a
// restore is undone, those go that it added (caddy_undo.go).
func (c *Caddy) OverwriteFolder(ctx context.Context, s backup.Stored, r *repo.Repository, node repo.Node, o backup.Over, t *backup.Task) error {
	x := caddyRestore{keyWalk: keyWalk{Caddy: c, ctx: ctx, hidden: c.hidden()}, repo: r, task: t, wanted: map[string]bool{}}
	key := keyOf(s.Sub)
	if s.Sub == "" {
		var err error
		if node, err = storageIn(ctx, r, node, s.Name); err != nil {
			return err
		}
	}
	if err := x.each(key, node, x.add); err != nil {
		return fmt.Errorf("reading what is to be restored: %w", err)
	}
	if err := x.gatherUndone(key, s, o.Undone); err != nil {
		t.Log.Warn("keys that the restore added, which is undone, stay: what it put there cannot be read any more", "error", err)
	}
	if o.Aside && len(x.values) > 0 {
		t.Log.Warn("the old values of the keys cannot be kept aside, though that was asked for: only a snapshot holds them")
	}
	for i, v := range x.values {
		if err := x.store(v); err != nil {
			return x.undo(i+1, err)
		}
	}
	t.Log.Info("keys of Caddy's storage restored", "written", len(x.values)-x.removed, "removed", x.removed, "equal", x.equal, "left_out", x.left)
	return nil
}

// storageIn finds the folder of the storage in a part.
func storageIn(ctx context.Context, r *repo.Repository, folder repo.Node, part string) (repo.Node, error) {
	nodes, err := r.LoadTree(ctx, *folder.Subtree)
	if err != nil {
		return repo.Node{}, err
	}
	for _, n := range nodes {
		if n.Name == storageFolder && n.Type == "dir" {
			return n, nil
		}
	}
	return repo.Node{}, fmt.Errorf("%w: %s holds no folder %s: it is no backup of Caddy's storage", backup.ErrInvalid, part, storageFolder)
}

// caddyRestore puts keys of a snapshot into the live storage.
type caddyRestore struct {
	keyWalk
	repo   *repo.Repository
	task   *backup.Task
	values []storedValue // that differ
	size   int           // bytes of these
	equal  int
	left   int // keys that nobody restores

	wanted  map[string]bool // keys that the snapshot has
	removed int             // of values: those that go
}

// add reads a key's values, new and old.
func (x *caddyRestore) add(key string, node repo.Node) error {
	if !fs.ValidPath(key) || x.ours(key) {
		x.left++
		return nil
	}
	x.wanted[key] = true
	v, err := x.both(key, node)
	if err != nil {
		return fmt.Errorf("%s: %w", key, err)
	}
	if v.there && bytes.Equal(v.old, v.new) {
		x.equal++
		return nil
	}
	if err := x.weigh(v); err != nil {
		return err
	}
	x.values = append(x.values, v)
	return nil
}

// weigh bounds what is held in memory.
func (x *caddyRestore) weigh(v storedValue) error {
	if x.size += len(v.old) + len(v.new); x.size > maxCaddyRestore {
		return fmt.Errorf("%w: more than %s differ: restore it into a new folder with --into", backup.ErrInvalid, humanize.IBytes(maxCaddyRestore))
	}
	return nil
}

// ours reports whether a key, or a folder that it is in, is one that dumps leave out.
func (x *caddyRestore) ours(key string) bool {
	for at := key; at != "."; at = path.Dir(at) {
		if x.leftOut(at, path.Base(at)) {
			return true
		}
	}
	return false
}

func (x *caddyRestore) both(key string, node repo.Node) (v storedValue, err error) {
	if node.Size > maxCaddyRestore {
		return v, fmt.Errorf("%w: it has %s", backup.ErrInvalid, humanize.IBytes(node.Size))
	}
	f, err := x.repo.OpenFile(x.ctx, node)
	if err != nil {
		return v, err
	}
	defer f.Close()
	var b bytes.Buffer
	if _, err := f.WriteTo(&b); err != nil {
		return v, err
	}
	old, err := x.storage.Load(x.ctx, key)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return v, err
	}
	return storedValue{key: key, old: old, new: b.Bytes(), there: err == nil}, nil
}

func (x *caddyRestore) store(v storedValue) error {
	if cause := context.Cause(x.ctx); cause != nil {
		return cause
	}
	if v.gone {
		return x.remove(v)
	}
	if err := x.storage.Store(x.ctx, v.key, v.new); err != nil {
		return fmt.Errorf("write %s: %w", v.key, err)
	}
	return nil
}

// undo puts back the old values of the first n.
func (x *caddyRestore) undo(n int, because error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(x.ctx), undoTime)
	defer cancel()
	for _, v := range x.values[:n] {
		var err error
		if v.there {
			err = x.storage.Store(ctx, v.key, v.old)
		} else if err = x.storage.Delete(ctx, v.key); errors.Is(err, fs.ErrNotExist) {
			err = nil
		}
		if err != nil {
			return fmt.Errorf("%w: some keys have the values of the snapshot, and the old ones cannot be put back (%s: %w): %w",
				backup.ErrIncomplete, v.key, err, because)
		}
	}
	return because
}

var _ backup.FolderOverwriter = (*Caddy)(nil)
