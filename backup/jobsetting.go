package backup

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"path"
	"slices"
	"strings"
	"time"
)

// AddedJob tells of a job that it was added at run time, and not by the configuration.
type AddedJob struct {
	By       string    `json:"by"`
	Created  time.Time `json:"created"`
	Modified time.Time `json:"modified"`
}

// JobSetting is what was set of a job at run time: so far a whole job that the configuration does not have. The Store has one
// file for each job and host, `backup/settings/<host>/jobs/<job>.json`, which a cluster shares.
type JobSetting struct {
	Name string `json:"name"`
	AddedJob
	Job json.RawMessage `json:"job"` // as the front writes and reads it: with placeholders, not with what they stand for

	Damaged error `json:"-"` // why the file cannot be read or understood; then there is only the name
}

// JobSettings keeps JobSettings in the Store.
type JobSettings struct {
	store  Store
	folder string
	lock   string
}

// JobSettings are those of the host, whose name is kept from now on if it was not yet. Their calls end in time, also where the
// Store does not care; whoever asks often keeps what is returned, so that calls that were left behind do not pile up.
func (c Config) JobSettings() JobSettings {
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	host := safeName(keptHost(&setup{Config: c}))
	return JobSettings{store: bound(c.Store), folder: path.Join("backup/settings", host, "jobs"), lock: "backup-settings-" + host}
}

// List reads all, in the order in which they were added. An error means that nothing is known, of none of them.
func (x JobSettings) List(ctx context.Context) (list []JobSetting, err error) {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	keys, err := x.store.List(ctx, x.folder, false)
	if err != nil && !isMissing(err) {
		return nil, fmt.Errorf("reading %s: %w", x.folder, err)
	}
	for _, key := range keys {
		name, ok := strings.CutSuffix(path.Base(key), ".json")
		if !ok || checkName("job", name) != nil { // not ours
			continue
		}
		data, err := x.store.Load(ctx, key)
		switch {
		case isMissing(err): // removed just now
		case errors.Is(err, fs.ErrPermission): // written by somebody else, with --standalone: only this one is lost
			list = append(list, JobSetting{Name: name, Damaged: fmt.Errorf("%s in Caddy's storage: %w; give it to the user that Caddy runs as", key, err)})
		case err != nil:
			return nil, fmt.Errorf("reading %s: %w", key, err)
		default:
			list = append(list, parseJobSetting(name, key, data))
		}
	}
	slices.SortFunc(list, func(a, b JobSetting) int {
		return cmp.Or(a.Created.Compare(b.Created), strings.Compare(a.Name, b.Name))
	})
	return list, nil
}

func parseJobSetting(name, key string, data []byte) JobSetting {
	s := JobSetting{}
	err := json.Unmarshal(data, &s)
	if err == nil && (s.Name != name || len(s.Job) == 0) {
		err = errors.New("it does not hold this job")
	}
	if err != nil {
		return JobSetting{Name: name, Damaged: fmt.Errorf("%s in Caddy's storage is damaged: %w; remove the job, and add it again", key, err)}
	}
	return s
}

// Put writes one, durable as the Store is.
func (x JobSettings) Put(ctx context.Context, s JobSetting) error {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	data, err := json.Marshal(s)
	if err == nil {
		err = x.store.Store(ctx, x.key(s.Name), data)
	}
	if err != nil {
		return fmt.Errorf("writing %s: %w", x.key(s.Name), err)
	}
	return nil
}

// Delete removes one; that it is not there is no error.
func (x JobSettings) Delete(ctx context.Context, name string) error {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	if err := x.store.Delete(ctx, x.key(name)); err != nil && !isMissing(err) {
		return fmt.Errorf("deleting %s: %w", x.key(name), err)
	}
	return nil
}

func (x JobSettings) key(name string) string { return path.Join(x.folder, safeName(name)+".json") }

// Alone does work while no other process changes the settings, as far as the Store has locks.
func (x JobSettings) Alone(ctx context.Context, work func() error) error {
	locker, ok := x.store.(Locker)
	if !ok {
		return work()
	}
	waiting, cancel := context.WithTimeout(ctx, lockPatience)
	defer cancel()
	if err := locker.Lock(waiting, x.lock); err != nil {
		return fmt.Errorf("waiting for the lock %s in Caddy's storage: %w", x.lock, err)
	}
	err := work()
	unlocking, done := context.WithTimeout(context.WithoutCancel(ctx), storeTimeout)
	defer done()
	return errors.Join(err, locker.Unlock(unlocking, x.lock))
}
