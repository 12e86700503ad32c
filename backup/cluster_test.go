package backup_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"log/slog"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-backup/caddy-backup/backup"
	"github.com/caddy-backup/caddy-backup/backup/backuptest"
	"github.com/caddy-backup/caddy-backup/internal/realtest"
	"github.com/caddy-backup/caddy-backup/repo"
)

var errDead = errors.New("this member is dead")

// cluster is a Store and a repository, shared by members that come and go, in the bubble of a test. It counts from outside
// what they do.
type cluster struct {
	*testing.T
	rand     *rand.Rand
	store    *backuptest.Store
	storage  backup.Storage
	jobs     []string
	change   func(*backup.Config) // of a member, before it joins
	together bool                 // they begin with slots in the same moment
	mustDump time.Duration        // at least so long a dump takes
	fatal    atomic.Bool          // the next lock that is written kills who writes it

	briefly sync.Mutex // the locks under which nothing takes time

	mu      sync.Mutex
	dumping map[string]*member // by job
	told    map[string]int     // how often whom was told of the end of a run
	doubled []string
}

func newCluster(t *testing.T, seed uint64) *cluster {
	t.Cleanup(func() { time.Sleep(time.Second) }) // so that calls of the Store end that a member left behind: later time stands still
	return &cluster{
		T: t, rand: chance(seed, 0), store: &backuptest.Store{}, storage: backuptest.Repository(t), jobs: []string{"blog", "shop"},
		dumping: map[string]*member{}, told: map[string]int{},
	}
}

// member is one process of a cluster.
type member struct {
	*backup.Service
	cluster *cluster
	name    string
	clock   time.Duration // by how much it is wrong

	mu     sync.Mutex
	dead   bool
	locks  map[string]bool
	frozen chan struct{} // nil: it is not; else closed when it goes on
}

// join starts a member.
func (c *cluster) join(name string, clock time.Duration) *member {
	c.Helper()
	m := &member{Service: backup.New(), cluster: c, name: name, clock: clock, locks: map[string]bool{}}
	m.UseClock(func() time.Time { return time.Now().Add(clock) }, time.NewTimer)
	if c.together {
		m.Unstaggered()
	}
	config := backup.Config{
		Host: "shop-server", Zone: time.UTC, Store: deadly{m}, DataDir: c.TempDir(), Automatic: true, Cluster: true,
		Logger:       slog.New(slog.DiscardHandler),
		Repositories: []backup.RepositoryConfig{{Name: "default", Storage: deadlyStorage{c.storage, m}, Password: []byte(backuptest.Password)}},
		Observe:      m.observe,
	}
	for _, name := range c.jobs {
		source := backuptest.NewSource("")
		source.Do(func(ctx context.Context, w io.Writer, _ *backup.Task) error { return m.dump(ctx, name, w) })
		config.Jobs = append(config.Jobs, backup.Job{Name: name, Schedule: schedule(c, "hourly"), Retention: &backup.Retention{Last: 1000},
			Sources: []backup.NamedSource{{Name: "db", Kind: "fake", Source: source}}})
	}
	if c.change != nil {
		c.change(&config)
	}
	if _, err := m.Attach(config); err != nil {
		c.Fatal(err)
	}
	return m
}

// dump takes its time, and notes when another living member dumps the same.
func (m *member) dump(ctx context.Context, job string, w io.Writer) error {
	c := m.cluster
	c.mu.Lock()
	if other := c.dumping[job]; other != nil && !other.isDead() {
		c.doubled = append(c.doubled, fmt.Sprintf("%v: %s is dumped by %s and %s", time.Now(), job, other.name, m.name))
	}
	c.dumping[job] = m
	long := max(c.mustDump, time.Duration(c.rand.Int64N(int64(10*time.Minute))))
	c.mu.Unlock()
	defer func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.dumping[job] == m {
			delete(c.dumping, job)
		}
	}()
	select {
	case <-time.After(long):
	case <-ctx.Done():
		return ctx.Err()
	}
	if err := m.alive(); err != nil {
		return err
	}
	_, err := fmt.Fprintln(w, "data of", job)
	return err
}

func (m *member) observe(e backup.Ending) {
	if !m.isDead() {
		m.cluster.mu.Lock()
		defer m.cluster.mu.Unlock()
		m.cluster.told[e.Run.ID]++
	}
}

func (m *member) isDead() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.dead
}

// kill ends a member as kill -9 does: from now on nothing that it does arrives anywhere. Its locks become free after ten
// seconds.
func (m *member) kill() {
	m.mu.Lock()
	m.dead = true
	locks := slices.Collect(maps.Keys(m.locks))
	m.mu.Unlock()
	backuptest.Close(m.cluster, m.Service)
	time.Sleep(10 * time.Second)
	for _, name := range locks {
		m.cluster.store.Unlock(context.Background(), name)
	}
}

// freeze stops a member, as a suspended machine is, until it is thawed.
func (m *member) freeze() (thaw func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.frozen = make(chan struct{})
	return sync.OnceFunc(func() { close(m.frozen) })
}

// alive waits while the member is frozen, and is an error when it is dead.
func (m *member) alive() error {
	m.mu.Lock()
	frozen := m.frozen
	m.mu.Unlock()
	if frozen != nil {
		<-frozen
	}
	if m.isDead() {
		return errDead
	}
	return nil
}

func (m *member) stop() { backuptest.Close(m.cluster, m.Service) }

func (m *member) runs() []backup.Run {
	m.cluster.Helper()
	runs, err := m.Runs(m.cluster.Context(), backup.RunFilter{Limit: 10000})
	if err != nil {
		m.cluster.Fatal(err)
	}
	return runs
}

// deadly is the Store as a member sees it. Where runs are claimed it takes its time, so that members come between each
// other. All else takes none: it is done under mutexes, and while somebody waits for one the clock of a bubble stands still.
type deadly struct{ *member }

func (d deadly) do(key string, f func() error) error {
	if strings.HasPrefix(key, "backup/runs/") || strings.HasPrefix(key, "backup/leases/") {
		d.pause()
		defer d.pause()
	}
	if err := d.alive(); err != nil {
		return err
	}
	return f()
}

func (d deadly) pause() {
	c := d.cluster
	c.mu.Lock()
	wait := time.Duration(c.rand.Int64N(int64(50 * time.Millisecond)))
	c.mu.Unlock()
	time.Sleep(wait)
}

func (d deadly) Store(ctx context.Context, key string, value []byte) error {
	return d.do(key, func() error { return d.cluster.store.Store(ctx, key, value) })
}

func (d deadly) Load(ctx context.Context, key string) (value []byte, err error) {
	err = d.do(key, func() error { value, err = d.cluster.store.Load(ctx, key); return err })
	return value, err
}

func (d deadly) Delete(ctx context.Context, key string) error {
	return d.do(key, func() error { return d.cluster.store.Delete(ctx, key) })
}

func (d deadly) List(ctx context.Context, prefix string, recursive bool) (keys []string, err error) {
	err = d.do(prefix+"/", func() error { keys, err = d.cluster.store.List(ctx, prefix, recursive); return err })
	return keys, err
}

// brief reports whether what is done under a lock takes no time.
func brief(lock string) bool {
	return !strings.Contains(lock, "-shop-server-") && !strings.Contains(lock, "-end-")
}

func (d deadly) Lock(ctx context.Context, name string) error {
	if brief(name) {
		d.cluster.briefly.Lock()
		return nil
	}
	err := d.do(name, func() error { return d.cluster.store.Lock(ctx, name) })
	if err == nil {
		d.mu.Lock()
		defer d.mu.Unlock()
		d.locks[name] = true
	}
	return err
}

func (d deadly) Unlock(ctx context.Context, name string) error {
	if brief(name) {
		d.cluster.briefly.Unlock()
		return nil
	}
	d.mu.Lock()
	if !d.dead {
		delete(d.locks, name)
	}
	d.mu.Unlock()
	return d.do(name, func() error { return d.cluster.store.Unlock(ctx, name) })
}

// deadlyStorage is the repository's storage as a member sees it.
type deadlyStorage struct {
	backup.Storage
	*member
}

func (d deadlyStorage) Put(ctx context.Context, name string, data []byte) error {
	if err := d.alive(); err != nil {
		return err
	}
	err := d.Storage.Put(ctx, name, data)
	if strings.HasPrefix(name, "locks/") && d.cluster.fatal.CompareAndSwap(true, false) {
		d.mu.Lock()
		d.dead = true
		d.mu.Unlock()
		go d.kill()
	}
	return err
}

func (d deadlyStorage) Get(ctx context.Context, name string, off, n int64) ([]byte, error) {
	if err := d.alive(); err != nil {
		return nil, err
	}
	return d.Storage.Get(ctx, name, off, n)
}

func (d deadlyStorage) List(ctx context.Context, dir string) iter.Seq2[repo.FileInfo, error] {
	if err := d.alive(); err != nil {
		return func(yield func(repo.FileInfo, error) bool) { yield(repo.FileInfo{}, err) }
	}
	return d.Storage.List(ctx, dir)
}

func (d deadlyStorage) Delete(ctx context.Context, name string) error {
	if err := d.alive(); err != nil {
		return err
	}
	return d.Storage.Delete(ctx, name)
}

// wantEverySlotOnce holds the history of a member to what is promised, for the slots from one hour to another.
func (c *cluster) wantEverySlotOnce(m *member, from, to time.Time) {
	c.Helper()
	states := map[string][]string{}
	for _, r := range slices.Backward(m.runs()) {
		if r.State == backup.StateFailed {
			c.Errorf("the %s %s of %s failed: %s", r.Kind, r.ID, r.Member, r.Error)
		}
		if r.Kind != backup.KindBackup || r.Scheduled.IsZero() {
			continue
		}
		key := r.Job + " " + r.Scheduled.Format(time.DateTime)
		states[key] = append(states[key], string(r.State))
	}
	for slot := from; !slot.After(to); slot = slot.Add(time.Hour) {
		for _, job := range c.jobs {
			key := job + " " + slot.Format(time.DateTime)
			switch got := strings.Join(states[key], " "); got {
			case "ok", "interrupted ok":
			default:
				c.Errorf("the runs for %s ended as %q", key, got)
			}
			delete(states, key)
		}
	}
	for key, got := range states {
		c.Errorf("the runs for %s ended as %v, and there should be none", key, got)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, d := range c.doubled {
		c.Error(d)
	}
	for _, r := range m.runs() {
		if c.told[r.ID] != 1 {
			c.Errorf("run %s of %s, %s, was told %d times", r.ID, r.Member, r.State, c.told[r.ID])
		}
	}
}

// wantAgreement compares the histories of members.
func (c *cluster) wantAgreement(members ...*member) {
	c.Helper()
	tell := func(m *member) string {
		var b strings.Builder
		for _, r := range m.runs() {
			fmt.Fprintln(&b, r.ID, r.Kind, r.Job, r.State, r.Scheduled, r.Snapshot, r.Member)
		}
		return b.String()
	}
	for _, m := range members[1:] {
		if a, b := tell(members[0]), tell(m); a != b {
			c.Errorf("%s knows\n%s\n%s knows\n%s", members[0].name, a, m.name, b)
		}
	}
}

// TestCluster lets members share jobs for days, while they are killed, stopped and asked. Those with different clocks are
// tried, and those that begin with each slot in the same moment.
func TestCluster(t *testing.T) {
	rounds, hours := 1, 30
	switch {
	case realtest.Soak():
		rounds, hours = 30, 60
	case testing.Short():
		hours = 10
	}
	for range rounds {
		inBubble(t, "apart", func(t *testing.T) {
			c := newCluster(t, realtest.Seed(t))
			c.live(hours, 0, 3*time.Minute, -40*time.Second)
		})
		inBubble(t, "together", func(t *testing.T) {
			c := newCluster(t, realtest.Seed(t))
			c.together = true
			c.live(hours, 0, 0, 0)
		})
	}
}

// live lets members with these clocks, of which the first is right, live for so many hours, and holds what they did to what is
// promised.
func (c *cluster) live(hours int, clocks ...time.Duration) {
	var members []*member
	for i, clock := range clocks {
		members = append(members, c.join(fmt.Sprintf("%c0", 'a'+i), clock))
	}
	for hour := 1; hour < hours; hour++ {
		time.Sleep(time.Until(dayAt(1, hour, 5)))
		time.Sleep(time.Duration(c.rand.Int64N(int64(20 * time.Minute))))
		i := c.rand.IntN(len(members))
		m := members[i]
		switch c.rand.IntN(5) {
		case 0, 1:
			m.kill()
		case 2:
			m.stop()
		case 3:
			if _, err := m.Backup(c.Context(), "tester", "shop"); err != nil && !errors.Is(err, backup.ErrConflict) {
				c.Error(err)
			}
			continue
		default:
			continue
		}
		time.Sleep(time.Duration(c.rand.Int64N(int64(5 * time.Minute))))
		members[i] = c.join(fmt.Sprintf("%c%d", 'a'+i, hour), m.clock)
	}
	time.Sleep(time.Until(dayAt(1, hours, 50)))
	synctest.Wait()
	c.wantAgreement(members...)
	first := dayAt(1, 1, 0)
	if slices.Min(clocks) < 0 {
		first = dayAt(1, 0, 0) // on that clock it is not over when they begin
	}
	c.wantEverySlotOnce(members[0], first, dayAt(1, hours, 0))
	for _, m := range members {
		m.stop()
	}
}

// dumpingNow is who dumps a job.
func (c *cluster) dumpingNow(job string) *member {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.dumping[job]
}

// TestClusterStandstill: a member that stood still during a run, and goes on when another has made the run again, makes no
// second snapshot, and nobody is told twice.
func TestClusterStandstill(t *testing.T) {
	inBubble(t, "frozen", func(t *testing.T) {
		c := newCluster(t, 1)
		c.mustDump, c.jobs = 10*time.Minute, []string{"shop"}
		members := []*member{c.join("a", 0), c.join("b", 0)}
		time.Sleep(time.Until(dayAt(1, 1, 1)))
		still := c.dumpingNow("shop")
		thaw := still.freeze()
		c.mu.Lock()
		delete(c.dumping, "shop") // it does not
		c.mu.Unlock()
		time.Sleep(time.Until(dayAt(1, 1, 4)))
		other := members[(slices.Index(members, still)+1)%2]
		if runs := other.runs(); len(runs) != 2 || runs[0].State.Done() || runs[1].State != backup.StateInterrupted {
			t.Errorf("nobody has taken over within three minutes: %+v", runs)
		}
		time.Sleep(time.Until(dayAt(1, 1, 30)))
		thaw()
		time.Sleep(time.Until(dayAt(1, 2, 30)))
		synctest.Wait()
		c.wantAgreement(members...)
		c.wantEverySlotOnce(still, dayAt(1, 1, 0), dayAt(1, 2, 0))
		list, err := still.Snapshots(t.Context(), backup.SnapshotQuery{Job: "shop"})
		if err != nil || list.Total != 2 {
			t.Errorf("there are %d snapshots, %v", list.Total, err)
		}
		for _, m := range members {
			m.stop()
		}
	})
}

// TestClusterLock: a lock whose holder dies with it is removed by the others, though it was written in that very moment.
func TestClusterLock(t *testing.T) {
	for name, minute := range map[string]int{"taken": 0, "refreshed": 64} {
		inBubble(t, name, func(t *testing.T) {
			c := newCluster(t, 1)
			c.mustDump, c.jobs = 10*time.Minute, []string{"shop"}
			members := []*member{c.join("a", 0), c.join("b", 0)}
			time.Sleep(time.Duration(minute) * time.Minute)
			c.fatal.Store(true)
			time.Sleep(time.Until(dayAt(1, 1, 50)))
			synctest.Wait()
			living := slices.DeleteFunc(members, (*member).isDead)
			if len(living) != 1 {
				t.Fatalf("%d members live", len(living))
			}
			c.wantEverySlotOnce(living[0], dayAt(1, 1, 0), dayAt(1, 1, 0))
			living[0].stop()
		})
	}
}

// TestClusterAsked: what one member makes the others show, and do not make at the same time.
func TestClusterAsked(t *testing.T) {
	inBubble(t, "asked", func(t *testing.T) {
		c := newCluster(t, 1)
		c.mustDump = time.Hour
		a, b := c.join("a", 0), c.join("b", 0)
		run, err := a.Backup(t.Context(), "tester", "shop")
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(30 * time.Second)
		if other, err := b.Backup(t.Context(), "tester", "shop"); !errors.Is(err, backup.ErrConflict) || other.ID != run.ID {
			t.Errorf("the other member answers with run %q, %v", other.ID, err)
		}
		shown, err := b.Run(t.Context(), run.ID)
		if err != nil || shown.State != backup.StateRunning || shown.Step != "dumping db.sql" || shown.Member == "" {
			t.Errorf("the other member shows %+v, %v", shown, err)
		}
		if err := b.Cancel(t.Context(), "tester", run.ID); !errors.Is(err, backup.ErrConflict) || !strings.Contains(err.Error(), shown.Member) {
			t.Errorf("the other member cancels it: %v", err)
		}
		if err := a.Cancel(t.Context(), "tester", run.ID); err != nil {
			t.Error(err)
		}
		time.Sleep(30 * time.Second)
		if shown, err = b.Run(t.Context(), run.ID); err != nil || shown.State != backup.StateCancelled {
			t.Errorf("the other member shows %+v, %v", shown, err)
		}
		c.store.Fail(errors.New("no store"))
		if _, err := b.Backup(t.Context(), "tester", "shop"); err != nil {
			t.Errorf("without the store nobody can back up: %v", err)
		}
		time.Sleep(2 * time.Hour)
		c.store.Fail(nil)
		a.stop()
		b.stop()
	})
}

// lockless is a Store without locks.
type lockless struct{ plain }

type plain = backup.Store

// TestClusterRefused: what members could not share is refused before anything is done.
func TestClusterRefused(t *testing.T) {
	config := backup.Config{Host: "shop", Cluster: true, Store: &backuptest.Store{}}
	nameless, unlocked := config, config
	nameless.Host, unlocked.Store = "", lockless{plain: config.Store}
	for _, c := range []backup.Config{nameless, unlocked} {
		if _, err := backup.New().Attach(c); !errors.Is(err, backup.ErrInvalid) {
			t.Errorf("a cluster of host %q on %T: %v", c.Host, c.Store, err)
		}
	}
}
