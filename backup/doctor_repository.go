package backup

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
	"time"

	"github.com/dustin/go-humanize"

	"github.com/caddy-backup/caddy-backup/repo"
)

// SpaceTeller is a Storage that knows how much can still be stored; false when it does not know after all.
type SpaceTeller interface {
	FreeSpace(ctx context.Context) (bytes int64, known bool)
}

const (
	tooLittleSpace = 64 << 20 // bytes: a run of any size fails
	scarceSpace    = 1 << 30  // bytes
)

// examineRepository looks at a repository as a run would find it.
func (s *Service) examineRepository(ctx context.Context, c *setup, config RepositoryConfig) []Diagnosis {
	v, err := s.vaultIn(c, config.Name)
	if err != nil {
		return []Diagnosis{wrong(err)}
	}
	var found []Diagnosis
	r, err := v.open(ctx, c, createNever)
	switch m, forgotten := v.remembered(ctx, c); {
	case errors.Is(err, repo.ErrNoRepository) && m.ID == "" && forgotten == nil:
		found = append(found, note("there is none at %s yet; the first backup makes it", v.location))
	case err != nil: // a place that is not what it was is not written to
		return []Diagnosis{wrong(err)}
	default:
		found = append(found, well("opens at %s, ID %.8s", v.location, r.Config().ID))
	}
	found = append(found, v.examineStorage(ctx), s.examineSpace(ctx, config))
	if x, ok := config.Storage.(Examiner); ok {
		found = append(found, x.Examine(ctx, &Task{Log: v.base.Logger, Journal: s.journal})...)
	}
	if r != nil {
		found = append(found, v.examineLocks(ctx, c)...)
		found = append(found, v.examineKeys(ctx, r)...)
		found = append(found, v.examineSnapshots(ctx, r)...)
		found = append(found, s.examineChecks(v.name))
		for _, alarm := range alarms(s.allRuns(), v.name) {
			found = append(found, warning("%s", alarm))
		}
	}
	for _, j := range c.jobsOf(v.name) {
		for _, source := range sameDisk(v.location, j) {
			found = append(found, warning("lies on the same disk as %s: a repository there protects against nothing that takes the disk", source))
		}
	}
	if v.kitMissing(ctx, c) {
		found = append(found, warning("nobody has confirmed that the recovery kit was saved: %s", v.command("kit")))
	}
	return found
}

// probeFolder is where the probe lies: other programs pass over names there that are no IDs, and a place for a new
// repository stays empty for us.
const probeFolder = "locks/"

// examineStorage writes a small file, reads it back and deletes it.
func (v *vault) examineStorage(ctx context.Context) Diagnosis {
	name := probeFolder + "doctor-" + hex.EncodeToString(randomBytes(8))
	data := randomBytes(64)
	began := v.service.now()
	err := v.storage.Put(ctx, name, data)
	if err == nil {
		var back []byte
		if back, err = v.storage.Get(ctx, name, 0, -1); err == nil && !bytes.Equal(back, data) {
			err = errors.New("what is read there is not what was written")
		}
	}
	late, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	if gone := v.storage.Delete(late, name); gone != nil && (err == nil || !errors.Is(gone, fs.ErrNotExist)) {
		err = errors.Join(err, gone)
	}
	if err != nil {
		return wrong(v.explain(err))
	}
	return well("a small file was written, read and deleted in %s", v.service.now().Sub(began).Round(time.Millisecond))
}

// examineSpace compares the space that is left with what the last backups took.
func (s *Service) examineSpace(ctx context.Context, config RepositoryConfig) Diagnosis {
	teller, ok := config.Storage.(SpaceTeller)
	if !ok {
		return note("how much space is left is not known")
	}
	free, known := teller.FreeSpace(ctx)
	if !known {
		return note("how much space is left is not known")
	}
	var most int64
	for _, r := range s.allRuns() {
		if r.Repository == config.Name && r.State == StateOK {
			most = max(most, r.Progress.Stored)
		}
	}
	text := humanize.IBytes(uint64(max(free, 0))) + " are free"
	switch {
	case free < max(tooLittleSpace, most):
		return wrong(fmt.Errorf("%s: too little for a backup; make room, or prune", text))
	case free < max(scarceSpace, 2*most):
		return warning("%s: that may not last for long", text)
	}
	return well("%s", text)
}

// examineLocks finds the locks that will be in the way.
func (v *vault) examineLocks(ctx context.Context, c *setup) (found []Diagnosis) {
	_, locks, err := v.locks(ctx, c)
	if err != nil {
		return []Diagnosis{wrong(err)}
	}
	for _, l := range locks {
		switch {
		case l.Held:
		case l.Unreadable:
			found = append(found, wrong(fmt.Errorf("the lock %s cannot be read, and is in the way of everything: %s", l.ID.Short(), v.command("unlock --all"))))
		case l.Stale != "" && l.Exclusive:
			found = append(found, wrong(fmt.Errorf("a dead lock is in the way of everything, of %s, %s: %s", l.holder(), l.Stale, v.command("unlock"))))
		case l.Stale != "":
			found = append(found, warning("a dead lock is in the way of prune and repair, of %s, %s: %s", l.holder(), l.Stale, v.command("unlock")))
		case l.Exclusive:
			found = append(found, warning("%s works with it alone since %s, and runs must wait", l.holder(), minute(l.Time)))
		}
	}
	return found
}

// examineKeys finds key files that are of no use, or too many.
func (v *vault) examineKeys(ctx context.Context, r *repo.Repository) (found []Diagnosis) {
	keys, err := r.Keys(ctx)
	if err != nil {
		return []Diagnosis{wrong(v.explain(err))}
	}
	for _, k := range keys {
		if k.Damaged != "" {
			found = append(found, warning("the key file %s opens nothing (%s), and restic may stop at it: %s", k.ID.Short(), k.Damaged,
				v.command("key remove "+k.ID.Short())))
		}
	}
	if len(keys) > repo.MaxKeys {
		found = append(found, warning("there are %d keys, and only %d are tried: some passwords may not open it; remove some", len(keys), repo.MaxKeys))
	}
	own, err := v.ownKey(ctx, r)
	switch {
	case err != nil:
		found = append(found, wrong(err))
	case own.IsZero():
		found = append(found, wrong(fmt.Errorf("the password opens it no more: it goes on only until the server is started again; "+
			"put the right one into the configuration")))
	}
	if v.changed.Load() != nil {
		found = append(found, warning("the password was changed, and the configuration still has the old one: %s", v.newInConfig()))
	}
	return found
}

// examineSnapshots reads what there is, and compares it with the clock.
func (v *vault) examineSnapshots(ctx context.Context, r *repo.Repository) []Diagnosis {
	all, err := r.Snapshots(ctx)
	if err != nil {
		return []Diagnosis{wrong(v.explain(err))}
	}
	if len(all) == 0 {
		return []Diagnosis{note("there are no snapshots in it yet")}
	}
	if now := v.service.now(); all[0].Time.Sub(now) > maxSkew {
		return []Diagnosis{wrong(fmt.Errorf("the clock shows %s, and the newest snapshot is of %s: a clock is wrong, here or where it was made",
			minute(now), minute(all[0].Time)))}
	}
	return []Diagnosis{well("%s, the newest of %s", plural(len(all), "snapshot"), minute(all[0].Time))}
}

// examineChecks tells what the last check said.
func (s *Service) examineChecks(repository string) Diagnosis {
	run := verdict(s.allRuns(), repository)
	switch {
	case run == nil:
		return note("it was never checked: caddy backup check --repository %s", shellWord(repository))
	case run.State == StateFailed:
		return wrong(errors.New("the last check " + complaint(*run, s.now())))
	}
	return well("the last check was ok, %s: %s", ago(run.Ended, s.now()), strings.TrimSpace(run.Summary))
}

// FreeSpace is how many bytes can still be written below a path, or where it will be made; false when that is not known.
func FreeSpace(path string) (int64, bool) {
	for {
		if free, known := freeSpace(path); known || path == filepath.Dir(path) {
			return free, known
		}
		path = filepath.Dir(path)
	}
}
