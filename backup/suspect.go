package backup

import (
	"fmt"
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

// suspicions compares the folders that were dumped with the last good snapshot: where that had files and there is none
// now, a disk may not be mounted. What cannot be compared is suspect too.
func (b *backupRun) suspicions() suspicion {
	var all suspicion
	for _, p := range b.manifest.Parts {
		if !p.Folder || p.Files > 0 || b.parent == nil {
			continue
		}
		before := b.before.part(p.Name)
		switch {
		case b.before == nil:
			all = append(all, fmt.Sprintf("folder %s is empty, and what it held in the last good snapshot (%s) cannot be read", p.Name,
				b.parent.ID.Short()))
		case before != nil && before.Files > 0:
			all = append(all, fmt.Sprintf("folder %s is empty, and had %s in the last good snapshot %s (is its disk mounted?)", p.Name,
				plural(before.Files, "file"), b.parent.ID.Short()))
		}
	}
	return all
}

// about adds what to do when nothing is wrong with the snapshot.
func (s suspicion) about(id repo.ID) suspicion {
	if s == nil {
		return nil
	}
	return append(slices.Clip(s), fmt.Sprintf("if it is right as it is, say so with: restic tag --remove %s %s", tagSuspect, id.Short()))
}
