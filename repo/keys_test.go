package repo_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/caddy-backup/caddy-backup/internal/realtest"
	"github.com/caddy-backup/caddy-backup/repo"
	"github.com/caddy-backup/caddy-backup/storage"
	"github.com/caddy-backup/caddy-backup/storage/storagetest"
)

// underLock has work done under a lock, as a process does that begins and ends.
func underLock(t testing.TB, st repo.Storage, password string, exclusive bool, work func(*repo.Repository, *repo.Lock) error) error {
	t.Helper()
	r, err := repo.Open(t.Context(), st, []byte(password), repo.Options{KDF: cheap})
	if err != nil {
		return err
	}
	l, err := r.Lock(t.Context(), exclusive)
	if err != nil {
		return err
	}
	defer l.Unlock()
	return work(r, l)
}

// opens reports whether a password opens what is stored.
func opens(t testing.TB, st repo.Storage, password string) bool {
	t.Helper()
	_, err := repo.Open(t.Context(), st, []byte(password), repo.Options{})
	if err != nil && !errors.Is(err, repo.ErrWrongPassword) {
		t.Fatal(err)
	}
	return err == nil
}

func mustOpen(t testing.TB, st repo.Storage, want map[string]bool) {
	t.Helper()
	for p, open := range want {
		if opens(t, st, p) != open {
			t.Errorf("password %q opens: %v", p, !open)
		}
	}
}

func TestKeys(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := new(storage.Memory)
		r := initRepo(t, st, repo.Options{Hostname: "here"})
		var second repo.ID
		must := func(err error) {
			t.Helper()
			if err != nil {
				t.Fatal(err)
			}
		}
		must(underLock(t, st, password, false, func(r *repo.Repository, l *repo.Lock) (err error) {
			second, err = r.AddKey(l, []byte("second"))
			return err
		}))
		mustOpen(t, st, map[string]bool{password: true, "second": true, "third": false})
		damaged := repo.Hash([]byte("no key"))
		storagetest.Write(t, st, "keys/"+damaged.String(), []byte("no key"))
		keys, err := r.Keys(t.Context())
		if err != nil || len(keys) != 3 || keys[0].Hostname != "here" || keys[1].ID != second || keys[2].ID != damaged || keys[2].Damaged == "" {
			t.Fatalf("keys: %+v, %v", keys, err)
		}
		first, err := r.KeyOf(t.Context(), []byte(password))
		if err != nil || first != keys[0].ID {
			t.Errorf("key of the password: %v, %v", first, err)
		}

		remove := func(id repo.ID, p string) error {
			return underLock(t, st, password, true, func(r *repo.Repository, l *repo.Lock) error { return r.RemoveKey(l, id, []byte(p)) })
		}
		for _, c := range []struct {
			id   repo.ID
			p    string
			want error
		}{
			{first, password, repo.ErrKeyNeeded},
			{second, "third", repo.ErrWrongPassword},
			{repo.Hash(nil), password, repo.ErrNotFound},
			{damaged, password, nil},
			{second, password, nil},
			{first, password, repo.ErrKeyNeeded}, // the last one
		} {
			if err := remove(c.id, c.p); !errors.Is(err, c.want) || (err == nil) != (c.want == nil) {
				t.Errorf("remove %s: %v, want %v", c.id.Short(), err, c.want)
			}
		}
		mustOpen(t, st, map[string]bool{password: true, "second": false})

		change := func(old, new string, adopt func() error) error {
			return underLock(t, st, old, true, func(r *repo.Repository, l *repo.Lock) error {
				id, err := r.ChangePassword(l, []byte(old), []byte(new), adopt)
				if _, own := r.Keys(t.Context()); err == nil && (own != nil || id.IsZero()) {
					t.Errorf("the new key is %s, %v", id.Short(), own)
				}
				return err
			})
		}
		adopted := false
		must(change(password, "new", func() error {
			adopted = opens(t, st, password) && opens(t, st, "new")
			return nil
		}))
		if !adopted {
			t.Error("while the new password is adopted, both must open")
		}
		mustOpen(t, st, map[string]bool{password: false, "new": true})
		if err := change("new", "newer", func() error { return errors.New("no") }); err == nil {
			t.Error("a password that could not be adopted took the place of the old one")
		}
		mustOpen(t, st, map[string]bool{"new": true, "newer": true})
		must(change("new", "newer", nil))
		mustOpen(t, st, map[string]bool{"new": false, "newer": true})
		must(change("newer", "newer", nil)) // the same again: a new salt, and both others go
		if keys, err := r.Keys(t.Context()); err != nil || len(keys) != 1 {
			t.Errorf("keys: %+v, %v", keys, err)
		}
		if err := change("newer", "", nil); err == nil {
			t.Error("an empty password was taken")
		}
		if err := underLock(t, st, "newer", false, func(r *repo.Repository, l *repo.Lock) error {
			_, err := r.ChangePassword(l, []byte("newer"), []byte("x"), nil)
			return errors.Join(err, r.RemoveKey(l, first, []byte("newer")))
		}); err == nil || !strings.Contains(err.Error(), "passwords are changed") || !strings.Contains(err.Error(), "keys are removed") {
			t.Errorf("under a shared lock: %v", err)
		}
		if _, err := write(t.Context(), r, acknowledged); err != nil { // one who had it open goes on
			t.Error(err)
		}
	})
}

// TestTwentyKeys: no more are made than are tried; at the limit a password can still be changed.
func TestTwentyKeys(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := new(storage.Memory)
		initRepo(t, st, repo.Options{})
		err := underLock(t, st, password, true, func(r *repo.Repository, l *repo.Lock) error {
			for i := range 19 {
				if _, err := r.AddKey(l, fmt.Appendf(nil, "password %d", i)); err != nil {
					return err
				}
			}
			if _, err := r.AddKey(l, []byte("one more")); !errors.Is(err, repo.ErrTooManyKeys) {
				t.Errorf("the 21st key: %v", err)
			}
			_, err := r.ChangePassword(l, []byte("password 7"), []byte("seven"), nil)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		mustOpen(t, st, map[string]bool{password: true, "password 0": true, "password 18": true, "seven": true, "password 7": false, "one more": false})
	})
}

// keyChanges are the works that TestKeyFaults disturbs; known are all passwords that anybody may know afterwards.
var keyChanges = []struct {
	name  string
	known []string
	done  []string // open it once the change was reported as done
	gone  []string // do not, then
	do    func(r *repo.Repository, l *repo.Lock) error
}{
	{"add", []string{password, "new"}, []string{password, "spare", "new"}, nil, func(r *repo.Repository, l *repo.Lock) error {
		_, err := r.AddKey(l, []byte("new"))
		return err
	}},
	{"remove", []string{password}, []string{password}, []string{"spare"}, func(r *repo.Repository, l *repo.Lock) error {
		id, err := r.KeyOf(l.Context(), []byte("spare"))
		if err != nil {
			return err
		}
		return r.RemoveKey(l, id, []byte(password))
	}},
	{"passwd", []string{password, "new"}, []string{"spare", "new"}, []string{password}, func(r *repo.Repository, l *repo.Lock) error {
		_, err := r.ChangePassword(l, []byte(password), []byte("new"), nil)
		return err
	}},
}

// TestKeyFaults ends the process at, or has something go wrong with, each operation of a change of the keys: one of the
// known passwords always opens the repository, and what was acknowledged is there.
func TestKeyFaults(t *testing.T) {
	if testing.Short() {
		t.Skip("one thing after the other: no races to be found")
	}
	base, old := template(t)
	err := underLock(t, base, password, false, func(r *repo.Repository, l *repo.Lock) error {
		_, err := r.AddKey(l, []byte("spare"))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	type fault struct {
		how   storagetest.How
		crash bool
		times int
	}
	faults := []fault{
		{storagetest.Before, true, 0}, {storagetest.Midway, true, 0}, {storagetest.After, true, 0},
		{storagetest.Before, false, 1}, {storagetest.After, false, 1}, {storagetest.Midway, false, 1},
		{storagetest.Lie, false, 1}, {storagetest.Short, false, 1}, {storagetest.Corrupt, false, 1},
		{storagetest.Before, false, storagetest.Forever}, {storagetest.After, false, storagetest.Forever},
	}
	for _, change := range keyChanges {
		for _, fault := range faults {
			for k, more := 1, true; more; k++ {
				more = false // also when this test is not among those to be run
				t.Run(fmt.Sprintf("%s %+v operation %d", change.name, fault, k), func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) {
						f, below := disturbed(t, base)
						if fault.crash {
							f.Crash(k, fault.how)
						} else {
							f.Inject(storagetest.Fault{At: k, How: fault.how, Times: fault.times})
						}
						err := underLock(t, f, password, true, change.do)
						more = f.Fired() > 0
						keyChangeHolds(t, below, change.known, old)
						if err == nil {
							for _, p := range change.done {
								mustOpen(t, below, map[string]bool{p: true})
							}
							for _, p := range change.gone {
								mustOpen(t, below, map[string]bool{p: false})
							}
						}
					})
				})
			}
		}
	}
}

// keyChangeHolds opens what is stored with one of the passwords that are known and reads the acknowledged snapshot.
func keyChangeHolds(t *testing.T, st repo.Storage, known []string, old repo.ID) {
	t.Helper()
	for _, p := range known {
		r, err := repo.Open(t.Context(), st, []byte(p), repo.Options{})
		if err != nil {
			continue
		}
		if err := r.LoadIndex(t.Context()); err != nil {
			t.Fatal(err)
		}
		s, err := r.FindSnapshot(t.Context(), old.String(), repo.SnapshotFilter{})
		if err != nil {
			t.Fatal(err)
		}
		verify(t, r, s.Tree, acknowledged)
		return
	}
	t.Errorf("none of %q opens the repository", known)
}

// TestKeysWithRestic: restic opens with the keys that we make, and we with those that it makes.
func TestKeysWithRestic(t *testing.T) {
	if testing.Short() {
		t.Skip("one thing after the other: no races to be found")
	}
	realtest.Need(t, "restic")
	dir := filepath.Join(t.TempDir(), "repo")
	st := storage.NewLocal(dir)
	if _, err := write(t.Context(), initRepo(t, st, repo.Options{}), content{"a": []byte("a")}); err != nil {
		t.Fatal(err)
	}
	file := func(text string) string {
		p := filepath.Join(t.TempDir(), "password")
		if err := os.WriteFile(p, []byte(text+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		return p
	}
	ours := func(exclusive bool, p string, do func(*repo.Repository, *repo.Lock) error) {
		t.Helper()
		if err := underLock(t, st, p, exclusive, do); err != nil {
			t.Fatal(err)
		}
	}
	restic := func(p string, args ...string) string { t.Helper(); return realtest.Restic(t, dir, p, args...) }

	ours(false, password, func(r *repo.Repository, l *repo.Lock) error { _, err := r.AddKey(l, []byte("ours")); return err })
	restic("ours", "snapshots")
	restic(password, "key", "add", "--new-password-file", file("theirs"))
	mustOpen(t, st, map[string]bool{password: true, "ours": true, "theirs": true})

	ours(true, "theirs", func(r *repo.Repository, l *repo.Lock) error {
		_, err := r.ChangePassword(l, []byte("theirs"), []byte("changed"), nil)
		return err
	})
	mustOpen(t, st, map[string]bool{"theirs": false, "changed": true})
	restic("changed", "key", "passwd", "--new-password-file", file("again"))
	mustOpen(t, st, map[string]bool{"changed": false, "again": true})

	keys, err := openRepo(t, st).Keys(t.Context())
	if err != nil || len(keys) != 3 {
		t.Fatalf("keys: %+v, %v", keys, err)
	}
	var listed []struct {
		ID string `json:"id"`
	}
	if err := json.Unmarshal([]byte(restic("ours", "key", "list", "--json")), &listed); err != nil || len(listed) != 3 {
		t.Errorf("restic lists %+v, %v", listed, err)
	}
	again, err := openRepo(t, st).KeyOf(t.Context(), []byte("again"))
	if err != nil {
		t.Fatal(err)
	}
	ours(true, "ours", func(r *repo.Repository, l *repo.Lock) error { return r.RemoveKey(l, again, []byte("ours")) })
	if _, err := realtest.TryRestic(t, dir, "again", "snapshots"); err == nil {
		t.Error("restic opens the repository with a key that was removed")
	}
	id, err := openRepo(t, st).KeyOf(t.Context(), []byte(password))
	if err != nil {
		t.Fatal(err)
	}
	restic("ours", "key", "remove", id.String())
	mustOpen(t, st, map[string]bool{password: false, "ours": true})
	restic("ours", "check", "--read-data")
}
