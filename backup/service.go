package backup

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/caddy-backup/caddy-backup/repo"
)

// Service does everything that the product does. One lives in a process; configurations come and go by Attach, runs
// outlive them.
type Service struct {
	history *history
	log     *liveLog // to the logger of the current configuration

	mu      sync.Mutex
	stack   []*setup // attached; the last is current
	vaults  map[string]*vault
	gates   map[string]*gate // by location, never removed: one writer per repository, whatever the configuration
	active  map[string]*runner
	found   map[string]Found // by job, see seekFound
	journal *journal         // since the first Attach
	closed  bool
	runs    sync.WaitGroup // and the scheduler

	scheduler *scheduler // since the first Attach of a configuration that is Automatic
	lookout   *lookout   // since the first of these that is of a cluster

	told     line // beginnings and endings of runs, on their way to all who want to know
	observed line // of these, the calls of Observe
	telling  sync.WaitGroup

	ledger ledger // what people were told of what is wrong

	couriers    map[string]*courier // by the notifier's name
	letters     letters             // what they carry, on disk
	reload      chan struct{}       // closed, and made anew, when a configuration comes
	lastSetup   *setup              // the configuration that was current last
	lastCall    context.Context     // done when the Service is closed: who waits to try again tries now
	callLast    context.CancelFunc
	delivery    context.Context // done when there is no time left
	endDelivery context.CancelFunc

	reading bool // the history again, see readAgain

	linksMu sync.Mutex // while the key of links is made

	counting turns // to count or compare what is in a repository: both read every folder of snapshots
	listing  turns // to list a folder

	// What tests turn.
	now      func() time.Time
	newTimer func(time.Duration) *time.Timer
	lockWait time.Duration                   // how long a run waits for a lock that others hold
	lockPoll time.Duration                   // how often it looks
	grace    time.Duration                   // how long a source may take to end after it was told to
	options  func(repo.Options) repo.Options // of repositories

	maxStagger time.Duration // see stagger
}

// New makes a Service that has no configuration yet. It does nothing before Attach: no goroutine, no file.
func New() *Service {
	log := &liveLog{}
	lastCall, callLast := context.WithCancel(context.Background())
	delivery, endDelivery := context.WithCancel(context.Background())
	s := &Service{
		couriers: map[string]*courier{},
		reload:   make(chan struct{}),
		lastCall: lastCall,
		callLast: callLast,
		delivery: delivery, endDelivery: endDelivery,
		ledger:   ledger{turn: make(turns, 1)},
		log:      log,
		vaults:   map[string]*vault{},
		gates:    map[string]*gate{},
		counting: make(turns, 1),
		listing:  make(turns, maxListing),
		active:   map[string]*runner{},
		found:    map[string]Found{},
		now:      time.Now,
		newTimer: time.NewTimer,
		lockWait: time.Minute,
		lockPoll: 2 * time.Second,
		grace:    15 * time.Second,
		options:  func(o repo.Options) repo.Options { return o },

		maxStagger: 2 * time.Second,
	}
	s.history = newHistory(log, func() time.Time { return s.now() })
	s.history.died = s.diedBeside
	return s
}

// attachTimeout bounds what Attach reads: it runs while the server changes its configuration.
const attachTimeout = 10 * time.Second

// Attach makes c the current configuration, until the returned func is called; then the last one still attached is
// current again. Runs go on with what they were started with. Detaching may be repeated, in any order. ErrInvalid,
// ErrClosed.
func (s *Service) Attach(c Config) (detach func(), err error) {
	next, err := newSetup(c)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), attachTimeout)
	defer cancel()
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil, ErrClosed
	}
	if s.journal == nil {
		s.journal = newJournal(next.DataDir, s.log.logger())
	}
	journal := s.journal
	s.mu.Unlock()

	s.log.setFirst(next.Logger)
	next.Host = keptHost(next)
	if next.Cluster {
		next.home = homeOf(next)
	}
	if err := journal.sweep("", nil); err != nil {
		next.Logger.Warn("cannot clean up behind dead processes", "error", err)
	}
	died, unread := s.history.load(ctx, next.Store, next.Host, next.home, journal)

	s.mu.Lock()
	s.stack = append(s.stack, next)
	s.rewire()
	close(s.reload)
	s.reload = make(chan struct{})
	s.schedule(next)
	if !s.closed {
		s.runs.Go(func() { s.sweepScratch(next.DataDir) })
	}
	if unread != nil {
		next.Logger.Error("cannot read the history of runs", "error", unread)
		s.readAgain()
	}
	s.lookOut(next)
	s.mu.Unlock()
	s.takeUp(next)
	s.mu.Lock()
	if !s.closed {
		for _, run := range died {
			s.ended(next, run)
		}
		if next.Automatic {
			reloaded := s.reload
			s.runs.Go(func() { s.seekFound(next, reloaded) })
		}
	}
	s.mu.Unlock()
	if next.Automatic {
		s.payOwed(next, journal)
	}
	s.askForKits(ctx, next)
	return sync.OnceFunc(func() { s.detach(next) }), nil
}

// diedBeside tells of a run that died with another process, and has it made again.
func (s *Service) diedBeside(run Run) {
	if c, err := s.current(); err == nil {
		s.ended(c, run)
		s.automatic().poke()
	}
}

func (s *Service) detach(old *setup) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stack = slices.DeleteFunc(s.stack, func(x *setup) bool { return x == old })
	s.rewire()
	s.scheduler.poke()
}

// rewire makes everything that outlives a configuration use the current one's storages, store and logger: those of the
// one before are about to be cleaned up. The caller holds s.mu. Without any configuration the last ones stay.
func (s *Service) rewire() {
	if len(s.stack) == 0 {
		return
	}
	current := s.stack[len(s.stack)-1]
	s.lastSetup = current
	s.log.set(current.Logger)
	s.history.use(current.Store, current.Host, current.home)
	wanted := map[string]bool{}
	for _, c := range s.stack {
		for _, r := range c.Repositories {
			wanted[identity(r)] = true
		}
	}
	for key := range s.vaults {
		if !wanted[key] {
			delete(s.vaults, key)
		}
	}
	for _, r := range current.Repositories {
		s.vaultOf(current, r).storage.set(r.Storage)
	}
}

// current is the configuration that is asked now.
func (s *Service) current() (*setup, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, ErrClosed
	}
	if len(s.stack) == 0 {
		return nil, fmt.Errorf("%w: no configuration is attached", ErrClosed)
	}
	return s.stack[len(s.stack)-1], nil
}

// audit writes down who asked for something that changes the state.
func (s *Service) audit(by, what string, args ...any) {
	s.log.logger().Info(what, append([]any{"by", by}, args...)...)
}

// Close ends all runs as interrupted and waits for them, and until it is told what became of them, at most until ctx is
// done. What has not ended by then is recorded as interrupted all the same: it can store nothing any more, its lock is
// given up.
func (s *Service) Close(ctx context.Context) error {
	s.mu.Lock()
	s.closed = true
	journal := s.journal
	if s.scheduler != nil {
		s.scheduler.stop()
	}
	for _, r := range s.active {
		r.cancel(errInterrupted)
	}
	s.mu.Unlock()
	defer s.endDelivery()
	s.callLast()

	if !waited(ctx, &s.runs) {
		return s.abandon(ctx)
	}
	if journal != nil {
		defer journal.close() // behind the last notification, which is kept in its name
	}
	if !waited(ctx, &s.telling) {
		return fmt.Errorf("it could not be told in time what became of runs: %w", context.Cause(ctx))
	}
	return nil
}

// waited waits for a group and reports whether its end came before that of ctx.
func waited(ctx context.Context, group *sync.WaitGroup) bool {
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		group.Wait()
	}()
	select {
	case <-ended:
		return true
	case <-ctx.Done():
		return false
	}
}

// abandon records the runs that do not end as interrupted, in very little time.
func (s *Service) abandon(ctx context.Context) error {
	s.mu.Lock()
	late := slices.Collect(maps.Values(s.active))
	s.mu.Unlock()
	if len(late) == 0 {
		return nil
	}
	recorded := make(chan struct{})
	go func() {
		defer close(recorded)
		for _, r := range late {
			r.finish(errInterrupted)
		}
	}()
	select {
	case <-recorded:
	case <-time.After(abandonTime): // the next start will find them by their dead process
	}
	return fmt.Errorf("%d runs do not end: %w", len(late), context.Cause(ctx))
}

const abandonTime = 300 * time.Millisecond
