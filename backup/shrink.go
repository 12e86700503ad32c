package backup

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/dustin/go-humanize"

	"github.com/caddy-backup/caddy-backup/repo"
)

// DefaultShrinkLimit is by how much, in percent, a part may shrink from one good snapshot to the next in a job that does not
// say. It looks at parts of ShrinkFloor bytes and more: smaller ones vary by nature.
const (
	DefaultShrinkLimit = 50
	ShrinkFloor        = 1 << 20
)

// nothing is what dumps in JSON look like that hold nothing, by their SHA-256.
var nothing = func() map[string]bool {
	hashes := map[string]bool{}
	for _, text := range []string{"[]", "{}", "[\n]", "[\n\n]"} {
		hashes[repo.Hash([]byte(text)).String()], hashes[repo.Hash([]byte(text+"\n")).String()] = true, true
	}
	return hashes
}()

// shrinkLimit tells what has shrunk too much.
type shrinkLimit struct {
	percent float64 // above 100: nothing has
	floor   int64   // bytes; smaller parts are not looked at
}

// parseShrinkLimit reads "50%", "off", or "" for the default. ErrInvalid.
func parseShrinkLimit(text string) (shrinkLimit, error) {
	switch text {
	case "":
		return shrinkLimit{DefaultShrinkLimit, ShrinkFloor}, nil
	case "off":
		return shrinkLimit{percent: 101}, nil
	}
	share, isShare := strings.CutSuffix(text, "%")
	percent, err := strconv.ParseFloat(share, 64)
	if !isShare || err != nil || !(percent >= 0 && percent < 100) {
		return shrinkLimit{}, fmt.Errorf("%w shrink limit %q: write a share below 100%%, such as 50%%, or off", ErrInvalid, text)
	}
	return shrinkLimit{percent: percent}, nil
}

// CheckShrinkLimit refuses what parseShrinkLimit cannot read: ErrInvalid.
func CheckShrinkLimit(text string) error {
	_, err := parseShrinkLimit(text)
	return err
}

// beyond reports whether a count went down too far.
func (l shrinkLimit) beyond(before, now int64) bool {
	return float64(before-now)*100 > l.percent*float64(before)
}

// suspicions compares what was dumped, part by part, with the job's last good snapshot. Whatever the limit, one that held
// something and is empty now may be a disk that is not mounted, or a database that was not there. What cannot be compared is
// suspect too, when it is empty.
func (b *backupRun) suspicions() (all suspicion) {
	if b.parent == nil {
		return nil
	}
	limit, err := parseShrinkLimit(b.job.ShrinkLimit)
	if err != nil { // checked when it was attached
		limit, _ = parseShrinkLimit("")
	}
	for _, p := range b.manifest.Parts {
		before, good := b.before.part(p.Name), b.parent.ID.Short()
		switch {
		case b.before == nil && p.empty():
			all = append(all, fmt.Sprintf("%s is empty, and what it held in the last good snapshot (%s) cannot be read", p.title(), good))
		case before == nil || before.Folder != p.Folder:
		case p.empty() && !before.empty() && p.Folder:
			all = append(all, fmt.Sprintf("%s is empty, and had %s in the last good snapshot %s (is its disk mounted?)", p.title(),
				plural(before.Files, "file"), good))
		case p.empty() && !before.empty():
			all = append(all, fmt.Sprintf("%s holds nothing, and had %s in the last good snapshot %s", p.title(), before.extent(), good))
		case before.Size >= limit.floor && (limit.beyond(before.Size, p.Size) || limit.beyond(before.Files, p.Files)):
			all = append(all, fmt.Sprintf("%s shrank by more than %g%%: it has %s, and had %s in the last good snapshot %s", p.title(),
				limit.percent, p.extent(), before.extent(), good))
		}
	}
	return append(all, b.gone()...)
}

// gone are the parts that a source had in the last good snapshot and has no more, although others of its parts are still there: a
// database that was dropped, or that our user may not see any more. A source of which all parts have other names was configured
// otherwise.
func (b *backupRun) gone() (all suspicion) {
	if b.before == nil {
		return nil
	}
	stays := map[string]bool{} // sources
	for _, p := range b.before.Parts {
		stays[p.Source] = stays[p.Source] || b.manifest.part(p.Name) != nil
	}
	for _, p := range b.before.Parts {
		if stays[p.Source] && b.manifest.part(p.Name) == nil && !p.empty() {
			all = append(all, fmt.Sprintf("%s is gone, and had %s in the last good snapshot %s", p.title(), p.extent(), b.parent.ID.Short()))
		}
	}
	return all
}

// empty reports whether a part holds nothing that anybody would miss.
func (p *ManifestPart) empty() bool {
	if p.Folder {
		return p.Files == 0
	}
	return p.Size == 0 || nothing[p.SHA256]
}

// title names a part for people.
func (p *ManifestPart) title() string {
	if p.Folder {
		return "folder " + p.Name
	}
	return p.Name
}

// extent says how much a part is.
func (p *ManifestPart) extent() string {
	size := humanize.IBytes(uint64(p.Size))
	if p.Folder {
		return plural(p.Files, "file") + ", " + size
	}
	return size
}
