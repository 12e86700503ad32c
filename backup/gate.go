package backup

import (
	"context"
	"slices"
	"sync"
)

// gate lets one run at a time write into a repository; the others wait in the order in which they came.
type gate struct {
	mu      sync.Mutex
	holder  *runner
	waiting []*waiter

	memory sync.Mutex // held while what is remembered of the repository is changed
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
	w := &waiter{r, make(chan struct{})}
	g.waiting = append(g.waiting, w)
	r.setStep("waiting for " + g.holder.title)
	g.mu.Unlock()
	select {
	case <-w.turn:
		return nil
	case <-ctx.Done():
	}
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
