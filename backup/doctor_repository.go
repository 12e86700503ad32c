package backup

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
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
		found = append(found, well("opens at %s", v.location))
	}
	found = append(append(found, v.examineStorage(ctx)...), s.examineSpace(ctx, config))
	if x, ok := config.Storage.(Examiner); ok {
		found = append(found, x.Examine(ctx, s.examining())...)
	}
	if r != nil {
		found = append(found, v.examineLocks(ctx, c)...)
		found = append(found, v.examineKeys(ctx, r)...)
		found = append(found, v.examinePasswordFiles(config.PasswordFiles)...)
		found = append(found, v.examineSnapshots(ctx, c, r)...)
		found = append(found, s.examineChecks(v.name))
		for _, alarm := range alarms(s.allRuns(), v.name) {
			found = append(found, warning("%s", alarm))
		}
	}
	var beside []string
	for _, j := range c.jobsOf(v.name) {
		beside = append(beside, sameDisk(v.location, j)...)
	}
	if len(beside) > 0 {
		found = append(found, warning("lies on the same disk as %s: a repository there protects against nothing that takes the disk; give it a storage on another",
			strings.Join(beside, ", ")))
	}
	if v.kitMissing(ctx, c) {
		found = append(found, warning("nobody has confirmed that the recovery kit was saved: %s", v.command("kit")))
	}
	return found
}

// cleanTime is how long the removal of a probe may take, also when nobody waits for the examination any more.
const cleanTime = 10 * time.Second

var errNotAsWritten = errors.New("what is read there is not what was written")

// probeFolder is where the probe lies: other programs pass over names there that are no IDs, and a place for a new
// repository stays empty for us.
const probeFolder = "locks/"

// examineStorage writes a small file, reads it back and deletes it. The time that the storage gives it shows the storage's clock.
func (v *vault) examineStorage(ctx context.Context) []Diagnosis {
	name := probeFolder + "doctor-" + hex.EncodeToString(randomBytes(8))
	data := randomBytes(64)
	began := v.service.now()
	err := v.storage.Put(ctx, name, data)
	var found []Diagnosis
	if err == nil {
		found = v.examineStorageClock(ctx, name)
		var back []byte
		if back, err = v.storage.Get(ctx, name, 0, -1); err == nil && !bytes.Equal(back, data) {
			err = errNotAsWritten
		}
	}
	late, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanTime)
	defer cancel()
	if gone := v.storage.Delete(late, name); gone != nil && (err == nil || !errors.Is(gone, fs.ErrNotExist)) {
		err = errors.Join(err, gone)
	}
	if err != nil {
		return append(found, wrong(v.explain(err)))
	}
	return append(found, well("written, read and deleted in %s", v.service.now().Sub(began).Round(time.Millisecond)))
}

// examineStorageClock compares our clock with the time of a file that was written just now.
func (v *vault) examineStorageClock(ctx context.Context, name string) (found []Diagnosis) {
	for fi, err := range v.storage.List(ctx, path.Dir(name)) {
		switch {
		case err != nil:
			return []Diagnosis{wrong(v.explain(err))}
		case fi.Name != name:
		case fi.ModTime.IsZero():
			return []Diagnosis{note("the storage's clock cannot be read")}
		default:
			if d := ClockApart("the storage", fi.ModTime, v.service.now()); d != nil {
				found = append(found, *d)
			}
			return found
		}
	}
	return []Diagnosis{wrong(fmt.Errorf("the storage does not list what was written to it just now: %s", name))}
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
	prune := "caddy backup prune --repository " + shellWord(config.Name)
	switch {
	case free < max(tooLittleSpace, most):
		return wrong(fmt.Errorf("%s: too little for a backup; make room at %s, or: %s", text, config.Storage.Location(), prune))
	case free < max(scarceSpace, 2*most):
		return warning("%s: that may not last for long; make room at %s, or: %s", text, config.Storage.Location(), prune)
	}
	return well("%s free", humanize.IBytes(uint64(free)))
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
	case errors.Is(err, errPasswordLost):
		found = append(found, wrong(fmt.Errorf("%w; %s, and write that one into the configuration", err, v.rescue())))
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

// examinePasswordFiles looks whether the password could be read again: while the server runs, nobody misses it, and once it has
// stopped it is too late.
func (v *vault) examinePasswordFiles(files []string) (found []Diagnosis) {
	for _, name := range files {
		if info, err := os.Stat(name); err == nil && !info.Mode().IsRegular() {
			continue // a pipe: who reads it waits, or takes the password away from the next start
		}
		data, err := os.ReadFile(name)
		if err == nil && len(bytes.TrimSpace(data)) == 0 {
			err = fmt.Errorf("file %s is empty", name)
		}
		if err != nil {
			found = append(found, wrong(fmt.Errorf("its password cannot be read again, and Caddy would not start: %w; write it there anew (it stands in "+
				"the recovery kit); %s", err, v.rescue())))
		}
	}
	return found
}

// rescue is the way out for who has lost the password of a repository that is still open.
func (v *vault) rescue() string {
	return "when it is lost, let this server run on, and make another: " + v.command("key add")
}

// examineSnapshots reads what there is, and compares it with the clock.
func (v *vault) examineSnapshots(ctx context.Context, c *setup, r *repo.Repository) []Diagnosis {
	all, err := r.Snapshots(ctx)
	if err != nil {
		return []Diagnosis{wrong(v.explain(err))}
	}
	if len(all) == 0 {
		return []Diagnosis{note("there are no snapshots in it yet")}
	}
	if now := v.service.now(); all[0].Time.Sub(now) > maxSkew {
		return []Diagnosis{wrong(fmt.Errorf("the clock shows %s, and the newest snapshot is of %s: a clock is wrong, here or where it was made; set it (timedatectl set-ntp true)",
			minute(now), minute(all[0].Time)))}
	}
	return append([]Diagnosis{well("%s, newest %s", plural(len(all), "snapshot"), minute(all[0].Time))}, orphans(c, all)...)
}

// orphans tells of jobs of this host that made snapshots and are not there any more: one that was added at run time is lost
// with Caddy's storage, and nothing else would ever miss it. all are sorted newest first.
func orphans(c *setup, all []repo.Snapshot) (found []Diagnosis) {
	told := map[string]bool{}
	for _, s := range all {
		job := jobOf(s)
		if _, err := c.job(job); err == nil || job == "" || s.Hostname != c.Host || told[job] {
			continue
		}
		told[job] = true
		found = append(found, note("job %s made snapshots of this host, the newest at %s, and is not there any more; if it should be: caddy backup add --help",
			job, minute(s.Time)))
	}
	return found
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
