package backup

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// A cluster is several processes, its members, on one Store, with the same jobs and the same host name. Which of them makes
// a run is settled by the run's own record in the history: a member writes it, then reads what all others wrote, and does
// the run only if nobody else does it, or did it for the same slot. Of two members that write at the same time at least one
// sees the other, so that never both go on, whatever their clocks show. The Store's lock is held meanwhile; it is what
// keeps both from giving way. It need not be perfect: where a Store gives it to two at once, or never gives it back, there
// are runs that begin later, but none twice.
//
// A lock that is held for as long as a run takes would ask more of the storages of Caddy than all of them can do. So the
// member renews a lease beside the record (lease.go), and the others watch it (lookout.go).

// Locker is what the Store of a cluster can do besides, as certmagic.Storage does. A lock whose holder dies becomes free
// after a while.
type Locker interface {
	Lock(ctx context.Context, name string) error
	Unlock(ctx context.Context, name string) error
}

// lockPatience is how long a member waits for a lock of the Store. Nobody holds one for longer: locks of dead members are
// free after seconds, and what is done under a lock takes less.
const lockPatience = 30 * time.Second

// checkCluster refuses a cluster whose members could not work together.
func (s *setup) checkCluster() error {
	if !s.Cluster {
		return nil
	}
	if _, can := s.Store.(Locker); !can {
		return fmt.Errorf("%w: the storage has no locks, which a cluster needs", ErrInvalid)
	}
	if s.Host == "" {
		return fmt.Errorf("%w: a cluster needs a host name, the same for all members: retention looks at the snapshots of one host", ErrInvalid)
	}
	return nil
}

// exclusively does work while no other member does work under the same name; without a cluster at once. When the lock
// cannot be had in time, it goes on without.
func (s *Service) exclusively(ctx context.Context, c *setup, name string, work func() error) error {
	if !c.Cluster {
		return work()
	}
	locker, name := c.Store.(Locker), "backup-"+safeName(name)
	waiting, cancel := context.WithTimeout(ctx, lockPatience)
	err := locker.Lock(waiting, name)
	overlong := errors.Is(waiting.Err(), context.DeadlineExceeded)
	cancel()
	switch {
	case err == nil || overlong: // one that nobody gives back is broken, or it would be in the way for ever
		defer s.unlock(ctx, locker, name)
	case ctx.Err() != nil:
		return context.Cause(ctx)
	}
	if err != nil {
		s.log.logger().Warn("a lock in Caddy's storage cannot be had; going on without", "lock", name, "error", err)
	}
	return work()
}

func (s *Service) unlock(ctx context.Context, locker Locker, name string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), storeTimeout)
	defer cancel()
	if err := locker.Unlock(ctx, name); err != nil {
		s.log.logger().Warn("a lock in Caddy's storage cannot be given back; it becomes free by itself", "lock", name, "error", err)
	}
}

// claim makes sure that no other member makes, or made, the run that r is about to make: then it returns that one and
// ErrConflict. Without the Store nothing can be made sure: scheduled runs wait for it, what people ask for does not.
func (s *Service) claim(r *runner, clash func(Run) bool) (other Run, err error) {
	if !r.setup.Cluster {
		return Run{}, nil
	}
	run := r.snapshot()
	err = s.exclusively(r.ctx, r.setup, claimName(r.setup.Host, run), func() error {
		if other, err = s.contested(r, clash); err != nil { // most often it is known already, and nothing need be written
			return err
		}
		if err = r.takeLease(); err != nil {
			return err
		}
		other, err = s.contested(r, clash)
		return err
	})
	switch {
	case err == nil:
		return Run{}, nil
	case errors.Is(err, ErrConflict), r.ctx.Err() != nil, !run.Scheduled.IsZero():
		r.withdraw()
		return other, err
	}
	s.log.logger().Warn("cannot tell whether another member makes the same run", "run", run.ID, "error", err)
	return Run{}, nil
}

func claimName(host string, run Run) string {
	of := run.Job
	if of == "" {
		of = run.Repository
	}
	return strings.Join([]string{host, string(run.Kind), of}, "-")
}

// contested looks in the Store for a run of another member that is in the way of r.
func (s *Service) contested(r *runner, clash func(Run) bool) (Run, error) {
	if _, err := s.history.refresh(r.ctx); err != nil {
		return Run{}, fmt.Errorf("cannot tell whether another member makes the same run: %w", err)
	}
	mine := r.snapshot()
	others := make([]Run, 0)
	for _, run := range s.history.list() {
		switch {
		case run.ID == mine.ID:
			continue
		case !run.State.Done() && clash(run):
			return run, fmt.Errorf("%w: %s is going on already, at %s", ErrConflict, runTitle(run), run.Member)
		}
		others = append(others, run)
	}
	if mine.Scheduled.IsZero() {
		return Run{}, nil
	}
	for _, p := range r.setup.plans() {
		if p.runFor(mine) && p.doneBy(others, mine.Scheduled, s.now()) {
			return Run{}, fmt.Errorf("%w: another member has made the run for %s", ErrConflict, mine.Scheduled)
		}
	}
	return Run{}, nil
}

// doneBy reports whether a slot needs no run any more.
func (p plan) doneBy(runs []Run, slot, now time.Time) bool {
	last, again := p.last(runs, now)
	return last.After(slot) || last.Equal(slot) && !again
}

// memberName tells people which process of which machine it is.
func memberName() string {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	return fmt.Sprintf("%s/%d", host, os.Getpid())
}

// homeOf names the data folder of this machine: of processes that share it the journal tells whether they are alive, of all
// others only their leases do.
func homeOf(c *setup) string {
	fresh := fmt.Sprintf("%x", randomBytes(8))
	if c.DataDir == "" {
		return fresh
	}
	path := filepath.Join(c.DataDir, "member")
	for range 2 {
		if kept, err := os.ReadFile(path); err == nil {
			return strings.TrimSpace(string(kept))
		}
		if err := createFile(path, []byte(fresh+"\n"), 0o644); err == nil {
			break
		}
	}
	return fresh
}

// stagger is how much later than others this member of a cluster begins with a slot: so the first has claimed the run before
// the others ask, and several jobs of one slot are spread over the members.
func (s *Service) stagger(c *setup, p plan, slot time.Time) time.Duration {
	if !c.Cluster || s.maxStagger == 0 {
		return 0
	}
	hash := fnv.New64a()
	fmt.Fprintf(hash, "%s\x00%s\x00%d", c.home, p.item(), slot.Unix())
	sum := hash.Sum64()
	sum ^= sum >> 32
	return time.Duration(sum%uint64(s.maxStagger/time.Millisecond)) * time.Millisecond
}

// othersWork reports whether another member of the cluster works on a repository: its lock is worth waiting for, as one of
// this process is.
func (s *Service) othersWork(c *setup, repository string) bool {
	return c.Cluster && slices.ContainsFunc(s.history.elsewhere(), func(rec *record) bool { return rec.Repository == repository })
}
