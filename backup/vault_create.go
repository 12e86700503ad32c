package backup

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/caddy-backup/caddy-backup/repo"
)

// creation says whether a repository that is missing may be made.
type creation int

const (
	createNever creation = iota
	createFirst          // when there never was one at this place
	createAnew           // when there is none now; one that exists is an error
)

// missing handles a place without a repository: the rare case, in which two processes must not both make one.
func (v *vault) missing(ctx context.Context, c *setup, create creation) (*repo.Repository, error) {
	m, err := v.remembered(ctx, c)
	switch {
	case m.ID != "" && create != createAnew:
		return v.madeMeanwhile(ctx, c, m)
	case create == createNever:
		return nil, v.explain(repo.ErrNoRepository)
	case err != nil && create != createAnew: // one may have been here
		return nil, fmt.Errorf("repository %q at %s is missing, and is not made: %w; to make it all the same, run: %s",
			v.name, v.location, err, v.command("init"))
	}
	unlock, err := lockFolder(ctx, v.dataDir, "creating.lock")
	if err != nil {
		return nil, err
	}
	defer unlock()
	var made *repo.Repository
	err = v.service.exclusively(ctx, c, "create-"+locationKey(v.location), func() error {
		if config, err := v.storedConfig(ctx); err == nil && create != createAnew {
			made, err = v.load(ctx, c, config) // another process was faster
			return err
		}
		if err := v.requireEmpty(ctx); err != nil {
			return err
		}
		made, err = v.create(ctx, c)
		return err
	})
	return made, err
}

// madeMeanwhile looks once more for a repository that is remembered and was missing: another process may have made and
// remembered it between our two looks. One that is missing now too is gone, since it was there before it was remembered.
func (v *vault) madeMeanwhile(ctx context.Context, c *setup, m memory) (*repo.Repository, error) {
	config, err := v.storedConfig(ctx)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, v.gone(m)
	case err != nil:
		return nil, v.explain(err)
	}
	return v.load(ctx, c, config)
}

// gone is the error for a repository that was here.
func (v *vault) gone(m memory) error {
	return fmt.Errorf("repository %q (ID %.8s) is gone from %s: %w there now; is the disk mounted, is the location right? "+
		"To begin anew there, without the old backups, run: %s", v.name, m.ID, v.location, repo.ErrNoRepository, v.command("init"))
}

// requireEmpty refuses a place that holds other things. What is left of a repository is repo.Init's to judge.
func (v *vault) requireEmpty(ctx context.Context) error {
	for f, err := range v.storage.List(ctx, "") {
		if err != nil {
			return v.explain(err)
		}
		switch dir, _, _ := strings.Cut(f.Name, "/"); {
		case slices.Contains([]string{"keys", "data", "index", "snapshots", "locks"}, dir):
		case strings.HasPrefix(f.Name, "config"): // also what a writer left that was killed: "config-tmp-123"
		default:
			return fmt.Errorf("repository %q: %s holds other files (%s …) and no repository; use an empty place: %w", v.name, v.location,
				f.Name, repo.ErrNoRepository)
		}
	}
	return nil
}

// create makes the repository. A generated password is on disk before anything depends on it.
func (v *vault) create(ctx context.Context, c *setup) (*repo.Repository, error) {
	password, generated, err := v.newPassword()
	if err != nil {
		return nil, err
	}
	r, err := repo.Init(ctx, v.storage, password, v.base)
	if err != nil {
		return nil, v.explain(err)
	}
	log := v.base.Logger.With("location", v.location)
	log.Info("repository created", "repository_id", r.Config().ID)
	if generated != "" {
		log.Warn("its password was generated: save a copy of this file elsewhere, without it no backup can be read; and a "+
			"repository on the same disk protects against nothing that takes the machine", "file", generated)
	}
	v.forgetAll(ctx, c) // what was here before
	// Another machine may have made one here in the same moment, and the last config counts: go on with what is stored,
	// or this process would write what no other could read.
	config, err := v.storedConfig(ctx)
	if err != nil {
		return nil, v.explain(err)
	}
	return v.load(ctx, c, config)
}

// newPassword is the password for a repository that is about to be made, and the file that it was generated into.
func (v *vault) newPassword() (password []byte, generated string, err error) {
	if len(v.password) > 0 {
		return v.password, "", nil
	}
	if path := generatedPassword(v.dataDir, v.location); path != "" { // from a creation that did not end
		password, err := readPassword(path)
		return password, path, err
	}
	return generatePassword(v.dataDir, v.name, v.location)
}
