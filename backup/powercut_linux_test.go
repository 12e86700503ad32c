package backup_test

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/caddy-backup/caddy-backup/internal/realtest"
)

// TestPowerCut cuts the power of the disk on which everything lies, repository, journal and history, at random moments
// while a process works: what it acknowledged is there when the disk is back, and the next process needs no hand.
func TestPowerCut(t *testing.T) {
	t.Parallel() // it mostly waits
	rounds := 8
	switch {
	case realtest.Soak():
		rounds = 300
	case testing.Short():
		t.Skip("the race detector finds nothing new here")
	}
	disk := realtest.NewDisk(t, 512)
	l := newLab(t, disk.Dir, rand.New(rand.NewPCG(realtest.Seed(t), 0)))
	l.cut = disk.Cut
	for round := range rounds {
		doing, err := l.child(labPlan{Seed: l.rng.Uint64()}, time.Duration(100+l.rng.IntN(1200))*time.Millisecond)
		if err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
		l.killed[doing]++
		disk.Restart(t)
		l.mend()
		l.verify(t, l.rng, round%10 == 9)
		l.quiet("backup")
	}
	l.last()
	t.Logf("%d backups are there after %d cuts, in %v", len(l.kept), rounds, l.killed)
}
