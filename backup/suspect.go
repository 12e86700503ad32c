package backup

import (
	"slices"
	"strings"

	"github.com/caddy-backup/caddy-backup/repo"
)

// suspicion is the error of a backup that was made, and looks as if its source was not there: the reasons. Its snapshot
// bears tagSuspect. It is not what later ones are compared with, so that all are suspect until the source is back.
type suspicion []string

func (s suspicion) Error() string { return strings.Join(s, "; ") }

// inDoubt tells which of all snapshots are no good ones: made in doubt or of what a restore was about to replace,
// repaired after they lost something, or the old ones of which such are, as long as they are there.
func inDoubt(all []repo.Snapshot) func(repo.Snapshot) bool {
	spoilt := map[repo.ID]bool{}
	for _, s := range all {
		if slices.Contains(s.Tags, repo.TagRepaired) {
			spoilt[s.StableID()] = true
		}
	}
	return func(s repo.Snapshot) bool {
		return slices.Contains(s.Tags, tagSuspect) || safety(s) || spoilt[s.StableID()]
	}
}

// about adds what to do when nothing is wrong with the snapshot.
func (s suspicion) about(v *vault, id repo.ID) suspicion {
	if s == nil {
		return nil
	}
	return append(slices.Clip(s), "if it is right as it is, say so with: "+v.command("accept "+id.Short()))
}
