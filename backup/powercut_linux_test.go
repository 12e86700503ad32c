package backup_test

import (
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/caddy-backup/caddy-backup/internal/realtest"
)

// TestPowerCut cuts the power of a disk at random moments while a process works: what it acknowledged is there when the
// disk is back, and the next process needs no hand. On the disk lies everything, or the repository alone: then nothing
// else that is made durable carries its writes with it, and journal and history know more than is there.
func TestPowerCut(t *testing.T) {
	t.Parallel() // it mostly waits
	rounds := 6
	switch {
	case realtest.Soak():
		rounds = 150
	case testing.Short():
		t.Skip("the race detector finds nothing new here")
	}
	seed := realtest.Seed(t)
	t.Run("everything", func(t *testing.T) {
		disk := realtest.NewDisk(t, 512)
		powerCuts(newLab(t, disk.Dir, rand.New(rand.NewPCG(seed, 0))), disk, rounds)
	})
	t.Run("the repository alone", func(t *testing.T) {
		disk, root := realtest.NewDisk(t, 512), t.TempDir()
		there := filepath.Join(disk.Dir, "repository")
		if err := errors.Join(os.Mkdir(there, 0o700), os.Symlink(there, filepath.Join(root, "repository"))); err != nil {
			t.Fatal(err)
		}
		powerCuts(newLab(t, root, rand.New(rand.NewPCG(seed, 1))), disk, rounds)
	})
}

func powerCuts(l *lab, disk *realtest.Disk, rounds int) {
	l.cut = disk.Cut
	for round := range rounds {
		l.eager = round%2 == 0 // what was told last is what could get lost
		doing, err := l.child(labPlan{Seed: l.rng.Uint64()}, time.Duration(100+l.rng.IntN(1500))*time.Millisecond)
		if err != nil {
			l.t.Fatalf("round %d: %v", round, err)
		}
		l.killed[doing]++
		disk.Restart(l.t)
		l.eager = false
		l.mend()
		l.verify(l.t, l.rng, round%10 == 9)
		l.quiet("backup")
	}
	l.last()
	l.t.Logf("%d backups are there after %d cuts, in %v", len(l.kept), rounds, l.killed)
}
