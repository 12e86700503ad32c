package backup

import (
	"crypto/rand"
	"encoding/hex"
	"regexp"
	"strings"
	"time"
)

// ScratchPrefix begins the name of everything that a drill makes outside of its folder. What bears it is never dumped,
// and never restored over.
const ScratchPrefix = "caddy_backup_drill_"

// scratchName is a new name for a scratch place of a run: it tells of which run, and cannot be guessed.
func scratchName(run string) string {
	random := make([]byte, 4)
	rand.Read(random) // never fails
	return ScratchPrefix + strings.ReplaceAll(run, "-", "_") + "_" + hex.EncodeToString(random)
}

var scratchForm = regexp.MustCompile(`^` + ScratchPrefix + `(\d{8}t\d{6}z)_([0-9a-f]{4,8})_[0-9a-f]{8}$`)

// runOfScratch is the run that a scratch place was made for, and when that was; false for what is none of ours.
func runOfScratch(name string) (run string, at time.Time, ok bool) {
	m := scratchForm.FindStringSubmatch(name)
	if m == nil {
		return "", time.Time{}, false
	}
	at, err := time.Parse("20060102t150405z", m[1])
	return m[1] + "-" + m[2], at, err == nil
}

// scratchAge is beyond any drill, of whatever machine: DefaultTimeout ends them.
const scratchAge = 2 * DefaultTimeout

// abandoned reports whether a scratch place is of a drill that has ended, and should have taken it away.
func (s *Service) abandoned(name string) bool {
	run, at, ours := runOfScratch(name)
	if !ours {
		return false
	}
	if s.running(run) != nil {
		return false
	}
	for _, r := range s.history.list() {
		if r.ID == run {
			return r.State.Done()
		}
	}
	return s.now().Sub(at) > scratchAge // of another machine, or long forgotten
}
