package backup

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os/user"
	"sync"
	"sync/atomic"

	"github.com/caddy-backup/caddy-backup/repo"
)

// vault is a repository that this process keeps open over reloads, with its key and its index in memory. Its identity
// is its name, the location, the password and the options: a change of any makes another vault, but the gate stays, since
// it belongs to the location.
type vault struct {
	service      *Service
	name         string
	location     string
	dataDir      string
	password     []byte                 // empty: generated
	passwordFrom string                 // see RepositoryConfig
	changed      atomic.Pointer[[]byte] // what took the place of password since; nil: nothing
	readOnly     bool                   // see RepositoryConfig
	base         repo.Options
	storage      *liveStorage
	gate         *gate

	opening chan struct{}    // holds a token while somebody opens
	repo    *repo.Repository // nil: not open; under opening
	config  []byte           // the stored config of repo; under opening
	id      atomic.Pointer[string]
	indexed atomic.Bool // the index was loaded
	unsaved atomic.Bool // what the last check found damaged is known to this process only: the Store did not take it
}

// identity tells vaults apart. The password is in it as a hash only.
func identity(r RepositoryConfig) string {
	return fmt.Sprintf("%s\x00%s\x00%s\x00%s\x00%d\x00%t", r.Name, r.Storage.Location(), repo.Hash(r.Password), r.Compression,
		r.PackSize, r.ReadOnly)
}

// vaultOf returns the vault of a repository, making it at first use. The caller holds s.mu.
func (s *Service) vaultOf(c *setup, r RepositoryConfig) *vault {
	key := identity(r)
	if v := s.vaults[key]; v != nil {
		return v
	}
	location := r.Storage.Location()
	if s.gates[location] == nil {
		s.gates[location] = &gate{memory: make(turns, 1)}
	}
	v := &vault{
		service: s, name: r.Name, location: location, dataDir: c.DataDir, password: r.Password, passwordFrom: r.PasswordFrom,
		readOnly: r.ReadOnly,
		storage:  &liveStorage{}, gate: s.gates[location], opening: make(chan struct{}, 1),
	}
	v.storage.set(r.Storage)
	v.base = s.options(repo.Options{
		Logger: s.log.logger().With("repository", r.Name), Compression: r.Compression, PackSize: r.PackSize,
		Location: location, Journal: lockJournal{s.journal, location},
	})
	s.vaults[key] = v
	return v
}

// vault finds a repository of the current configuration.
func (s *Service) vault(name string) (*setup, *vault, error) {
	c, err := s.current()
	if err != nil {
		return nil, nil, err
	}
	v, err := s.vaultIn(c, name)
	return c, v, err
}

// vaultOfJob is vault; without a name it is the one that a job writes to, if there is such a job.
func (s *Service) vaultOfJob(name, job string) (*setup, *vault, error) {
	c, err := s.current()
	if err != nil {
		return nil, nil, err
	}
	if name == "" && job != "" {
		if j, err := c.job(job); err == nil {
			name = j.To
		}
	}
	v, err := s.vaultIn(c, name)
	return c, v, err
}

func (s *Service) vaultIn(c *setup, name string) (*vault, error) {
	r, err := c.repository(name)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.vaultOf(c, r), nil
}

// open returns the open repository. It looks every time whether the one that it knows is still there: a disk that is
// not mounted any more must not be written to. With create, one that never was is made.
func (v *vault) open(ctx context.Context, c *setup, create creation) (*repo.Repository, error) {
	select {
	case v.opening <- struct{}{}:
		defer func() { <-v.opening }()
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	config, err := v.storedConfig(ctx)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		v.close()
		return v.missing(ctx, c, create)
	case err != nil:
		return nil, v.explain(err)
	case create == createAnew:
		return nil, v.explain(repo.ErrExists)
	case v.repo != nil && bytes.Equal(config, v.config):
		return v.repo, nil
	}
	v.close()
	return v.load(ctx, c, config)
}

// storedConfig reads the file whose presence makes a repository; an empty one is none.
func (v *vault) storedConfig(ctx context.Context) ([]byte, error) {
	config, err := repo.StoredConfig(ctx, v.storage)
	if err == nil && len(config) == 0 {
		err = fs.ErrNotExist
	}
	return config, err
}

// load opens what is there, and compares it with what was there before.
func (v *vault) load(ctx context.Context, c *setup, config []byte) (*repo.Repository, error) {
	password, err := v.knownPassword()
	if err != nil {
		return nil, err
	}
	r, err := repo.Open(ctx, v.storage, password, v.base)
	if err != nil {
		return nil, v.hint(v.explain(err))
	}
	if err := v.recognise(ctx, c, r.Config().ID); err != nil {
		return nil, err
	}
	v.keep(r, config)
	return r, nil
}

func (v *vault) keep(r *repo.Repository, config []byte) {
	id := r.Config().ID
	v.repo, v.config = r, config
	v.id.Store(&id)
	v.indexed.Store(false)
	v.unsaved.Store(false)
}

func (v *vault) close() {
	v.repo, v.config = nil, nil
	v.id.Store(nil)
}

// errPasswordLost is wrapped, beside repo.ErrWrongPassword, while there is neither a configured nor a generated password.
var errPasswordLost = errors.New("none was generated for it on this machine, or its file is gone")

// knownPassword is the configured password, or the one that was generated for this place.
func (v *vault) knownPassword() ([]byte, error) {
	if changed := v.changed.Load(); changed != nil {
		return *changed, nil
	}
	if len(v.password) > 0 {
		return v.password, nil
	}
	path := generatedPassword(v.dataDir, v.location)
	if path == "" {
		return nil, fmt.Errorf("repository %q at %s exists, but no `password` is configured, and %w: write `password` into the configuration: %w",
			v.name, v.location, errPasswordLost, repo.ErrWrongPassword)
	}
	return readPassword(path)
}

// hint adds to a wrong password where the right one may be.
func (v *vault) hint(err error) error {
	path := generatedPassword(v.dataDir, v.location)
	if len(v.password) == 0 || path == "" || !errors.Is(err, repo.ErrWrongPassword) {
		return err
	}
	return fmt.Errorf("%w; one was generated for this place, it is in %s", err, path)
}

// read has f read from the repository, without a lock. When something is not where the index in memory says, others
// have written or pruned meanwhile: then the index is loaded again, and f once more.
func (v *vault) read(ctx context.Context, c *setup, f func(*repo.Repository) error) error {
	r, err := v.open(ctx, c, createNever)
	if err != nil {
		return err
	}
	fresh := !v.indexed.Load()
	for {
		if fresh {
			if err := v.loadIndex(ctx, r); err != nil {
				return err
			}
		}
		err := f(r)
		stale := errors.Is(err, repo.ErrDamaged) || errors.Is(err, fs.ErrNotExist)
		if err == nil || fresh || !stale {
			return err
		}
		fresh = true
	}
}

// loadIndex loads the index for a reader. Damaged index files are only told of: what just they list will be missed where
// it is wanted, and everything else can be read.
func (v *vault) loadIndex(ctx context.Context, r *repo.Repository) error {
	err := r.LoadIndex(ctx)
	if errors.Is(err, repo.ErrDamaged) {
		v.base.Logger.Warn("the index is damaged; what it still lists is read", "location", v.location, "error", err)
		err = nil
	}
	if err == nil {
		v.indexed.Store(true)
	}
	return v.explain(err)
}

// userName names the user that we run as; "" when that cannot be found out.
var userName = sync.OnceValue(func() string {
	u, err := user.Current()
	if err != nil {
		return ""
	}
	return u.Username
})
