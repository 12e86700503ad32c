package backup

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/dustin/go-humanize"

	"github.com/caddy-backup/caddy-backup/repo"
)

// subset is how much of the data a check reads: a share of all bytes, a number of bytes, or one of several groups of packs.
// Of a share or a number the packs come first that were not read for the longest time.
type subset struct {
	text    string
	percent float64 // 0: not a share
	bytes   int64   // 0: not a number
	group   int     // from 1
	groups  int     // 0: not a group
}

// maxGroups is how many groups the first byte of a pack's ID can tell apart.
const maxGroups = 256

// parseSubset reads "5%", "2/10" or "500MiB". "" is no subset: all data. ErrInvalid.
func parseSubset(text string) (subset, error) {
	s := subset{text: text}
	bad := func(why string) (subset, error) {
		return subset{}, fmt.Errorf("%w read-data subset %q: %s; write for instance 5%%, 2/10 or 500MiB", ErrInvalid, text, why)
	}
	var err error
	switch share, isShare := strings.CutSuffix(text, "%"); {
	case text == "":
	case isShare:
		if s.percent, err = strconv.ParseFloat(share, 64); err != nil || !(s.percent > 0 && s.percent <= 100) {
			return bad("a share is more than 0% and at most 100%")
		}
	case strings.Contains(text, "/"):
		group, groups, _ := strings.Cut(text, "/")
		var err2 error
		s.group, err = strconv.Atoi(group)
		s.groups, err2 = strconv.Atoi(groups)
		if err != nil || err2 != nil || s.groups < 1 || s.groups > maxGroups || s.group < 1 || s.group > s.groups {
			return bad(fmt.Sprintf("a group is n/m, n from 1 to m, m at most %d", maxGroups))
		}
	default:
		n, err := humanize.ParseBytes(text)
		if err != nil || n == 0 || n > math.MaxInt64 {
			return bad("neither a share, a group nor a number of bytes")
		}
		s.bytes = int64(n)
	}
	return s, nil
}

// rounds is after how many runs with this share everything was read; 0 when the subset does not say.
func (s subset) rounds() uint32 {
	if s.percent == 0 {
		return 0
	}
	return uint32(min(math.Ceil(100/s.percent), math.MaxUint32/2))
}

// choose picks the packs to be read in a run.
//
// A share is of the bytes that are there now. Packs come and go meanwhile, and when many go that were read already, the
// share of what is left may be too little; so a pack whose last turn is as many runs ago as the share allows for is read in any
// case. That makes it a promise: n runs of 100/n percent read every pack.
func (s subset) choose(packs []repo.PackInfo, reads *reads) []repo.ID {
	if s.groups > 0 {
		packs = slices.DeleteFunc(slices.Clone(packs), func(p repo.PackInfo) bool { return int(p.ID[0])%s.groups != s.group-1 })
		return packIDs(packs)
	}
	quota := s.bytes
	if s.percent > 0 {
		quota = int64(math.Ceil(float64(packBytes(packs)) * s.percent / 100))
	}
	if quota == 0 { // no subset: all
		return packIDs(packs)
	}
	packs = slices.Clone(packs)
	slices.SortFunc(packs, func(a, b repo.PackInfo) int {
		x, y := reads.of(a.ID), reads.of(b.ID)
		return cmp.Or(cmp.Compare(x.turn, y.turn), cmp.Compare(x.at, y.at), strings.Compare(a.ID.String(), b.ID.String()))
	})
	n, size := 0, int64(0)
	for ; n < len(packs) && (size < quota || reads.overdue(packs[n].ID, s.rounds())); n++ {
		size += packs[n].Size
	}
	return packIDs(packs[:n])
}

func packIDs(packs []repo.PackInfo) []repo.ID {
	ids := make([]repo.ID, len(packs))
	for i, p := range packs {
		ids[i] = p.ID
	}
	return ids
}

func packBytes(packs []repo.PackInfo) (size int64) {
	for _, p := range packs {
		size += p.Size
	}
	return size
}
