package backup

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/caddy-backup/caddy-backup/repo"
)

// Key is a key file of a repository: one password that opens it.
type Key struct {
	repo.Key
	Current bool `json:"current"` // our password opens it
}

// Keys lists the passwords of a repository by what their key files tell in clear text, oldest first, damaged ones last.
func (s *Service) Keys(ctx context.Context, repository string) ([]Key, error) {
	c, v, err := s.vault(repository)
	if err != nil {
		return nil, err
	}
	r, err := v.open(ctx, c, createNever)
	if err != nil {
		return nil, err
	}
	found, err := r.Keys(ctx)
	if err != nil {
		return nil, v.explain(err)
	}
	own, err := v.ownKey(ctx, r)
	if err != nil {
		return nil, err
	}
	keys := make([]Key, len(found))
	for i, k := range found {
		keys[i] = Key{k, k.ID == own}
	}
	return keys, nil
}

// ownKey is the key file that our password opens now. One that was changed by somebody else opens none: that is no error,
// as long as the repository is open.
func (v *vault) ownKey(ctx context.Context, r *repo.Repository) (repo.ID, error) {
	password, err := v.knownPassword()
	if err != nil {
		return repo.ID{}, err
	}
	id, err := r.KeyOf(ctx, password)
	if errors.Is(err, repo.ErrWrongPassword) {
		return repo.ID{}, nil
	}
	return id, v.explain(err)
}

// AddKey starts to add a password to a repository, and returns at once. The password is kept, logged and answered
// nowhere. ErrConflict when the keys of this repository are being changed.
func (s *Service) AddKey(ctx context.Context, by, repository string, password []byte) (Run, error) {
	if err := checkPassword(password); err != nil {
		return Run{}, err
	}
	return s.startKeyRun(by, repository, "a new key", false, func(k keyRun, l *repo.Lock, r *repo.Repository) (string, error) {
		id, err := r.AddKey(l, password)
		return fmt.Sprintf("key %s was added: its password opens the repository", id.Short()), err
	})
}

// RemoveKey starts to remove a key, named by its ID or the beginning of it. Our own one stays, and with it the last one
// that works: ErrConflict.
func (s *Service) RemoveKey(ctx context.Context, by, repository, id string) (Run, error) {
	return s.startKeyRun(by, repository, "the removal of key "+id, true, func(k keyRun, l *repo.Lock, r *repo.Repository) (string, error) {
		key, err := findKey(l.Context(), r, id)
		if err != nil {
			return "", err
		}
		password, err := k.vault.knownPassword()
		if err != nil {
			return "", err
		}
		return fmt.Sprintf("key %s was removed: its password opens the repository no more", key.Short()), r.RemoveKey(l, key, password)
	})
}

// ChangePassword starts to put a new password in the place of ours. One that we generated is replaced in its file; an
// empty one then means to generate it. One that was configured goes on working in this process; the run's log says what
// to change in the configuration.
func (s *Service) ChangePassword(ctx context.Context, by, repository string, password []byte) (Run, error) {
	if err := checkPassword(password); err != nil && len(password) > 0 {
		return Run{}, err
	}
	return s.startKeyRun(by, repository, "a change of the password", true, func(k keyRun, l *repo.Lock, r *repo.Repository) (string, error) {
		return k.changePassword(l, r, password)
	})
}

// checkPassword refuses what cannot be kept in a file, where both we and restic read one line.
func checkPassword(password []byte) error {
	switch {
	case len(password) == 0:
		return fmt.Errorf("%w: the password is empty", ErrInvalid)
	case bytes.ContainsAny(password, "\n\r\x00"):
		return fmt.Errorf("%w: a password is one line: this one has a line break or a NUL in it", ErrInvalid)
	}
	return nil
}

// findKey finds the one key that an ID, or the beginning of it, names.
func findKey(ctx context.Context, r *repo.Repository, name string) (found repo.ID, err error) {
	keys, err := r.Keys(ctx)
	if err != nil {
		return repo.ID{}, err
	}
	for _, k := range keys {
		if name == "" || !strings.HasPrefix(k.ID.String(), name) {
			continue
		}
		if !found.IsZero() {
			return repo.ID{}, fmt.Errorf("key %q: %w: several begin with it; use more digits", name, repo.ErrAmbiguous)
		}
		found = k.ID
	}
	if found.IsZero() {
		return repo.ID{}, fmt.Errorf("key %q: %w", name, repo.ErrNotFound)
	}
	return found, nil
}

// keyRun changes the keys of a repository.
type keyRun struct{ repositoryRun }

// startKeyRun starts a run that does a change under a lock; the change says in a sentence what it did.
func (s *Service) startKeyRun(by, repository, what string, exclusive bool,
	change func(keyRun, *repo.Lock, *repo.Repository) (string, error)) (Run, error) {
	c, v, err := s.vault(repository)
	if err != nil {
		return Run{}, err
	}
	clash := func(r Run) bool { return r.Kind == KindKeys && r.Repository == v.name }
	run, err := s.start(c, by, Run{Kind: KindKeys, Repository: v.name}, clash, func(ctx context.Context, r *runner) error {
		k := keyRun{repositoryRun{r, v}}
		return k.locked(ctx, exclusive, func(ctx context.Context, r *repo.Repository, l *repo.Lock) error {
			k.setStep("changing the keys")
			return v.changeKeys(ctx, c, r, func(context.Context) error {
				summary, err := change(k, l, r)
				if err == nil {
					k.update(func(run *Run) { run.Summary = summary })
				}
				return err
			})
		})
	})
	if err == nil {
		s.audit(by, what+" asked for", "repository", v.name, "run", run.ID)
	}
	return run, err
}

func (k keyRun) changePassword(l *repo.Lock, r *repo.Repository, password []byte) (string, error) {
	v := k.vault
	old, err := v.knownPassword()
	if err != nil {
		return "", err
	}
	adopt, kept, err := v.adopting(&password)
	if err != nil {
		return "", err
	}
	id, err := r.ChangePassword(l, old, password, adopt)
	if err != nil {
		return "", err
	}
	if kept == "" {
		k.log.Warn("the configuration still has the old password, with which nothing opens after the next start: "+v.newInConfig(),
			"repository", v.name)
		return fmt.Sprintf("the password was changed, the new key is %s", id.Short()), nil
	}
	k.log.Warn("save a copy of the new password elsewhere: without it no backup can be read", "file", kept)
	return fmt.Sprintf("the password was changed, the new key is %s; the new password is in %s", id.Short(), kept), nil
}

// adopting is what has to be done between the new key and the end of the old one, so that a crash at any time leaves a
// password that we know and that opens the repository: a generated one takes the place of the old one in its file, whose
// name is returned; a configured one is remembered for as long as this process lives.
func (v *vault) adopting(password *[]byte) (adopt func() error, file string, err error) {
	if len(v.password) > 0 {
		if len(*password) == 0 {
			return nil, "", fmt.Errorf("%w: the password of repository %q comes from the configuration, so the new one is yours to choose",
				ErrInvalid, v.name)
		}
		return func() error { v.changed.Store(password); return nil }, "", nil
	}
	file = generatedPassword(v.dataDir, v.location)
	if file == "" {
		return nil, "", fmt.Errorf("%w: the file with the generated password of repository %q is gone", ErrConflict, v.name)
	}
	if len(*password) == 0 {
		*password = randomPassword()
	}
	return func() error { return replaceFile(file, append(bytes.Clone(*password), '\n'), 0o600) }, file, nil
}

// newInConfig says how the configuration gets to know a new password. Without force Caddy reloads no configuration that
// reads the same.
func (v *vault) newInConfig() string {
	switch {
	case strings.HasPrefix(v.passwordFrom, "the environment"):
		return "put the new one into " + v.passwordFrom + ", and restart the server"
	case v.passwordFrom == "":
		return "write the new one there, and run: caddy reload --force"
	}
	return "write the new one into " + v.passwordFrom + ", and run: caddy reload --force"
}
