package backup_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddy-backup/caddy-backup/internal/realtest"
)

// TestBeside has two processes of ours and restic work on one repository at the same time: they wait for each other's
// locks, each does its work, and nothing is lost.
func TestBeside(t *testing.T) {
	realtest.Need(t, "restic")
	t.Parallel() // it mostly waits
	rounds := 1
	switch {
	case realtest.Soak():
		rounds = 30
	case testing.Short():
		t.Skip("the race detector finds nothing new here")
	}
	seed := realtest.Seed(t)
	l := newLab(t, t.TempDir(), rand.New(rand.NewPCG(seed, 0)))
	ops := strings.Fields(strings.Repeat("backup prune backup check backup ", rounds))
	other := newLedger(l.root)
	other.next = 1 << 20 // its backups have numbers of their own
	var working sync.WaitGroup
	for n, book := range []*ledger{l.ledger, other} {
		working.Go(func() {
			t.Run(fmt.Sprint("process ", n), func(t *testing.T) {
				p := &lab{ledger: book, t: t}
				if doing, err := p.child(labPlan{Seed: seed + uint64(n), Ops: ops}, 20*time.Minute); err != nil || doing != "nothing" {
					t.Errorf("%s: %v", doing, err)
				}
			})
		})
	}
	for round := range 2 * rounds {
		if err := os.WriteFile(filepath.Join(l.notes, "note"), fmt.Append(nil, seed, round), 0o600); err != nil {
			t.Fatal(err)
		}
		patiently(t, l.ledger, "backup", l.notes)
		patiently(t, l.ledger, "prune", "--max-unused", "0")
	}
	working.Wait()
	for number := range other.kept {
		l.kept[number] = true
	}
	l.next = max(l.next, other.next)
	l.verify(t, l.rng, true)
	foreign := 0
	for _, s := range must(l.open(t).Snapshots(t.Context()))(t) {
		if slices.Contains(s.Paths, l.notes) {
			foreign++
		}
	}
	if foreign != 2*rounds {
		t.Errorf("%d snapshots of restic's are there, %d were made", foreign, 2*rounds)
	}
	l.restic(t, "check", "--read-data")
}

// patiently runs restic until nobody's lock is in its way.
func patiently(t *testing.T, l *ledger, args ...string) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Minute); ; time.Sleep(100 * time.Millisecond) {
		_, err := realtest.TryRestic(t, l.folder(), l.password(t), args...)
		if err == nil {
			return
		}
		if !strings.Contains(err.Error(), "locked") || time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
}
