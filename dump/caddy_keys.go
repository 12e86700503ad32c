package dump

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/certmagic"

	"github.com/caddy-backup/caddy-backup/backup"
	"github.com/caddy-backup/caddy-backup/repo"
)

// storageFolder is the folder in the part that holds Caddy's storage.
const storageFolder = "storage"

// keyWalk saves the keys of Caddy's storage as files, folder by folder: a certificate, its private key and what is known
// of it lie in one folder, and must be of one moment.
type keyWalk struct {
	*Caddy
	ctx      context.Context
	hidden   map[string]bool
	settings bool // something was set at run time
	notes    *[]string
	pairs    int // of a certificate and its private key
	unsteady int // folders that did not stop changing
}

// storedKey is an entry of a folder of the storage.
type storedKey struct {
	name     string
	folder   bool
	modified time.Time
	size     int64
	data     []byte
}

// same tells whether an entry looks as it did.
func (k storedKey) same(other storedKey) bool {
	return k.name == other.name && k.folder == other.folder && (k.folder || k.modified.Equal(other.modified) && k.size == other.size)
}

func (w *keyWalk) save(dir *repo.Dir) error {
	top, err := dir.Mkdir(secretNode(storageFolder, true, time.Time{}))
	if err != nil {
		return err
	}
	defer top.Finish()
	return w.folder("", top)
}

func (w *keyWalk) folder(key string, dir *repo.Dir) error {
	entries, err := w.steady(key)
	if err != nil {
		return fmt.Errorf("reading Caddy's storage: %w", err)
	}
	w.pairUp(key, entries)
	for _, e := range entries {
		if e.folder {
			err = w.sub(path.Join(key, e.name), e, dir)
		} else {
			err = saveSecret(dir, e.name, e.modified, e.data)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (w *keyWalk) sub(key string, e storedKey, dir *repo.Dir) error {
	if key == ownKeys {
		e.modified = time.Time{} // it changes with every run
	}
	sub, err := dir.Mkdir(secretNode(e.name, true, e.modified))
	if err != nil {
		return err
	}
	defer sub.Finish()
	return w.folder(key, sub)
}

// saveSecret writes a file.
func saveSecret(dir *repo.Dir, name string, modified time.Time, data []byte) error {
	f, err := dir.Create(secretNode(name, false, modified))
	if err != nil {
		return err
	}
	if _, err := f.Write(data); err != nil {
		return err
	}
	return f.Close()
}

// steadyTries is how often a folder is read that changes meanwhile, as it does when a certificate is renewed.
const steadyTries = 4

// steady reads the values of a folder of the storage until it has not changed since before the first was read.
func (w *keyWalk) steady(key string) (entries []storedKey, err error) {
	for try := 1; ; try++ {
		if entries, err = w.look(key); err != nil {
			return nil, err
		}
		whole, err := w.load(key, entries)
		if err != nil {
			return nil, err
		}
		after, err := w.look(key)
		if err != nil {
			return nil, err
		}
		if whole && slices.EqualFunc(entries, after, storedKey.same) {
			return entries, nil
		}
		if try == steadyTries {
			break
		}
		if err := w.wait(); err != nil {
			return nil, err
		}
	}
	w.unsteady++
	*w.notes = append(*w.notes, fmt.Sprintf("%s changed while it was read, %d times; the backup may hold a mixture of old and new",
		path.Join("/", key), steadyTries))
	return slices.DeleteFunc(entries, func(e storedKey) bool { return !e.folder && e.data == nil }), nil
}

func (w *keyWalk) wait() error {
	timer := time.NewTimer(w.pause)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-w.ctx.Done():
		return context.Cause(w.ctx)
	}
}

// look lists a folder of the storage, without what is not to be saved, sorted by name.
func (w *keyWalk) look(key string) (entries []storedKey, err error) {
	if w.ctx.Err() != nil {
		return nil, context.Cause(w.ctx)
	}
	keys, err := w.storage.List(w.ctx, key, false)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list %q: %w", key, err)
	}
	seen := map[string]bool{}
	for _, k := range keys {
		name, _, _ := strings.Cut(strings.Trim(strings.TrimPrefix(k, key), "/"), "/") // some modules list deeper ones, too
		if seen[name] || w.leftOut(path.Join(key, name), name) {
			continue
		}
		seen[name] = true
		e, err := w.stat(path.Join(key, name), name)
		if errors.Is(err, fs.ErrNotExist) {
			continue // it vanished
		}
		if err != nil {
			return nil, err
		}
		entries = append(entries, e)
	}
	slices.SortFunc(entries, func(a, b storedKey) int { return strings.Compare(a.name, b.name) })
	return entries, nil
}

// stat looks at a key. Modules that know no folders are asked whether anything is below it.
func (w *keyWalk) stat(key, name string) (storedKey, error) {
	info, err := w.storage.Stat(w.ctx, key)
	if errors.Is(err, fs.ErrNotExist) {
		if below, e := w.storage.List(w.ctx, key, false); e == nil && len(below) > 0 {
			return storedKey{name: name, folder: true}, nil
		}
		return storedKey{}, err
	}
	if err != nil {
		return storedKey{}, fmt.Errorf("look at %q: %w", key, err)
	}
	e := storedKey{name: name, folder: !info.IsTerminal, modified: info.Modified, size: info.Size}
	if e.folder {
		e.modified = time.Time{} // it changes with every lock, and tells nothing
	}
	return e, nil
}

// load reads the values. It is false when one vanished.
func (w *keyWalk) load(key string, entries []storedKey) (whole bool, err error) {
	whole = true
	for i, e := range entries {
		if e.folder {
			continue
		}
		data, err := w.storage.Load(w.ctx, path.Join(key, e.name))
		switch {
		case errors.Is(err, fs.ErrNotExist):
			whole = false
		case err != nil:
			return false, fmt.Errorf("read %q: %w", path.Join(key, e.name), err)
		case data == nil:
			entries[i].data = []byte{}
		default:
			entries[i].data = data
		}
	}
	return whole, nil
}

// leftOut tells what is not saved: locks, which mean nothing later; what the product keeps there itself, the default
// repository and its password among it, but for what was set at run time; trials whether the storage works; files that are being written, to which the
// storage in files gives a number for a name; and other paths of ours.
func (w *keyWalk) leftOut(key, name string) bool {
	first, _, _ := strings.Cut(key, "/")
	_, folder := w.storage.(*certmagic.FileStorage)
	temporary := folder && len(name) > 4 && strings.Trim(name, "0123456789") == ""
	if first == ownKeys {
		return !w.settings || key != ownKeys && key != settingsKeys && !strings.HasPrefix(key, settingsKeys+"/")
	}
	return name == "" || first == "locks" || strings.HasPrefix(key, "rw_test_") || temporary || w.hidden[key]
}

// What the product keeps in the storage. What was set at run time is configuration, as the Caddyfile is.
const (
	ownKeys      = "backup"
	settingsKeys = ownKeys + "/settings"
)

// pairUp looks whether each certificate of a folder belongs to the private key beside it.
func (w *keyWalk) pairUp(key string, entries []storedKey) {
	values := map[string][]byte{}
	for _, e := range entries {
		values[e.name] = e.data
	}
	for name, cert := range values {
		base, is := strings.CutSuffix(name, ".crt")
		private := values[base+".key"]
		if !is || private == nil {
			continue
		}
		if _, err := tls.X509KeyPair(cert, private); err != nil {
			*w.notes = append(*w.notes, fmt.Sprintf("%s does not fit its private key: %v", path.Join("/", key, name), err))
			continue
		}
		w.pairs++
	}
}

// saveConfig saves the configuration, as far as it is to be had; what is not is a note.
func (c *Caddy) saveConfig(ctx context.Context, dir *repo.Dir, notes *[]string) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	config := c.readConfig()
	*notes = append(*notes, config.notes...)
	if config.json != nil {
		if err := saveSecret(dir, "config.json", config.changed, config.json); err != nil {
			return err
		}
	}
	if len(config.files) == 0 {
		return nil
	}
	top, err := dir.Mkdir(secretNode("caddyfile", true, time.Time{}))
	if err != nil {
		return err
	}
	defer top.Finish()
	return saveTree(top, config.files)
}

// saveTree writes files by their slash-separated paths.
func saveTree(dir *repo.Dir, files map[string]configText) error {
	below := map[string]map[string]configText{}
	for name, f := range files {
		first, rest, deeper := strings.Cut(name, "/")
		if !deeper {
			if err := saveSecret(dir, name, f.changed, f.text); err != nil {
				return err
			}
			continue
		}
		if below[first] == nil {
			below[first] = map[string]configText{}
		}
		below[first][rest] = f
	}
	for name, files := range below {
		sub, err := dir.Mkdir(secretNode(name, true, time.Time{}))
		if err != nil {
			return err
		}
		err = saveTree(sub, files)
		sub.Finish()
		if err != nil {
			return err
		}
	}
	return nil
}

var _ backup.FolderSource = (*Caddy)(nil)
