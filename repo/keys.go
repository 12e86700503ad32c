package repo

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"time"
)

// MaxKeys is how many key files are tried when a repository is opened, by restic, too.
const MaxKeys = maxKeyTries

// Key is a key file as it tells of itself, in clear text: one password that opens the repository.
type Key struct {
	ID       ID        `json:"id"`
	Created  time.Time `json:"created"`
	Username string    `json:"username"`
	Hostname string    `json:"hostname"`
	Damaged  string    `json:"damaged,omitempty"` // why no password can open it; the fields above but the ID are unset then
}

// Keys lists the key files, oldest first; damaged ones, at the end, are named like all others. A file that vanishes
// meanwhile is not there.
func (r *Repository) Keys(ctx context.Context) ([]Key, error) {
	files, err := listFiles(ctx, r.storage, "keys")
	if err != nil {
		return nil, fmt.Errorf("cannot read the keys%s: %w", r.at(), err)
	}
	keys := make([]Key, 0, len(files))
	for _, f := range files {
		data, err := loadKeyFile(ctx, r.storage, f)
		var k keyFile
		if err == nil {
			k, err = parseKeyFile(data)
		}
		switch {
		case err == nil:
			keys = append(keys, Key{keyID(f), k.Created, k.Username, k.Hostname, ""})
		case errors.Is(err, ErrDamaged), errors.Is(err, ErrUnsupported):
			keys = append(keys, Key{ID: keyID(f), Damaged: err.Error()})
		case !errors.Is(err, fs.ErrNotExist):
			return nil, fmt.Errorf("cannot read the keys%s: %w", r.at(), err)
		}
	}
	slices.SortStableFunc(keys, func(a, b Key) int {
		if (a.Damaged == "") != (b.Damaged == "") {
			return map[bool]int{true: -1, false: 1}[a.Damaged == ""]
		}
		return a.Created.Compare(b.Created)
	})
	return keys, nil
}

// KeyOf finds the key file that a password opens. ErrWrongPassword when there is none.
func (r *Repository) KeyOf(ctx context.Context, password []byte) (ID, error) {
	key, err := r.findKey(ctx, password)
	return key.id, err
}

// AddKey adds a password, under a lock of any kind: a new key file, which is proved to open the repository by reading it
// back. ErrTooManyKeys at twenty: no more are tried. After an error no new key is left, unless the error says so.
func (r *Repository) AddKey(l *Lock, password []byte) (ID, error) {
	ctx := l.Context()
	if err := r.roomForKey(ctx, maxKeyTries); err != nil {
		return ID{}, err
	}
	return r.storeKey(ctx, l, password)
}

// RemoveKey deletes a key file, under an exclusive lock. It must not be one that is needed: before it goes, password is
// proved to open the repository without it, else ErrKeyNeeded. ErrNotFound; ErrWrongPassword when password opens nothing.
func (r *Repository) RemoveKey(l *Lock, id ID, password []byte) error {
	ctx := l.Context()
	if !l.exclusive {
		return errors.New("keys are removed under an exclusive lock only")
	}
	if _, err := r.storage.Get(ctx, keyName(id), 0, 0); errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("key %s%s: %w", id.Short(), r.at(), ErrNotFound)
	}
	own, err := r.keysOf(ctx, password)
	if err != nil {
		return err
	}
	if len(own) == 1 && own[0] == id {
		return fmt.Errorf("%w: %s is the one that the repository%s is opened with: change its password instead, or "+
			"open the repository with another one", ErrKeyNeeded, id.Short(), r.at())
	}
	if _, err := r.findKey(ctx, password, id); err != nil {
		return err
	}
	return r.deleteKey(ctx, l, id)
}

// ChangePassword puts a new password in the place of an old one, under an exclusive lock. The new key file is stored and
// proved to open the repository before the old one is removed, so that a crash leaves both, never none. In between, adopt
// is called, if it is not nil: for what must know the new password before the old one is gone. When it fails both
// passwords open the repository.
//
// The ID is that of the new key. It is set also beside an error, if both passwords open the repository then.
func (r *Repository) ChangePassword(l *Lock, old, password []byte, adopt func() error) (ID, error) {
	ctx := l.Context()
	if !l.exclusive {
		return ID{}, errors.New("passwords are changed under an exclusive lock only")
	}
	// One key more than are tried, for a moment: of the old and the new one at least one is tried then.
	if err := r.roomForKey(ctx, maxKeyTries+1); err != nil {
		return ID{}, err
	}
	before, err := r.keysOf(ctx, old)
	if err != nil {
		return ID{}, err
	}
	id, err := r.storeKey(ctx, l, password)
	if err != nil {
		return ID{}, err
	}
	if adopt != nil {
		if err := adopt(); err != nil {
			return id, fmt.Errorf("the old and the new password open the repository%s, since the change could not be completed: %w", r.at(), err)
		}
	}
	for _, key := range before {
		if err := r.deleteKey(ctx, l, key); err != nil {
			return id, fmt.Errorf("the new password opens the repository, but so does the old one: %w", err)
		}
	}
	return id, nil
}

// findKey finds the key file that a password opens, and the config with it, as it is stored now.
func (r *Repository) findKey(ctx context.Context, password []byte, except ...ID) (openedKey, error) {
	sealed, err := StoredConfig(ctx, r.storage)
	var key openedKey
	if err == nil {
		key, err = findKey(ctx, r.storage, password, sealed, except...)
	}
	if err == nil && key.config.ID != r.config.ID {
		err = fmt.Errorf("%w: another repository has taken its place", ErrDamaged)
	}
	if err != nil {
		return openedKey{}, fmt.Errorf("cannot open the repository%s: %w", r.at(), err)
	}
	return key, nil
}

// keysOf finds all key files that a password opens: more than one, where a change of the password was cut off.
// ErrWrongPassword when there is none.
func (r *Repository) keysOf(ctx context.Context, password []byte) ([]ID, error) {
	files, err := listFiles(ctx, r.storage, "keys")
	if err != nil {
		return nil, fmt.Errorf("cannot read the keys%s: %w", r.at(), err)
	}
	var ids []ID
	for _, f := range files {
		_, err := readKey(ctx, r.storage, f, password)
		hopeless := errors.Is(err, ErrWrongPassword) || errors.Is(err, ErrDamaged) || errors.Is(err, ErrUnsupported)
		switch {
		case err == nil:
			ids = append(ids, keyID(f))
		case !hopeless && !errors.Is(err, fs.ErrNotExist):
			return nil, fmt.Errorf("cannot read the keys%s: %w", r.at(), err)
		}
	}
	if len(ids) > 0 {
		return ids, nil
	}
	key, err := r.findKey(ctx, password) // which says why
	if err != nil {
		return nil, err
	}
	return []ID{key.id}, nil // it could not be read for a moment
}

// roomForKey is ErrTooManyKeys when there is no room below a limit.
func (r *Repository) roomForKey(ctx context.Context, limit int) error {
	files, err := listFiles(ctx, r.storage, "keys")
	if err != nil {
		return err
	}
	if len(files) >= limit {
		return fmt.Errorf("%w%s: there are %d, and only %d are tried when a repository is opened: remove some first", ErrTooManyKeys,
			r.at(), len(files), maxKeyTries)
	}
	return nil
}

// storeKey stores a new key file and proves, through the storage, that it opens the repository. What cannot be proved is
// taken back.
func (r *Repository) storeKey(ctx context.Context, l *Lock, password []byte) (ID, error) {
	if len(password) == 0 {
		return ID{}, errors.New("an empty password opens nothing: choose another")
	}
	data, err := newKeyFile(r.key, password, r.opt)
	if err != nil {
		return ID{}, fmt.Errorf("new key: %w", err)
	}
	if err := l.verify(ctx); err != nil {
		return ID{}, err
	}
	id := Hash(data)
	err = r.storage.Put(ctx, keyName(id), data)
	if err == nil {
		err = r.proveKey(ctx, FileInfo{Name: keyName(id), Size: int64(len(data))}, password)
	}
	if err == nil {
		return id, nil
	}
	err = fmt.Errorf("cannot store a new key%s: %w", r.at(), err)
	late, cancel := context.WithTimeout(context.WithoutCancel(ctx), lockTimeout)
	defer cancel()
	if left := r.storage.Delete(late, keyName(id)); left != nil && !errors.Is(left, fs.ErrNotExist) {
		err = fmt.Errorf("%w; the key %s may be there all the same", err, id.Short())
	}
	return ID{}, err
}

// proveKey reads a key file back and opens the config with it.
func (r *Repository) proveKey(ctx context.Context, f FileInfo, password []byte) error {
	master, err := readKey(ctx, r.storage, f, password)
	if err != nil {
		return fmt.Errorf("reading it back: %w", err)
	}
	sealed, err := StoredConfig(ctx, r.storage)
	if err != nil {
		return err
	}
	config, err := openConfig(sealed, master)
	if err == nil && config.ID != r.config.ID {
		err = fmt.Errorf("%w: another repository has taken its place", ErrDamaged)
	}
	return err
}

// deleteKey removes a key file while the lock holds. That it is gone already is what was wanted.
func (r *Repository) deleteKey(ctx context.Context, l *Lock, id ID) error {
	if err := l.verify(ctx); err != nil {
		return err
	}
	err := r.storage.Delete(ctx, keyName(id))
	if err == nil {
		if _, there := r.storage.Get(ctx, keyName(id), 0, 0); there == nil {
			err = errors.New("it is still there")
		}
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("cannot delete the key %s%s: %w", id.Short(), r.at(), err)
	}
	return nil
}

func keyName(id ID) string { return "keys/" + id.String() }
