package repo_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-backup/caddy-backup/internal/realtest"
	"github.com/caddy-backup/caddy-backup/repo"
	"github.com/caddy-backup/caddy-backup/storage"
	"github.com/caddy-backup/caddy-backup/storage/storagetest"
)

// TestRandomHistories lets us and restic back up, tag, forget and prune by turns in one repository, with our processes
// killed here and there. After each step every living snapshot is read back whole and our check finds no error; restic's
// check follows now and then, and at the end.
func TestRandomHistories(t *testing.T) {
	realtest.Need(t, "restic")
	histories, steps := 1, 40
	if testing.Short() {
		steps = 15
	}
	if realtest.Soak() {
		histories, steps = 30, 120
	}
	seed := realtest.Seed(t)
	for n := range histories {
		synctest.Test(t, func(t *testing.T) {
			h := newHistory(t, rand.New(rand.NewPCG(seed, uint64(n))))
			for range steps {
				h.step()
				if t.Failed() {
					t.Fatalf("history %d:\n%s", n, strings.Join(h.log, "\n"))
				}
			}
			h.check()
			t.Logf("history %d:\n%s", n, strings.Join(h.log, "\n"))
		})
	}
}

// history is a repository, and what should be in it.
type history struct {
	t     *testing.T
	rng   *rand.Rand
	dir   string
	st    *storage.Local
	log   []string
	alive map[repo.ID]content // by stable ID, as a reader finds it

	// After a crash: the snapshots that may be gone, and what another one may hold.
	doubtful map[repo.ID]bool
	written  content
}

func newHistory(t *testing.T, rng *rand.Rand) *history {
	h := &history{t: t, rng: rng, dir: filepath.Join(t.TempDir(), "repo"), alive: map[repo.ID]content{}}
	h.st = storage.NewLocal(h.dir)
	initRepo(t, h.st, repo.Options{PackSize: 4 << 20})
	return h
}

// step does something, and looks at what came of it.
func (h *history) step() {
	h.doubtful, h.written = map[repo.ID]bool{}, nil
	steps := []struct {
		often int
		name  string
		do    func() error
	}{
		{6, "backup", h.backup}, {3, "keep", h.keep}, {5, "forget", h.forget}, {5, "prune", h.prune}, {2, "a day later", h.age},
		{2, "restic backup", h.resticBackup}, {2, "restic tag", h.resticTag}, {2, "restic forget", h.resticForget}, {2, "restic prune", h.resticPrune},
	}
	all := 0
	for _, s := range steps {
		all += s.often
	}
	chosen := h.rng.IntN(all)
	for _, s := range steps {
		if chosen -= s.often; chosen < 0 {
			h.log = append(h.log, s.name)
			if err := s.do(); err != nil {
				h.t.Errorf("%s: %v", s.name, err)
			}
			break
		}
	}
	h.look()
	if h.rng.IntN(8) == 0 {
		h.check()
	}
}

// note adds to the line of this step.
func (h *history) note(format string, args ...any) {
	h.log[len(h.log)-1] += " " + fmt.Sprintf(format, args...)
}

// ours does work as a process of ours that begins and ends, or, one time in three, is killed somewhere on the way.
// Then the journal's part is played too: the lock goes.
func (h *history) ours(work func(r *repo.Repository) error) error {
	f := storagetest.NewFaulty(h.st)
	if h.rng.IntN(3) == 0 {
		how := []storagetest.How{storagetest.Before, storagetest.Midway, storagetest.After}[h.rng.IntN(3)]
		k := 5 + h.rng.IntN(40)
		f.Crash(k, how)
		h.note("crash %v %d", how, k)
	}
	r, err := repo.Open(h.t.Context(), f, []byte(password), repo.Options{PackSize: 4 << 20})
	if err == nil {
		err = work(r)
	}
	if f.Fired() > 0 {
		breakLocks(h.t, h.st)
		return nil
	}
	return err
}

// files are drawn from a few, so that snapshots share some of what lies in one pack.
func (h *history) files() content {
	c := content{"dir": nil}
	for i := range 8 {
		if version := h.rng.IntN(4); version > 0 {
			name := fmt.Sprintf("%sfile%d", []string{"", "dir/"}[i%2], i)
			c[name] = text(uint64(10*i+version), 2_000+30_000*version)
		}
	}
	return c
}

func (h *history) backup() error {
	h.written = h.files()
	return h.ours(func(r *repo.Repository) error {
		s, err := write(h.t.Context(), r, h.written)
		if err == nil {
			h.alive[s.ID] = h.written
			h.note("%s", s.ID.Short())
		}
		return err
	})
}

// some picks a living snapshot.
func (h *history) some() (repo.ID, bool) {
	if len(h.alive) == 0 {
		return repo.ID{}, false
	}
	ids := slices.SortedFunc(maps.Keys(h.alive), func(a, b repo.ID) int { return strings.Compare(a.String(), b.String()) })
	id := ids[h.rng.IntN(len(ids))]
	h.note("%s", id.Short())
	return id, true
}

func (h *history) keep() error {
	id, ok := h.some()
	if !ok {
		return nil
	}
	return h.ours(func(r *repo.Repository) error {
		lock, err := r.Lock(h.t.Context(), true)
		if err != nil {
			return err
		}
		defer lock.Unlock()
		s, err := r.FindSnapshot(h.t.Context(), id.String(), repo.SnapshotFilter{})
		if err != nil {
			return err
		}
		_, err = r.Retag(h.t.Context(), lock, s, []string{"keep"})
		return err
	})
}

func (h *history) forget() error {
	id, ok := h.some()
	if !ok || len(h.alive) < 3 {
		return nil
	}
	h.doubtful[id] = true
	return h.ours(func(r *repo.Repository) error {
		all, err := r.Snapshots(h.t.Context())
		if err != nil {
			return err
		}
		var files []repo.ID // two, when a crash left both while tags were changed
		for _, s := range all {
			if s.StableID() == id {
				files = append(files, s.ID)
			}
		}
		if err := forget(h.t, r, files...); err != nil {
			return err
		}
		delete(h.alive, id)
		return nil
	})
}

func (h *history) prune() error {
	unused := []float64{repo.NoUnused, repo.NoUnused, 0, 0.3}[h.rng.IntN(4)]
	return h.ours(func(r *repo.Repository) error {
		report, err := prune(h.t, r, repo.PruneOptions{MaxUnused: unused})
		if err == nil {
			h.note("%d kept, %d repacked, %d deleted, %d orphans", report.PacksKept, report.PacksRepacked, report.PacksDeleted, report.PacksUnindexed)
		}
		if errors.Is(err, repo.ErrNoSnapshots) {
			return nil
		}
		return err
	})
}

// age makes all files two days older.
func (h *history) age() error {
	return filepath.Walk(h.dir, func(path string, fi os.FileInfo, err error) error {
		if err != nil {
			return err
		}
		at := fi.ModTime().Add(-48 * time.Hour)
		return os.Chtimes(path, at, at)
	})
}

func (h *history) restic(args ...string) error {
	_, err := realtest.TryRestic(h.t, h.dir, password, args...)
	return err
}

func (h *history) resticBackup() error {
	source, files := h.t.TempDir(), content{}
	for name, data := range h.files() {
		if data == nil {
			continue
		}
		name = filepath.Base(name)
		files[name] = data
		if err := os.WriteFile(filepath.Join(source, name), data, 0o600); err != nil {
			return err
		}
	}
	out, err := realtest.TryRestic(h.t, h.dir, password, "backup", "--json", source)
	if err != nil {
		return err
	}
	var summary struct {
		ID string `json:"snapshot_id"`
	}
	lines := strings.Split(strings.TrimSpace(out), "\n")
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), &summary); err != nil {
		return err
	}
	s, err := openRepo(h.t, h.st).FindSnapshot(h.t.Context(), summary.ID, repo.SnapshotFilter{})
	if err != nil {
		return err
	}
	h.alive[s.ID] = files
	h.note("%s", s.ID.Short())
	return nil
}

func (h *history) resticTag() error {
	id, ok := h.some()
	if !ok {
		return nil
	}
	s, err := openRepo(h.t, h.st).FindSnapshot(h.t.Context(), id.String(), repo.SnapshotFilter{})
	if err != nil {
		return err
	}
	return h.restic("tag", "--add", fmt.Sprint("t", h.rng.IntN(1000)), s.ID.String())
}

func (h *history) resticForget() error {
	id, ok := h.some()
	if !ok || len(h.alive) < 3 {
		return nil
	}
	all, err := openRepo(h.t, h.st).Snapshots(h.t.Context())
	if err != nil {
		return err
	}
	for _, s := range all {
		if s.StableID() == id {
			if err := h.restic("forget", s.ID.String()); err != nil {
				return err
			}
		}
	}
	delete(h.alive, id)
	return nil
}

func (h *history) resticPrune() error {
	if len(h.alive) == 0 {
		return nil
	}
	return h.restic("prune", "--max-unused", []string{"0", "10%"}[h.rng.IntN(2)])
}

// look reads every living snapshot back.
func (h *history) look() {
	t := h.t
	r := openRepoWithIndex(t, h.st)
	all, err := r.Snapshots(t.Context())
	if err != nil {
		t.Error(err)
		return
	}
	found := map[repo.ID]bool{}
	for _, s := range all {
		id := s.StableID()
		found[id] = true
		want, known := h.alive[id]
		if !known { // the last backup was killed when it was through
			if h.written == nil {
				t.Errorf("snapshot %s is from nowhere", id.Short())
				continue
			}
			h.alive[id], want = h.written, h.written
			h.note("left %s", id.Short())
		}
		got := content{}
		for e, err := range r.Walk(t.Context(), s.Tree) {
			if err != nil {
				t.Errorf("snapshot %s: %v", id.Short(), err)
				break
			}
			if e.Node.Type == "file" {
				got[filepath.Base(e.Path)] = readAll(t, r, e.Node)
			}
		}
		for name, data := range want {
			if data != nil && string(got[filepath.Base(name)]) != string(data) {
				t.Errorf("snapshot %s: %s was read with %d bytes other than the %d written", id.Short(), name, len(got[filepath.Base(name)]), len(data))
			}
		}
	}
	for id := range h.alive {
		if !found[id] && !h.doubtful[id] {
			t.Errorf("snapshot %s is lost", id.Short())
		}
		if !found[id] {
			delete(h.alive, id)
		}
	}
	report, err := r.Check(t.Context(), repo.CheckOptions{ReadData: true})
	if err != nil || report.Errors() > 0 {
		t.Errorf("check: %+v, %v", report, err)
	}
}

// check has restic look at everything.
func (h *history) check() {
	if err := h.restic("check", "--read-data"); err != nil {
		h.t.Error(err)
	}
}
