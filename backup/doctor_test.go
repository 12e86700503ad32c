package backup_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
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

// patient is a source that says what it is told to when it is examined.
type patient struct {
	*backuptest.Source
	examine func(ctx context.Context) []backup.Diagnosis
}

func (p patient) Examine(ctx context.Context, _ *backup.Task) []backup.Diagnosis {
	return p.examine(ctx)
}

// roomy is a storage that says how much room it has.
type roomy struct {
	backup.Storage
	free int64
}

func (r roomy) FreeSpace(context.Context) (int64, bool) { return r.free, true }

// lockBy takes a lock as another program would, which is not given up.
func lockBy(t *testing.T, st repo.Storage, exclusive bool, o repo.Options) {
	t.Helper()
	r := must(repo.Open(t.Context(), st, []byte(backuptest.Password), o))(t)
	l := must(r.Lock(t.Context(), exclusive))(t)
	t.Cleanup(func() { l.Unlock() })
}

// TestDoctor makes one thing wrong at a time.
func TestDoctor(t *testing.T) {
	tell := func(level backup.Level, text string) func(*testing.T, *backup.Config) {
		return func(_ *testing.T, c *backup.Config) {
			c.Jobs[0].Sources[0].Source = patient{backuptest.NewSource("x"), func(context.Context) []backup.Diagnosis {
				return []backup.Diagnosis{{Level: level, Text: text}}
			}}
		}
	}
	on := func(change func(*testing.T, backup.Storage) backup.Storage) func(*testing.T, *backup.Config) {
		return func(t *testing.T, c *backup.Config) { c.Repositories[0].Storage = change(t, c.Repositories[0].Storage) }
	}
	for _, c := range []struct {
		name   string
		change func(*testing.T, *backup.Config)
		level  backup.Level
		about  string
		want   string
	}{
		{"well", func(*testing.T, *backup.Config) {}, backup.LevelNote, "repository default", "opens at memory"},
		{"well source", tell(backup.LevelOK, "fine"), backup.LevelNote, "job shop, source db", "fine"},
		{"source", tell(backup.LevelError, "nobody listens there"), backup.LevelError, "job shop, source db", "nobody listens there"},
		{"doubt", tell(backup.LevelWarning, "is empty"), backup.LevelWarning, "job shop, source db", "is empty"},
		{"a job that is off", func(t *testing.T, c *backup.Config) {
			tell(backup.LevelError, "nobody")(t, c)
			c.Jobs[0].Off = true
		}, backup.LevelNote, "job shop", "is switched off"},
		{"no answer", func(_ *testing.T, c *backup.Config) {
			c.Jobs[0].Sources[0].Source = patient{backuptest.NewSource("x"), func(ctx context.Context) []backup.Diagnosis {
				time.Sleep(10 * time.Minute)
				return nil
			}}
		}, backup.LevelError, "job shop, source db", "no answer within 20s"},
		{"panic", func(_ *testing.T, c *backup.Config) {
			c.Jobs[0].Sources[0].Source = patient{backuptest.NewSource("x"), func(context.Context) []backup.Diagnosis { panic("oh") }}
		}, backup.LevelError, "job shop, source db", "panic: oh"},
		{"password", func(_ *testing.T, c *backup.Config) { c.Repositories[0].Password = []byte(canaryPassword) },
			backup.LevelError, "repository default", "wrong password"},
		{"password file", func(t *testing.T, c *backup.Config) {
			c.Repositories[0].PasswordFiles = []string{filepath.Join(t.TempDir(), "gone")}
		}, backup.LevelError, "repository default", "caddy backup key add --repository default"},
		{"not made yet", on(func(*testing.T, backup.Storage) backup.Storage { return new(storage.Memory) }),
			backup.LevelNote, "repository default", "the first backup makes it"},
		{"cannot be written", on(func(_ *testing.T, st backup.Storage) backup.Storage {
			return storagetest.NewFaulty(st, storagetest.Fault{Times: storagetest.Forever, Err: errors.New("read-only file system"),
				Only: func(op storagetest.Op) bool { return op.Kind == storagetest.Put }})
		}), backup.LevelError, "repository default", "read-only file system"},
		{"reads wrongly", on(func(_ *testing.T, st backup.Storage) backup.Storage {
			return storagetest.NewFaulty(st, storagetest.Fault{How: storagetest.Corrupt,
				Only: func(op storagetest.Op) bool {
					return op.Kind == storagetest.Get && strings.HasPrefix(op.Name, "locks/doctor-")
				}})
		}), backup.LevelError, "repository default", "not what was written"},
		{"cannot delete", on(func(_ *testing.T, st backup.Storage) backup.Storage {
			return storagetest.NewFaulty(st, storagetest.Fault{Err: errors.New("append-only"),
				Only: func(op storagetest.Op) bool { return op.Kind == storagetest.Delete }})
		}), backup.LevelError, "repository default", "append-only"},
		{"full", on(func(_ *testing.T, st backup.Storage) backup.Storage { return roomy{st, 10 << 20} }),
			backup.LevelError, "repository default", "10 MiB are free"},
		{"scarce", on(func(_ *testing.T, st backup.Storage) backup.Storage { return roomy{st, 500 << 20} }),
			backup.LevelWarning, "repository default", "500 MiB are free"},
		{"room", on(func(_ *testing.T, st backup.Storage) backup.Storage { return roomy{st, 500 << 30} }),
			backup.LevelNote, "repository default", "500 GiB free"},
		{"damaged key", on(func(t *testing.T, st backup.Storage) backup.Storage {
			storagetest.Write(t, st, "keys/"+repo.Hash([]byte("x")).String(), []byte("x"))
			return st
		}), backup.LevelWarning, "repository default", "caddy backup key remove"},
		{"dead lock", on(func(t *testing.T, st backup.Storage) backup.Storage {
			ago := time.Now().Add(-time.Hour)
			lockBy(t, st, true, repo.Options{Hostname: "old", Now: func() time.Time { return ago }})
			return st
		}), backup.LevelError, "repository default", "caddy backup unlock"},
		{"lock", on(func(t *testing.T, st backup.Storage) backup.Storage {
			lockBy(t, st, true, repo.Options{Hostname: "elsewhere"})
			return st
		}), backup.LevelWarning, "repository default", "works with it alone"},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				e := backuptest.New(t, func(config *backup.Config) { c.change(t, config) })
				before := storagetest.Names(t, e.Config.Repositories[0].Storage, "")
				x := must(e.Doctor(t.Context(), "tester", backup.DoctorRequest{}))(t)
				found := false
				for _, d := range x.Diagnoses {
					found = found || d.About == c.about && strings.Contains(d.Text, c.want)
				}
				if x.Level != c.level || !found {
					t.Errorf("%s, want %s and %q about %s: %+v", x.Level, c.level, c.want, c.about, x.Diagnoses)
				}
				if text := fmt.Sprint(x); strings.Contains(text, canaryPassword) || strings.Contains(text, backuptest.Password) {
					t.Error("a password is told")
				}
				if after := storagetest.Names(t, e.Config.Repositories[0].Storage, ""); len(after) != len(before) && c.name != "cannot delete" {
					t.Errorf("%d files became %d", len(before), len(after))
				}
				if c.name == "no answer" {
					time.Sleep(time.Hour) // the source that was left behind
				}
			})
		})
	}
}

// TestDoctorPasswordLost: while the server runs, nothing else misses the file with a generated password.
func TestDoctorPasswordLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // each part is given up after some seconds
		e := backuptest.New(t, func(c *backup.Config) {
			c.Repositories[0].Storage, c.Repositories[0].Password = new(storage.Memory), nil
		})
		e.Cheap()
		e.Backed(t, "shop")
		files := must(filepath.Glob(filepath.Join(e.Config.DataDir, "*.password")))(t)
		if len(files) != 1 {
			t.Fatal(files)
		}
		if err := os.Remove(files[0]); err != nil {
			t.Fatal(err)
		}
		e.Backed(t, "shop")
		x := must(e.Doctor(t.Context(), "tester", backup.DoctorRequest{}))(t)
		if text := fmt.Sprint(x.Diagnoses); x.Level != backup.LevelError || !strings.Contains(text, "let this server run on, and make another: caddy backup key add") {
			t.Errorf("%s: %s", x.Level, text)
		}
	})
}

// TestDoctorOrphans: a job that was added at run time is lost with Caddy's storage, and nothing else would miss it.
func TestDoctorOrphans(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := backuptest.Repository(t)
		for _, name := range []string{"gone", "shop"} {
			e := backuptest.New(t, func(c *backup.Config) {
				c.Jobs[0].Name, c.Repositories[0].Storage = name, st
			})
			e.Backed(t, name)
			x := must(e.Doctor(t.Context(), "tester", backup.DoctorRequest{}))(t)
			text := fmt.Sprint(x.Diagnoses)
			if told := strings.Contains(text, "job gone made snapshots of this host"); told != (name == "shop") || strings.Contains(text, "job shop made") {
				t.Errorf("%s: %s", name, text)
			}
		}
	})
}

// TestDoctorLater: what shows only when there were runs.
func TestDoctorLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := backuptest.New(t)
		e.Cheap()
		e.Backed(t, "shop")
		keysChanged(t, e)(e.ChangePassword(t.Context(), "tester", "", []byte(canaryPassword)))
		x := must(e.Doctor(t.Context(), "tester", backup.DoctorRequest{}))(t)
		if text := fmt.Sprint(x.Diagnoses); x.Level != backup.LevelWarning || !strings.Contains(text, "1 snapshot, newest") ||
			!strings.Contains(text, "never checked") || !strings.Contains(text, "the configuration still has the old one") {
			t.Errorf("%s: %s", x.Level, text)
		}
		for _, name := range storagetest.Names(t, e.Storage, "snapshots") {
			storagetest.Remove(t, e.Storage, name)
		}
		runCheck(t, e, false)
		x = must(e.Doctor(t.Context(), "tester", backup.DoctorRequest{}))(t)
		if text := fmt.Sprint(x.Diagnoses); !strings.Contains(text, "the repository was emptied, and had 1 snapshot") {
			t.Errorf("%s: %s", x.Level, text)
		}
		storagetest.Remove(t, e.Storage, "config")
		x = must(e.Doctor(t.Context(), "tester", backup.DoctorRequest{}))(t)
		if text := fmt.Sprint(x.Diagnoses); x.Level != backup.LevelError || !strings.Contains(text, "is gone from memory") {
			t.Errorf("%s: %s", x.Level, text)
		}
		if names := storagetest.Names(t, e.Storage, "locks"); len(names) > 0 {
			t.Errorf("a place that is not what it was was written to: %q", names)
		}
	})
}
