package backup

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/caddy-backup/caddy-backup/repo"
)

// memory is what we remember of the repository at a location, in the Store: that there was one, which, and what lay in
// it. Without it an unmounted disk would look like a place for a new repository, and an older copy like the one we know.
type memory struct {
	Location string    `json:"location"`
	ID       string    `json:"id"`
	Seen     time.Time `json:"seen"`              // when a run looked last
	Damaged  []repo.ID `json:"damaged,omitempty"` // packs that checks found damaged: backups do not count on them

	// What was there when a run looked last and found nothing missing, or was told to accept what is.
	Snapshots []seenSnapshot `json:"snapshots,omitempty"`
	Keys      []repo.ID      `json:"keys,omitempty"` // key files

	// What we were about to change ourselves. It is written down before the first deletion, so that what is gone after a
	// crash is known to be our own doing.
	Removing     []repo.ID `json:"removing,omitempty"` // snapshots, by stable ID
	ChangingKeys bool      `json:"changing_keys,omitempty"`
}

// seenSnapshot is a snapshot that was there.
type seenSnapshot struct {
	ID   repo.ID   `json:"id"` // the stable one: a change of tags is no loss
	Time time.Time `json:"time"`
}

func memoryKey(location string) string {
	return "backup/repositories/" + locationKey(location) + ".json"
}

// remembered loads the memory; of a place that we never saw it is empty.
func (v *vault) remembered(ctx context.Context, c *setup) (m memory, err error) {
	data, err := c.Store.Load(ctx, memoryKey(v.location))
	if errors.Is(err, fs.ErrNotExist) {
		return memory{}, nil
	}
	if err == nil {
		if err = json.Unmarshal(data, &m); err != nil {
			err = fmt.Errorf("%w; to have it remembered anew delete that key from Caddy's storage", err)
		}
	}
	if err != nil {
		return memory{}, fmt.Errorf("cannot read what is remembered of it (%s): %w", memoryKey(v.location), err)
	}
	return m, nil
}

// remember changes what is remembered of the repository with this ID; of another one everything is forgotten. A failure is
// logged: it is no reason not to back up.
func (v *vault) remember(ctx context.Context, c *setup, id string, change func(*memory)) error {
	leave, err := v.gate.memory.enter(ctx)
	if err != nil {
		return err
	}
	defer leave()
	err = v.service.exclusively(ctx, c, "memory-"+locationKey(v.location), func() error {
		ctx, cancel := context.WithTimeout(ctx, storeTimeout)
		defer cancel()
		m, err := v.remembered(ctx, c)
		if err != nil {
			return err
		}
		if m.ID != id {
			m = memory{ID: id, Seen: v.service.now().UTC()}
		}
		m.Location = v.location
		change(&m)
		data, err := json.Marshal(m)
		if err != nil {
			return err
		}
		return c.Store.Store(ctx, memoryKey(v.location), data)
	})
	if err != nil {
		v.base.Logger.Warn("cannot remember the repository", "error", err)
	}
	return err
}

// forgetAll forgets what was at the location.
func (v *vault) forgetAll(ctx context.Context, c *setup) {
	leave, err := v.gate.memory.enter(ctx)
	if err != nil {
		return
	}
	defer leave()
	if err := c.Store.Delete(ctx, memoryKey(v.location)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		v.base.Logger.Warn("cannot forget what was here before the repository", "error", err)
	}
}

// errAnother is wrapped, beside ErrConflict, while the place of a repository holds another one than is remembered.
var errAnother = errors.New("another one than before")

// recognise compares the repository that was found with the one that is remembered.
func (v *vault) recognise(ctx context.Context, c *setup, id string) error {
	m, err := v.remembered(ctx, c)
	if err != nil {
		v.base.Logger.Warn("cannot tell whether it is the same repository as before", "error", err)
		return nil
	}
	switch m.ID {
	case id:
		return nil
	case "":
		v.remember(ctx, c, id, func(*memory) {})
		return nil
	}
	return fmt.Errorf("%w: repository %q at %s is %w: its ID is %s, it was %s: bring the right one back, or, if the change is meant: %s",
		ErrConflict, v.name, v.location, errAnother, id, m.ID, v.command("check --accept-fewer"))
}

// distrust has writers not count on the packs that are remembered as damaged: what one of them held is stored again. It
// asks the Store before every backup, since the check may have been another process's.
func (v *vault) distrust(ctx context.Context, c *setup, r *repo.Repository) {
	m, err := v.remembered(ctx, c)
	switch {
	case err != nil:
		v.base.Logger.Warn("cannot tell which packs earlier checks found damaged", "error", err)
	case m.ID == r.Config().ID && !v.unsaved.Load():
		r.Distrust(m.Damaged)
	}
}
