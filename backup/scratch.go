package backup

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"
)

// ScratchPrefix begins the name of everything that a drill makes outside of its folder. What bears it is never dumped,
// and never restored over.
const ScratchPrefix = "caddy_backup_drill_"

// RestoredInfix stands in the name of a new database that a server named for a restore, between what it was and the time.
const RestoredInfix = "_restored_"

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

// scratchRoot is the folder in which the folders of drills are.
func scratchRoot(dataDir string) string {
	if dataDir == "" {
		return filepath.Join(os.TempDir(), ScratchPrefix+"files")
	}
	return filepath.Join(dataDir, "drills")
}

// ScratchFolder is where drills restore files to: what no backup takes in.
func ScratchFolder(dataDir string) string { return scratchRoot(dataDir) }

// newScratch makes a scratch place for a run.
func newScratch(root, run string) (Scratch, error) {
	at := Scratch{Name: scratchName(run)}
	at.Dir = filepath.Join(root, at.Name)
	err := os.MkdirAll(root, 0o700)
	if err == nil {
		err = os.Mkdir(at.Dir, 0o700)
	}
	if err != nil {
		return Scratch{}, fmt.Errorf("make a folder for the drill: %w", err)
	}
	return at, nil
}

// removeScratch removes the folder of a scratch place, also one with folders in it that may not be written to.
func removeScratch(dir string) error {
	if os.RemoveAll(dir) == nil {
		return nil
	}
	_ = filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err == nil && e.IsDir() {
			_ = os.Chmod(path, 0o700)
		}
		return nil
	})
	if err := os.RemoveAll(dir); err != nil {
		return fmt.Errorf("the drill's folder %s is left behind: %w", dir, err)
	}
	return nil
}

// sweepScratch removes the folders that killed drills left behind.
func (s *Service) sweepScratch(dataDir string) {
	root := scratchRoot(dataDir)
	entries, err := os.ReadDir(root)
	if err != nil {
		return
	}
	for _, e := range entries {
		if !s.abandoned(e.Name()) {
			continue
		}
		if err := removeScratch(filepath.Join(root, e.Name())); err != nil {
			s.log.logger().Warn("cannot clean up behind a drill that was killed", "error", err)
		}
	}
}
