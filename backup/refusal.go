package backup

import (
	"fmt"
	"strings"
	"time"

	"github.com/caddy-backup/caddy-backup/repo"
)

// clockTolerance is how far in the future something may lie that others wrote, or that we wrote before, without a doubt
// about the clock of this machine.
const clockTolerance = 15 * time.Minute

// refusal says why nothing may be deleted now, judged by what was seen; nil when it may. What is missing would be taken for
// not needed by a prune, and ages mean nothing to a wrong clock. accept is for what others did; leaving are snapshots that are
// about to go, whose times do not matter.
func (v *vault) refusal(seen *sight, now time.Time, accept bool, leaving ...repo.Snapshot) error {
	switch {
	case seen.damaged != nil:
		return fmt.Errorf("%w, nothing was deleted: %w; bring it back from a copy of the repository, or give it up: %s", ErrRefused, seen.damaged,
			v.command("repair snapshots --forget"))
	case seen.forgotten != nil:
		return fmt.Errorf("%w, nothing was deleted: %w", ErrRefused, seen.forgotten)
	case len(seen.alarms) > 0 && !accept:
		return fmt.Errorf("%w, nothing was deleted: %s", ErrRefused, strings.Join(seen.alarms, "; and "))
	case len(seen.snapshots) == 0 && !accept:
		return fmt.Errorf("%w, nothing was deleted: there is no snapshot in the repository: is it the right one, and all of it there? "+
			"If it is, add --accept-fewer", ErrRefused)
	}
	latest := now.Add(clockTolerance)
	for _, s := range seen.snapshots {
		if s.Time.After(latest) && !containsSnapshot(leaving, s.ID) {
			return fmt.Errorf("%w, nothing was deleted: it is %s by the clock of this machine, and snapshot %s is of %s: correct the clock, "+
				"or, if it was wrong then, delete that snapshot first (%s)", ErrRefused, minute(now), s.ID.Short(), minute(s.Time),
				v.command("delete "+s.ID.Short()))
		}
	}
	if last := seen.before.Seen; last.After(latest) && !accept {
		return fmt.Errorf("%w, nothing was deleted: it is %s by the clock of this machine, and the last run here was at %s: correct "+
			"the clock, or, if it was wrong then, add --accept-fewer", ErrRefused, minute(now), minute(last))
	}
	return nil
}
