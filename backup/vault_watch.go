package backup

import (
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"time"

	"github.com/caddy-backup/caddy-backup/repo"
)

// sight is the same with everything that a decision needs.
type sight struct {
	snapshots []repo.Snapshot // newest first, those that can be read
	damaged   error           // names those that cannot be read; then nothing was compared
	keys      []repo.ID
	before    memory // what was remembered until now
	forgotten error  // why nothing is known of that
	alarms    []string
}

// look has a run, under its lock, read which snapshots and keys there are, and compare them with what is remembered.
// What others removed is an alarm: it is told by the run, and by Health, until a run is told to accept it, or it is back. An
// alarm is no error: a backup must go on beside it, and what deletes asks refusal.
func (v *vault) look(ctx context.Context, run *runner, r *repo.Repository, accept bool) (*sight, error) {
	now := v.recall(ctx, run.setup)
	var err error
	if now.snapshots, err = r.Snapshots(ctx); errors.Is(err, repo.ErrDamaged) {
		now.damaged = err
	} else if err != nil {
		return nil, err
	}
	if now.keys, err = v.keyFiles(ctx); err != nil {
		return nil, err
	}
	now.compare(v, r.Config().ID)
	v.judge(ctx, run, now, accept)
	return now, nil
}

// recall begins a look with what is remembered. It comes before anything is listed: what a backup beside us adds meanwhile
// must not look as if it were gone.
func (v *vault) recall(ctx context.Context, c *setup) *sight {
	now := &sight{}
	now.before, now.forgotten = v.remembered(ctx, c)
	return now
}

// compare compares what is there with what is remembered of the repository with this ID.
func (now *sight) compare(v *vault, id string) {
	if now.forgotten != nil || now.damaged != nil {
		return
	}
	if now.before.ID != id {
		now.before = memory{ID: id}
	}
	for _, alarm := range now.before.compare(now.snapshots, now.keys) {
		now.alarms = append(now.alarms, alarm+"; put that right, or accept what is there now ("+v.command("check --accept-fewer")+")")
	}
}

// judge tells what was found, and remembers what is there unless an alarm stands.
func (v *vault) judge(ctx context.Context, run *runner, now *sight, accept bool) {
	if now.forgotten != nil || now.damaged != nil {
		if now.forgotten != nil {
			run.log.Warn("cannot tell whether anything was removed from the repository", "error", now.forgotten)
		}
		return
	}
	for _, alarm := range now.alarms {
		if accept {
			run.log.Warn("alarm accepted", "by", run.run.By, "alarm", alarm)
		} else {
			run.log.Error(alarm)
		}
	}
	if accept {
		now.alarms = nil
	}
	run.update(func(x *Run) { x.Seen = now.tell(run.setup.Host) })
	v.remember(ctx, run.setup, now.before.ID, func(m *memory) {
		if at := v.service.now().UTC(); accept || at.After(m.Seen) {
			m.Seen = at // back in time it goes only by somebody's word that the clock was wrong
		}
		if accept || len(m.compare(now.snapshots, now.keys)) == 0 { // else others of us have changed it since we looked
			m.take(now.snapshots, now.keys)
		}
	})
}

// keyFiles lists the key files.
func (v *vault) keyFiles(ctx context.Context) (ids []repo.ID, err error) {
	for f, err := range v.storage.List(ctx, "keys") {
		if err != nil {
			return nil, fmt.Errorf("cannot list the keys: %w", err)
		}
		if id, err := repo.ParseID(path.Base(f.Name)); err == nil {
			ids = append(ids, id)
		}
	}
	return ids, nil
}

// take remembers what is there as what has to be there.
func (m *memory) take(snapshots []repo.Snapshot, keys []repo.ID) {
	m.Snapshots = make([]seenSnapshot, len(snapshots))
	for i, s := range snapshots {
		m.Snapshots[i] = seenSnapshot{s.StableID(), s.Time}
	}
	m.Keys, m.Removing, m.ChangingKeys = keys, nil, false
}

// compare says what of the remembered things is not there, and which keys are new: a sentence each, without its end.
func (m *memory) compare(snapshots []repo.Snapshot, keys []repo.ID) []string {
	var alarms []string
	if missing := m.missing(snapshots); len(missing) > 0 {
		alarms = append(alarms, m.loss(missing, len(snapshots)))
	}
	if m.ChangingKeys || m.Keys == nil {
		return alarms
	}
	for _, change := range []struct {
		had, have []repo.ID
		what      string
	}{{m.Keys, keys, "removed"}, {keys, m.Keys, "added"}} {
		for _, id := range without(change.had, change.have) {
			alarms = append(alarms, fmt.Sprintf("the key %s was %s by another program", id.Short(), change.what))
		}
	}
	return alarms
}

// missing lists the remembered snapshots that are not there, but for those that we were about to remove ourselves.
func (m *memory) missing(snapshots []repo.Snapshot) (missing []seenSnapshot) {
	there := make(map[repo.ID]bool, len(snapshots))
	for _, s := range snapshots {
		there[s.StableID()] = true
	}
	for _, id := range m.Removing {
		there[id] = true
	}
	for _, s := range m.Snapshots {
		if !there[s.ID] {
			missing = append(missing, s)
		}
	}
	return missing
}

// loss tells three kinds of it apart. left is how many snapshots there are now.
func (m *memory) loss(missing []seenSnapshot, left int) string {
	newest := func(a, b seenSnapshot) int { return a.Time.Compare(b.Time) }
	lost, last := len(missing), slices.MaxFunc(missing, newest).Time
	firstLost := slices.MinFunc(missing, newest).Time
	kept := slices.DeleteFunc(slices.Clone(m.Snapshots), func(s seenSnapshot) bool { return slices.Contains(missing, s) })
	switch {
	case left == 0:
		return fmt.Sprintf("the repository was emptied, and had %s, the newest of %s", plural(lost, "snapshot"), minute(last))
	case len(kept) > 0 && slices.MaxFunc(kept, newest).Time.Before(firstLost):
		return fmt.Sprintf("the repository looks like an older copy of itself, which ends with the snapshot of %s, and had %s after that, the last of %s",
			minute(slices.MaxFunc(kept, newest).Time), plural(lost, "snapshot"), minute(last))
	}
	return fmt.Sprintf("%s removed by another program, the newest of %s; %d are left", were(lost, "snapshot"), minute(last), left)
}

// minute is a time as messages tell it.
func minute(t time.Time) string { return t.UTC().Format("2006-01-02 15:04 UTC") }

// made remembers a snapshot that a run of ours has made, unless an alarm stands: then what was there before is what counts.
func (v *vault) made(ctx context.Context, c *setup, seen *sight, s repo.Snapshot) {
	if seen.forgotten != nil || seen.damaged != nil || len(seen.alarms) > 0 {
		return
	}
	v.remember(ctx, c, seen.before.ID, func(m *memory) {
		m.Snapshots = append(m.Snapshots, seenSnapshot{s.StableID(), s.Time})
	})
}

// changeKeys has change add or remove key files, so that the watch knows that we did it, also when this process dies in
// the middle of it. Nothing is changed when that cannot be written down.
func (v *vault) changeKeys(ctx context.Context, c *setup, r *repo.Repository, change func(context.Context) error) error {
	id := r.Config().ID
	before, err := v.keyFiles(ctx)
	if err != nil {
		return err
	}
	err = v.remember(ctx, c, id, func(m *memory) {
		if m.ChangingKeys && m.Keys != nil {
			m.Keys = before // an earlier change was cut off: whatever it got to was our doing
		}
		m.ChangingKeys = true
	})
	if err != nil {
		return fmt.Errorf("cannot write down that keys are about to change: %w", err)
	}
	failed := change(ctx)
	ctx = context.WithoutCancel(ctx)
	after, err := v.keyFiles(ctx)
	if err != nil {
		return errors.Join(failed, err) // the next look takes them as they are
	}
	v.remember(ctx, c, id, func(m *memory) {
		m.ChangingKeys = false
		if m.Keys != nil { // what others did meanwhile stays their doing
			m.Keys = append(without(m.Keys, without(before, after)), without(after, before)...)
		}
	})
	return failed
}

// without is a list less what is in another.
func without[T comparable](list, less []T) []T {
	return slices.DeleteFunc(slices.Clone(list), func(x T) bool { return slices.Contains(less, x) })
}
