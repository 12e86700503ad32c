package backup

import (
	"fmt"
	"sync"
	"testing"
	"time"
)

// TestRunsThatEndAtOnce: two runs that end together both forget the same old ones.
func TestRunsThatEndAtOnce(t *testing.T) {
	h := newHistory(&liveLog{}, time.Now)
	h.journal = newJournal("", nil)
	start := time.Now().Add(-time.Hour)
	run := func(job string, i int) Run {
		at := start.Add(time.Duration(i) * time.Second)
		return Run{
			ID: fmt.Sprintf("%s-%06d", job, i), Kind: KindBackup, Job: job, Repository: "default",
			State: StateOK, Created: at, Ended: at,
		}
	}
	for i := range historyKept {
		h.add(run("a", i))
		h.add(run("b", i))
	}
	for i := range 300 {
		var group sync.WaitGroup
		for _, job := range []string{"a", "b"} {
			group.Go(func() { h.add(run(job, historyKept+i)) })
		}
		group.Wait()
	}
	if n := len(h.list()); n != 2*historyKept {
		t.Errorf("%d runs are kept, want %d", n, 2*historyKept)
	}
}
