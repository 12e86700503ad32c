package backup

import (
	"maps"

	"github.com/caddy-backup/caddy-backup/repo"
)

// Sight is what lies in the repository, as a run that looked has left it.
type Sight struct {
	Snapshots int            `json:"snapshots"`
	Jobs      map[string]int `json:"jobs,omitempty"`       // how many of them are a job's of this host
	PackBytes *int64         `json:"pack_bytes,omitempty"` // what all packs take; nil when the run did not list them
	Alarms    []string       `json:"alarms,omitempty"`     // what others removed, or added to the keys, since it was accepted last
	Missing   int            `json:"missing,omitempty"`    // of an alarm: the snapshots that others removed
}

// tell is what others are told of it.
func (now *sight) tell(host string) *Sight {
	s := &Sight{Snapshots: len(now.snapshots), Jobs: map[string]int{}, Alarms: now.alarms}
	if len(now.alarms) > 0 {
		s.Missing = len(now.before.missing(now.snapshots))
	}
	for _, x := range now.snapshots {
		if job := jobOf(x); job != "" && x.Hostname == host {
			s.Jobs[job]++
		}
	}
	return s
}

// leaves changes what a run leaves in the repository, if it looked.
func (r *runner) leaves(change func(*Sight)) {
	r.update(func(run *Run) {
		if run.Seen == nil {
			return
		}
		next := *run.Seen // the old one may be somebody's by now
		next.Jobs = maps.Clone(next.Jobs)
		change(&next)
		run.Seen = &next
	})
}

// leavesSnapshots counts snapshots that the run made, 1 each, or deleted, -1 each.
func (r *runner) leavesSnapshots(each int, list ...repo.Snapshot) {
	r.leaves(func(left *Sight) {
		for _, s := range list {
			left.Snapshots += each
			if job := jobOf(s); job != "" && s.Hostname == r.setup.Host {
				left.Jobs[job] += each
			}
		}
	})
}

// leavesPacks notes the size of all packs, in bytes.
func (r *runner) leavesPacks(bytes int64) { r.leaves(func(left *Sight) { left.PackBytes = &bytes }) }

// lastSight is what the newest of runs, from new to old, that looked into a repository left there; PackBytes are those of the
// newest that listed packs. nil when none has looked.
func lastSight(runs []Run, repository string) *Sight {
	var last *Sight
	for _, r := range runs {
		if r.Repository != repository || r.Seen == nil {
			continue
		}
		if last == nil {
			seen := *r.Seen
			last = &seen
		}
		if last.PackBytes == nil {
			last.PackBytes = r.Seen.PackBytes
		}
		if last.PackBytes != nil {
			break
		}
	}
	return last
}
