package dump

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"path"

	"github.com/caddy-backup/caddy-backup/backup"
	"github.com/caddy-backup/caddy-backup/repo"
)

// gatherUndone finds the keys that a restore added, which is undone: those of what it put there that were not there before, and that
// nobody has changed since. All other keys stay. On an error none of them goes.
func (x *caddyRestore) gatherUndone(key string, s backup.Stored, undone *repo.Node) error {
	if undone == nil {
		return nil
	}
	node := *undone
	if s.Sub == "" {
		var err error
		if node, err = storageIn(x.ctx, x.repo, node, s.Name); err != nil {
			return err
		}
	}
	before := len(x.values)
	err := x.each(key, node, x.addUndone)
	if err != nil {
		x.values = x.values[:before]
	}
	x.removed = len(x.values) - before
	return err
}

// addUndone adds a key of what was put there, if it is to go.
func (x *caddyRestore) addUndone(key string, node repo.Node) error {
	if !fs.ValidPath(key) || x.ours(key) || x.wanted[key] {
		return nil
	}
	v, err := x.both(key, node)
	if err != nil {
		return fmt.Errorf("%s: %w", key, err)
	}
	if v.there && bytes.Equal(v.old, v.new) {
		if err := x.weigh(v); err != nil {
			return err
		}
		v.gone = true
		x.values = append(x.values, v)
	}
	return nil
}

// remove removes a key, unless it was changed just now.
func (x *caddyRestore) remove(v storedValue) error {
	now, err := x.storage.Load(x.ctx, v.key)
	if err == nil && bytes.Equal(now, v.old) {
		err = x.storage.Delete(x.ctx, v.key)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove %s: %w", v.key, err)
	}
	return nil
}

// each calls f with all keys of a node that stands for a key, or for the folder of one.
func (x *caddyRestore) each(key string, node repo.Node, f func(string, repo.Node) error) error {
	if node.Type == "file" {
		return f(key, node)
	}
	if node.Subtree == nil {
		return fmt.Errorf("%w: %s is neither a file nor a folder", backup.ErrInvalid, key)
	}
	for e, err := range x.repo.Walk(x.ctx, *node.Subtree) {
		if err == nil && e.Node.Type == "file" {
			err = f(path.Join(key, e.Path), e.Node)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
