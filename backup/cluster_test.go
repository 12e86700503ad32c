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
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-backup/caddy-backup/backup"
	"github.com/caddy-backup/caddy-backup/backup/backuptest"
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
	change   func(*backup.Config)
	together bool          // they begin with slots in the same moment
	dump     time.Duration // at most so long a dump takes

	mu      sync.Mutex
	dumping map[string]*member // by job
	told    map[string]int     // how often whom was told of the end of a run
	doubled []string
}

func newCluster(t *testing.T, seed uint64) *cluster {
	return &cluster{
		T: t, rand: rand.New(rand.NewPCG(seed, 0)), store: &backuptest.Store{}, storage: backuptest.Repository(t),
		dump: 10 * time.Minute, dumping: map[string]*member{}, told: map[string]int{},
	}
}

// member is one process of a cluster.
type member struct {
	*backup.Service
	cluster *cluster
	name    string
	clock   time.Duration // by how much it is wrong

	mu    sync.Mutex
	dead  bool
	locks map[string]bool
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
	for _, name := range []string{"blog", "shop"} {
		source := backuptest.NewSource("")
		source.Do(func(ctx context.Context, w io.Writer, _ *backup.Task) error { return m.dump(ctx, name, w) })
		config.Jobs = append(config.Jobs, backup.Job{Name: name, Schedule: schedule(c, "hourly"),
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
	long := time.Duration(c.rand.Int64N(int64(c.dump)))
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

func (m *member) stop() { backuptest.Close(m.cluster, m.Service) }

func (m *member) runs() []backup.Run {
	m.cluster.Helper()
	runs, err := m.Runs(m.cluster.Context(), backup.RunFilter{Limit: 10000})
	if err != nil {
		m.cluster.Fatal(err)
	}
	return runs
}

// deadly is the Store as a member sees it. It takes its time, so that members come between each other.
type deadly struct{ *member }

func (d deadly) do(f func() error) error {
	d.pause()
	defer d.pause()
	if d.isDead() {
		return errDead
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
	return d.do(func() error { return d.cluster.store.Store(ctx, key, value) })
}

func (d deadly) Load(ctx context.Context, key string) (value []byte, err error) {
	err = d.do(func() error { value, err = d.cluster.store.Load(ctx, key); return err })
	return value, err
}

func (d deadly) Delete(ctx context.Context, key string) error {
	return d.do(func() error { return d.cluster.store.Delete(ctx, key) })
}

func (d deadly) List(ctx context.Context, prefix string, recursive bool) (keys []string, err error) {
	err = d.do(func() error { keys, err = d.cluster.store.List(ctx, prefix, recursive); return err })
	return keys, err
}

func (d deadly) Lock(ctx context.Context, name string) error {
	err := d.do(func() error { return d.cluster.store.Lock(ctx, name) })
	if err == nil {
		d.mu.Lock()
		defer d.mu.Unlock()
		d.locks[name] = true
	}
	return err
}

func (d deadly) Unlock(ctx context.Context, name string) error {
	d.mu.Lock()
	if !d.dead {
		delete(d.locks, name)
	}
	d.mu.Unlock()
	return d.do(func() error { return d.cluster.store.Unlock(ctx, name) })
}

// deadlyStorage is the repository's storage as a member sees it.
type deadlyStorage struct {
	backup.Storage
	*member
}

func (d deadlyStorage) Put(ctx context.Context, name string, data []byte) error {
	if d.isDead() {
		return errDead
	}
	return d.Storage.Put(ctx, name, data)
}

func (d deadlyStorage) Get(ctx context.Context, name string, off, n int64) ([]byte, error) {
	if d.isDead() {
		return nil, errDead
	}
	return d.Storage.Get(ctx, name, off, n)
}

func (d deadlyStorage) List(ctx context.Context, dir string) iter.Seq2[repo.FileInfo, error] {
	if d.isDead() {
		return func(yield func(repo.FileInfo, error) bool) { yield(repo.FileInfo{}, errDead) }
	}
	return d.Storage.List(ctx, dir)
}

func (d deadlyStorage) Delete(ctx context.Context, name string) error {
	if d.isDead() {
		return errDead
	}
	return d.Storage.Delete(ctx, name)
}

// wantEverySlotOnce holds the history of a member to what is promised, for the slots from one hour to another.
func (c *cluster) wantEverySlotOnce(m *member, from, to time.Time) {
	c.Helper()
	states := map[string][]string{}
	for _, r := range slices.Backward(m.runs()) {
		if r.Kind != backup.KindBackup || r.Scheduled.IsZero() {
			continue
		}
		key := r.Job + " " + r.Scheduled.Format(time.DateTime)
		states[key] = append(states[key], string(r.State))
	}
	for slot := from; !slot.After(to); slot = slot.Add(time.Hour) {
		for _, job := range []string{"blog", "shop"} {
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

// TestCluster lets members share jobs for days, while they are killed, stopped and asked. Some have wrong clocks, others all
// begin in the same moment.
func TestCluster(t *testing.T) {
	for seed := range uint64(3) {
		inBubble(t, fmt.Sprint(seed), func(t *testing.T) {
			c := newCluster(t, seed)
			clocks, first := []time.Duration{0, 3 * time.Minute, -40 * time.Second}, dayAt(1, 0, 0) // on that clock it is not over
			if c.together = seed > 0; c.together {
				clocks, first = make([]time.Duration, 3), dayAt(1, 1, 0)
			}
			var members []*member
			for i, clock := range clocks {
				members = append(members, c.join(fmt.Sprintf("%c0", 'a'+i), clock))
			}
			const hours = 40
			for hour := range hours {
				i := c.rand.IntN(len(members))
				m := members[i]
				time.Sleep(time.Until(dayAt(1, hour, 5)))
				time.Sleep(time.Duration(c.rand.Int64N(int64(20 * time.Minute))))
				switch c.rand.IntN(5) {
				case 0, 1:
					m.kill()
				case 2:
					m.stop()
				case 3:
					if _, err := m.Backup(t.Context(), "tester", "shop"); err != nil && !errors.Is(err, backup.ErrConflict) {
						t.Error(err)
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
			c.wantEverySlotOnce(members[0], first, dayAt(1, hours, 0))
			for _, m := range members {
				m.stop()
			}
		})
	}
}
