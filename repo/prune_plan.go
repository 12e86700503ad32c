package repo

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"time"
)

// verdict is what becomes of an indexed pack.
type verdict uint8

const (
	keepPack   verdict = iota // stays as it is
	dropPack                  // nobody needs anything in it
	repackPack                // what is needed in it goes into new packs, and then it goes
)

// planOptions are what decides beside the packs.
type planOptions struct {
	maxUnused float64  // as in PruneOptions, with the default filled in
	small     [2]int64 // packs of each type below this are small
}

const (
	// Small packs are merged when there are so many of their type; fewer are not worth the trouble.
	enoughSmall = 10

	// As many small index files as this stay as they are; each costs those who open the repository a request.
	fewIndexFiles = 3

	// orphanAge is how old a pack must be that no index lists. A younger one may be what a backup has just written,
	// whose lock somebody has removed.
	orphanAge = 24 * time.Hour
)

// planPacks decides for each pack. It refuses when a needed one is missing or has another size than its index says:
// then the index, the storage or its listing is wrong, and nothing may be deleted by it.
func planPacks(packs []packState, o planOptions) ([]verdict, error) {
	if err := allThere(packs); err != nil {
		return nil, err
	}
	verdicts := make([]verdict, len(packs))
	merge := mergeSmall(packs, o)
	var holes []int // packs that could be repacked for the sake of space
	used, left := int64(0), int64(0)
	for n := range packs {
		p := &packs[n]
		used += p.used
		switch {
		case p.usedBlobs == 0:
			verdicts[n] = dropPack
		case p.suspect: // what can be read of it is better left where it is
			left += p.unused()
		case !p.tidy(), merge[p.kind()] && isSmall(p, o):
			verdicts[n] = repackPack
		case p.unused() > 0:
			left += p.unused()
			holes = append(holes, n)
		}
	}
	slices.SortFunc(holes, func(a, b int) int { return compareHoles(&packs[a], &packs[b]) })
	for _, n := range holes {
		if float64(left) <= mayStay(used, o.maxUnused) {
			break
		}
		verdicts[n] = repackPack
		left -= packs[n].unused()
	}
	return verdicts, nil
}

func allThere(packs []packState) error {
	var bad errorList
	for n := range packs {
		p := &packs[n]
		switch {
		case p.usedBlobs == 0 || p.size == p.expected:
		case p.size < 0:
			bad = append(bad, fmt.Errorf("pack %s is missing, and snapshots need it: %w", p.id, ErrDamaged))
		default:
			bad = append(bad, fmt.Errorf("pack %s is %d bytes long, its index says %d, and snapshots need it: %w",
				p.id, p.size, p.expected, ErrDamaged))
		}
		if len(bad) == 10 {
			bad = append(bad, errors.New("and maybe more"))
			break
		}
	}
	return bad.orNil()
}

// mergeSmall tells for each type whether there are so many small packs that are fully used that merging them pays.
func mergeSmall(packs []packState, o planOptions) (merge [2]bool) {
	var count [2]int
	for n := range packs {
		p := &packs[n]
		if p.usedBlobs > 0 && p.unused() == 0 && p.tidy() && !p.suspect && isSmall(p, o) {
			count[p.kind()]++
		}
	}
	return [2]bool{count[DataBlob] >= enoughSmall, count[TreeBlob] >= enoughSmall}
}

func isSmall(p *packState, o planOptions) bool { return p.size < o.small[p.kind()] }

// compareHoles puts first what frees most for what has to be copied; trees before data, since they are read most often.
func compareHoles(a, b *packState) int {
	return cmp.Or(
		compareBools(b.trees > 0, a.trees > 0),
		cmp.Compare(float64(b.unused())*float64(a.used), float64(a.unused())*float64(b.used)),
		compareIDs(&a.id, &b.id),
	)
}

// mayStay is how many unused bytes may stay beside so many used ones.
func mayStay(used int64, share float64) float64 {
	switch {
	case share <= 0:
		return 0
	case share >= 1:
		return float64(1 << 62)
	}
	return float64(used) * share / (1 - share)
}

// without gives the plan in which nothing is written anew.
func without(verdicts []verdict, what verdict) []verdict {
	plan := slices.Clone(verdicts)
	for n, v := range plan {
		if v == what {
			plan[n] = keepPack
		}
	}
	return plan
}

// indexChange is a step of renewing the index. First the packs are listed anew, then the files are deleted, and then the
// packs that no file lists any more.
type indexChange struct {
	list  []uint32
	files []ID
	drop  []uint32
}

// planIndex decides which index files go, and which packs must be listed anew: those that stay and that no file lists
// any more. Besides those that list a pack which goes, all go that list a pack which another one lists too, since each
// pack should be listed once; and small ones, where that makes fewer files.
func planIndex(c *catalog, verdicts []verdict) indexChange {
	var change indexChange
	var small []catalogFile
	listed := newBitset(len(c.packs))
	for _, f := range c.files {
		if c.stale(f, verdicts) {
			change.files = append(change.files, f.id)
			continue
		}
		blobs := 0
		for _, n := range f.packs {
			listed.set(int(n))
			blobs += c.size(n)
		}
		if blobs < indexFileBlobs/2 {
			small = append(small, f)
		}
	}
	for n, v := range verdicts {
		switch {
		case v != keepPack:
			change.drop = append(change.drop, uint32(n))
		case !listed.has(n):
			change.list = append(change.list, uint32(n))
		}
	}
	written := len(c.split(change.list))
	if slices.Contains(verdicts, repackPack) {
		written++ // for the new packs
	}
	if len(small)+written <= fewIndexFiles {
		return change
	}
	merged := change.list
	for _, f := range small {
		merged = slices.Concat(merged, f.packs)
	}
	if len(c.split(merged)) < len(c.split(change.list))+len(small) {
		change.list = merged
		for _, f := range small {
			change.files = append(change.files, f.id)
		}
	}
	return change
}

// stale reports whether an index file cannot stay.
func (c *catalog) stale(f catalogFile, verdicts []verdict) bool {
	if len(f.packs) == 0 {
		return true
	}
	for _, n := range f.packs {
		if verdicts[n] != keepPack || c.listings[n] > 1 {
			return true
		}
	}
	return false
}

// split distributes packs over index files, and sorts the list that it is given.
func (c *catalog) split(packs []uint32) [][]uint32 {
	slices.SortFunc(packs, func(a, b uint32) int { return compareIDs(&c.packs[a], &c.packs[b]) })
	return splitList(packs, c.size)
}

// planDrops is planIndex for a full disk, in small steps that only drop packs: one for each index file that lists any of
// those, beginning with the files that list nothing else, for which nothing has to be written. Each step is whole
// in itself; what it frees serves the next.
func planDrops(c *catalog, verdicts []verdict) []indexChange {
	listings, relisted := make([]int, len(c.packs)), newBitset(len(c.packs))
	var files []catalogFile
	for _, f := range c.files {
		drops := len(f.packs) == 0
		for _, n := range f.packs {
			listings[n]++
			drops = drops || verdicts[n] == dropPack
		}
		if drops {
			files = append(files, f)
		}
	}
	kept := func(f catalogFile) (blobs int) {
		for _, n := range f.packs {
			if verdicts[n] != dropPack {
				blobs += c.size(n)
			}
		}
		return blobs
	}
	slices.SortStableFunc(files, func(a, b catalogFile) int { return cmp.Compare(kept(a), kept(b)) })
	var changes []indexChange
	for _, f := range files {
		change := indexChange{files: []ID{f.id}}
		for _, n := range f.packs {
			listings[n]--
			switch {
			case verdicts[n] != dropPack && relisted.set(int(n)):
				change.list = append(change.list, n)
			case verdicts[n] == dropPack && listings[n] == 0:
				change.drop = append(change.drop, n)
			}
		}
		changes = append(changes, change)
	}
	return changes
}
