package backup_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-backup/caddy-backup/backup"
	"github.com/caddy-backup/caddy-backup/backup/backuptest"
	"github.com/caddy-backup/caddy-backup/repo"
	"github.com/caddy-backup/caddy-backup/storage"
	"github.com/caddy-backup/caddy-backup/storage/storagetest"
)

func TestSeries(t *testing.T) {
	snapshot := func(id, host, job string, tags ...string) backup.Snapshot {
		return backup.Snapshot{ID: id + strings.Repeat("0", 8), Host: host, Job: job, Paths: []string{"/" + job}, Tags: tags}
	}
	all := []backup.Snapshot{ // newest first
		snapshot("1", "b", "shop", "suspect"), snapshot("2", "a", "shop"), snapshot("3", "b", "shop"), snapshot("4", "a", "blog", "suspect"),
		snapshot("5", "a", "blog", "suspect"), {ID: "600000000", Host: "a", Paths: []string{"/etc", "/srv"}}, {ID: "700000000", Host: "a", Paths: []string{"/etc", "/srv"}},
	}
	list := backup.AllSeries(all, "")
	var got []string
	for i, folder := range backup.Folders(list) {
		got = append(got, list[i].Host+" "+list[i].Job+" "+list[i].Best().ID[:1]+" "+folder)
	}
	want := []string{"a  6 a/snapshot-60000000", "a blog 4 a", "a shop 2 a", "b shop 3 b"}
	if !slices.Equal(got, want) {
		t.Errorf("%q\nwant %q", got, want)
	}
	if one := backup.AllSeries(all, "blog"); len(one) != 1 || len(one[0].Snapshots) != 2 || backup.Folders(one)[0] != "" {
		t.Errorf("%+v", one)
	}
	if none := backup.AllSeries(all, "nosuch"); len(none) != 0 || len(backup.Folders(none)) != 0 {
		t.Errorf("%+v", none)
	}
}

// medium is a storage that cannot be written to.
type medium struct {
	*storage.Memory
	t *testing.T
}

var errReadOnly = errors.New("read-only file system")

func (m medium) Put(_ context.Context, name string, _ []byte) error {
	if !strings.HasPrefix(name, "locks/") {
		m.t.Errorf("a recovery writes %s", name)
	}
	return errReadOnly
}

func (m medium) Delete(_ context.Context, name string) error {
	if !strings.HasPrefix(name, "locks/") {
		m.t.Errorf("a recovery deletes %s", name)
	}
	return errReadOnly
}

// newMedium makes a backup of a shop with some files, and a Service on another machine that can only read it.
func newMedium(t *testing.T) (below *storage.Memory, s backup.Snapshot, e *backuptest.Env) {
	first := backuptest.New(t, func(c *backup.Config) {
		c.Jobs[0].Sources = append(c.Jobs[0].Sources, backup.NamedSource{Name: "media", Kind: "fake",
			Source: backuptest.Folder{"a/1.jpg": "one", "a/2.jpg": "two", "b/c/3.jpg": "three"}})
	})
	s = first.Backed(t, "shop")
	return first.Storage, s, newPlace(t, medium{first.Storage, t}, func(c *backup.Config) {
		c.Repositories[0].Password, c.Repositories[0].ReadOnly = []byte(backuptest.Password), true
		c.Jobs, c.DataDir = nil, ""
	})
}

func TestRecoverFromAMediumThatCannotBeWritten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, s, e := newMedium(t)
		target := filepath.Join(t.TempDir(), "all")
		run := restored(t, e, backup.RestoreRequest{Snapshot: s.ID, Target: target, Partial: true})
		if run.State != backup.StateOK || len(run.Findings) != 2 || run.Findings[0].File != "/shop/db.sql" || run.Findings[1].File != "/shop/media" {
			t.Errorf("%+v", run)
		}
		if got := must(os.ReadFile(target + "/shop/media/b/c/3.jpg"))(t); string(got) != "three" {
			t.Errorf("%q", got)
		}
		if left := must(filepath.Glob(target + "/RESTORE-*"))(t); len(left) > 0 {
			t.Error(left)
		}
	})
}

// TestRecoverWhatCanBeRead damages each file of a repository in turn, in several ways: what is restored is right, what is
// not is named, and nothing is both or neither.
func TestRecoverWhatCanBeRead(t *testing.T) {
	want := map[string]string{"db.sql": "create table customer;\n", "media/a/1.jpg": "one", "media/a/2.jpg": "two", "media/b/c/3.jpg": "three"}
	damages := map[string]func(t *testing.T, st *storage.Memory, name string){
		"gone": func(t *testing.T, st *storage.Memory, name string) { storagetest.Remove(t, st, name) },
		"cut": func(t *testing.T, st *storage.Memory, name string) {
			data := storagetest.Read(t, st, name)
			storagetest.Write(t, st, name, data[:len(data)/2])
		},
		"first bytes": func(t *testing.T, st *storage.Memory, name string) {
			data := slices.Clone(storagetest.Read(t, st, name))
			for i := range min(len(data), 40) {
				data[i] ^= 0x55
			}
			storagetest.Write(t, st, name, data)
		},
	}
	for damage, do := range damages {
		for _, dir := range []string{"data", "index", "snapshots"} {
			t.Run(damage+" "+dir, func(t *testing.T) {
				for k, more := 0, true; more; k++ {
					synctest.Test(t, func(t *testing.T) {
						below, s, e := newMedium(t)
						names := storagetest.Names(t, below, dir)
						if more = k < len(names)-1; k >= len(names) {
							t.Fatalf("nothing in %s", dir)
						}
						slices.Sort(names)
						do(t, below, names[k])
						target := filepath.Join(t.TempDir(), "all")
						run := restored(t, e, backup.RestoreRequest{Snapshot: s.ID, Target: target, Partial: true})
						requireAccount(t, run, target, want)
						if dir == "index" && run.State != backup.StateOK {
							t.Errorf("without its index: %s", run.Error)
						}
						if dir != "index" && run.State == backup.StateOK {
							t.Errorf("with %s %s: %+v", names[k], damage, run)
						}
					})
				}
			})
		}
	}
}

// requireAccount compares what is there with what the run says.
func requireAccount(t *testing.T, run backup.Run, target string, want map[string]string) {
	t.Helper()
	lost := func(path string) bool {
		return slices.ContainsFunc(run.Findings, func(f backup.Finding) bool {
			return f.Error && (f.File == path || strings.HasPrefix(path, f.File+"/"))
		})
	}
	if run.State != backup.StateOK && len(run.Findings) == 0 { // nothing could be restored at all
		if _, err := os.Stat(target); err == nil {
			t.Errorf("there is a target, and no word of what is in it: %+v", run)
		}
		return
	}
	for path, text := range want {
		got, err := os.ReadFile(filepath.Join(target, "shop", path))
		if err == nil && string(got) != text {
			t.Errorf("%s holds %q", path, got)
		}
		if (err != nil) != lost("/shop/"+path) {
			t.Errorf("%s: %v, and lost: %v\n%+v", path, err, lost("/shop/"+path), run)
		}
	}
	marks := must(filepath.Glob(target + "/RESTORE-INCOMPLETE-*"))(t)
	if (len(marks) == 1) != (run.State != backup.StateOK) {
		t.Errorf("%s, and marks %v", run.State, marks)
	}
	if len(marks) == 1 && !strings.Contains(string(must(os.ReadFile(marks[0]))(t)), run.Findings[0].File) {
		t.Errorf("the mark does not name %s", run.Findings[0].File)
	}
}

// TestRecoverBesideADeadLock: the lock of a machine that is gone holds nobody up for ever.
func TestRecoverBesideADeadLock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		below, s, e := newMedium(t)
		r := must(repo.Open(t.Context(), below, []byte(backuptest.Password), repo.Options{}))(t)
		lock := must(r.Lock(t.Context(), true))(t)
		defer lock.Unlock()
		e.SetLockWait(4 * time.Second)
		run := restored(t, e, backup.RestoreRequest{Snapshot: s.ID, Target: filepath.Join(t.TempDir(), "all"), Partial: true})
		if run.State != backup.StateOK || !slices.ContainsFunc(run.Log, func(l backup.LogLine) bool { return strings.Contains(l.Text, "read without a lock") }) {
			t.Errorf("%+v", run)
		}
	})
}

// TestRestoreWithoutALock restores where the lock cannot be had, but not as a recovery: it fails, and says what would do.
func TestRestoreWithoutALock(t *testing.T) {
	for name, c := range map[string]struct {
		place func(t *testing.T, below *storage.Memory) backup.Storage
		want  string
	}{
		"read-only": {func(t *testing.T, below *storage.Memory) backup.Storage { return medium{below, t} }, "caddy backup recover memory"},
		"locked": {func(t *testing.T, below *storage.Memory) backup.Storage {
			lockBy(t, below, true, repo.Options{Hostname: "elsewhere"})
			return below
		}, "caddy backup unlock"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				below, s, _ := newMedium(t)
				e := newPlace(t, c.place(t, below), func(c *backup.Config) { c.Repositories[0].Password = []byte(backuptest.Password) })
				e.SetLockWait(4 * time.Second)
				run := restored(t, e, backup.RestoreRequest{Snapshot: s.ID, Target: filepath.Join(t.TempDir(), "all")})
				if run.State != backup.StateFailed || !strings.Contains(run.Error, c.want) {
					t.Errorf("%+v", run)
				}
			})
		})
	}
}

// TestRecoveryAdvice: what a recovery cannot do is not mended by a configuration or by a new repository.
func TestRecoveryAdvice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for want, change := range map[string]func(c *backup.Config){
			"is the path right": func(c *backup.Config) { c.Repositories[0].Storage = new(storage.Memory) },
			"the recovery kit":  func(c *backup.Config) { c.Repositories[0].Password = []byte("wrong") },
		} {
			e := newPlace(t, backuptest.Repository(t), func(c *backup.Config) {
				c.Repositories[0].Password, c.Repositories[0].ReadOnly = []byte(backuptest.Password), true
				c.Jobs, c.DataDir = nil, ""
				change(c)
			})
			run := restored(t, e, backup.RestoreRequest{Snapshot: "latest", Job: "shop", Target: filepath.Join(t.TempDir(), "all"), Partial: true})
			if !strings.Contains(run.Error, want) || strings.Contains(run.Error, "init") || strings.Contains(run.Error, "configuration") {
				t.Errorf("want %q: %s", want, run.Error)
			}
		}
	})
}
