package backup

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"
)

// gate lets one run at a time write into a repository; the others wait in the order in which they came.
type gate struct {
	mu      sync.Mutex
	holder  *runner
	waiting []*waiter

	memory turns // one at a time changes what is remembered of the repository
}

type waiter struct {
	run  *runner
	turn chan struct{} // closed when it is the holder
}

// enter returns when r may write; it says in r's step for which run it waits. After an error r must not leave.
func (g *gate) enter(ctx context.Context, r *runner) error {
	g.mu.Lock()
	if g.holder == nil {
		g.holder = r
		g.mu.Unlock()
		return nil
	}
	w, impatience := &waiter{r, make(chan struct{})}, time.NewTicker(patience)
	defer impatience.Stop()
	g.waiting = append(g.waiting, w)
	r.setStep("waiting for " + g.holder.title)
	g.mu.Unlock()
	for {
		select {
		case <-w.turn:
			return nil
		case <-impatience.C:
			g.press(r)
		case <-ctx.Done():
			return g.giveUp(ctx, w)
		}
	}
}

// patience is how long a backup waits for a prune that nobody asked for, and that has no time of its own.
const patience = 10 * time.Minute

// press ends the prune behind a retention for which a backup has waited. What it has done so far is not lost.
func (g *gate) press(r *runner) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if h := g.holder; r.run.Kind == KindBackup && h != nil && h.run.Kind == KindPrune && h.run.Follows {
		h.cancel(fmt.Errorf("it made way for the %s, which had waited for %v: give it a quiet time of its own, such as: "+
			"prune weekly sun 05:00", r.title, patience))
	}
}

// giveUp takes w out of the line, and says why.
func (g *gate) giveUp(ctx context.Context, w *waiter) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if i := slices.Index(g.waiting, w); i >= 0 {
		g.waiting = slices.Delete(g.waiting, i, i+1)
	} else {
		g.pass() // the turn came at the same moment
	}
	return context.Cause(ctx)
}

// leave lets the next one in.
func (g *gate) leave() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.pass()
}

func (g *gate) pass() {
	g.holder = nil
	if len(g.waiting) == 0 {
		return
	}
	next := g.waiting[0]
	g.waiting = slices.Delete(g.waiting, 0, 1)
	g.holder = next.run
	close(next.turn)
	for _, w := range g.waiting {
		w.run.setStep("waiting for " + g.holder.title)
	}
}
