package backup_test

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/caddy-backup/caddy-backup/backup"
	"github.com/caddy-backup/caddy-backup/backup/backuptest"
	"github.com/caddy-backup/caddy-backup/internal/realtest"
	"github.com/caddy-backup/caddy-backup/repo"
	"github.com/caddy-backup/caddy-backup/storage"
	"github.com/caddy-backup/caddy-backup/storage/storagetest"
)

// canaryPassword must not be found anywhere.
const canaryPassword = "canary-5f1d-new-password"

// keysChanged waits for a change of the keys and wants it to go well.
func keysChanged(t *testing.T, e *backuptest.Env) func(backup.Run, error) backup.Run {
	return func(run backup.Run, err error) backup.Run {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		if run = e.Wait(t, run.ID); run.State != backup.StateOK || run.Kind != backup.KindKeys {
			t.Fatalf("%s is %s: %s", run.Kind, run.State, run.Error)
		}
		return run
	}
}

func canOpen(t *testing.T, st repo.Storage, password string) bool {
	t.Helper()
	_, err := repo.Open(t.Context(), st, []byte(password), repo.Options{})
	if err != nil && !errors.Is(err, repo.ErrWrongPassword) {
		t.Fatal(err)
	}
	return err == nil
}

func TestKeysOfAConfiguredPassword(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		e := backuptest.New(t, func(c *backup.Config) {
			c.Logger = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
			c.Repositories[0].PasswordFrom = "the file /run/secrets/backup"
		})
		e.Cheap()
		old := e.Backed(t, "shop")
		done := keysChanged(t, e)
		by := t.Context()

		done(e.AddKey(by, "tester", "", []byte("spare")))
		keys := must(e.Keys(by, ""))(t)
		if len(keys) != 2 || keys[0].Current == keys[1].Current {
			t.Fatalf("%+v", keys)
		}
		own, spare := keys[0], keys[1]
		if spare.Current {
			own, spare = spare, own
		}
		run := must(e.RemoveKey(by, "tester", "", own.ID.Short()))(t)
		if run = e.Wait(t, run.ID); run.State != backup.StateFailed || !strings.Contains(run.Error, repo.ErrKeyNeeded.Error()) {
			t.Errorf("removing the own key: %s, %s", run.State, run.Error)
		}
		run = must(e.RemoveKey(by, "tester", "", "ffffff"))(t)
		if run = e.Wait(t, run.ID); run.State != backup.StateFailed || !strings.Contains(run.Error, "not found") {
			t.Errorf("removing no key: %s, %s", run.State, run.Error)
		}

		run = done(e.ChangePassword(by, "tester", "", []byte(canaryPassword)))
		if text := fmt.Sprint(run.Log); !strings.Contains(text, "WARN") || !strings.Contains(text, "into the file /run/secrets/backup") {
			t.Errorf("the log does not say what to change: %s", text)
		}
		done(e.RemoveKey(by, "tester", "", spare.ID.Short()))
		if canOpen(t, e.Storage, backuptest.Password) || canOpen(t, e.Storage, "spare") || !canOpen(t, e.Storage, canaryPassword) {
			t.Error("other passwords open the repository than should")
		}
		if keys := must(e.Keys(by, ""))(t); len(keys) != 1 || !keys[0].Current {
			t.Errorf("%+v", keys)
		}
		e.Backed(t, "shop") // this process goes on
		if got := string(e.Read(t, old.ID, "/shop/db.sql")); got != "create table customer;\n" {
			t.Errorf("the old snapshot holds %q", got)
		}
		runs := must(e.Runs(by, backup.RunFilter{}))(t)
		synctest.Wait() // nobody writes the log while we read it
		if text := fmt.Sprintf("%+v %s", runs, log.String()); strings.Contains(text, canaryPassword) {
			t.Error("the password stands in the log or in the history")
		}

		for _, bad := range []string{"", "two\nlines", "null\x00"} {
			if _, err := e.AddKey(by, "tester", "", []byte(bad)); !errors.Is(err, backup.ErrInvalid) {
				t.Errorf("password %q: %v", bad, err)
			}
		}
		run = must(e.ChangePassword(by, "tester", "", nil))(t)
		if run = e.Wait(t, run.ID); run.State != backup.StateFailed {
			t.Error("a configured password was generated")
		}

		// The configuration that still has the old password fails clearly at the next start.
		next := backup.New().Cheap()
		defer backuptest.Close(t, next)
		c := e.Config
		c.DataDir = t.TempDir()
		must(next.Attach(c))(t)
		_, err := next.Snapshots(by, backup.SnapshotQuery{})
		if !errors.Is(err, repo.ErrWrongPassword) || !strings.Contains(err.Error(), "correct `password`") {
			t.Errorf("the old password: %v", err)
		}
	})
}

// TestGeneratedPasswordFaults ends the process at each operation of a change of a generated password, and before and after its file is
// replaced: the file always opens the repository.
func TestGeneratedPasswordFaults(t *testing.T) {
	for _, how := range []storagetest.How{storagetest.Before, storagetest.After, storagetest.Midway} {
		k, step := realtest.Points(t)
		for more := true; more; k += step {
			more = false // also when this test is not among those to be run
			t.Run(fmt.Sprintf("%v operation %d", how, k), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					below := new(storage.Memory)
					f := storagetest.NewFaulty(below)
					e := newPlace(t, f)
					e.Backed(t, "shop")
					file := must(e.Repositories(t.Context()))(t)[0].GeneratedPassword
					before := string(must(os.ReadFile(file))(t))

					f.Crash(k, how)
					run := must(e.ChangePassword(t.Context(), "tester", "", []byte(canaryPassword)))(t)
					run = e.Wait(t, run.ID)
					more = f.Fired() > 0
					after := string(must(os.ReadFile(file))(t))
					if !canOpen(t, below, strings.TrimSpace(after)) {
						t.Errorf("%s (%s): the password in the file does not open the repository", run.State, run.Error)
					}
					if run.State == backup.StateOK && (after != canaryPassword+"\n" || canOpen(t, below, strings.TrimSpace(before))) {
						t.Errorf("the change is ok, but the file holds %d bytes", len(after))
					}
					if fi := must(os.Stat(file))(t); fi.Mode().Perm() != 0o600 {
						t.Errorf("mode %v", fi.Mode())
					}
				})
			})
		}
	}
}

func TestGeneratedPasswordAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newPlace(t, new(storage.Memory))
		e.Backed(t, "shop")
		file := must(e.Repositories(t.Context()))(t)[0].GeneratedPassword
		before := string(must(os.ReadFile(file))(t))
		keysChanged(t, e)(e.ChangePassword(t.Context(), "tester", "", nil))
		if after := string(must(os.ReadFile(file))(t)); after == before || len(after) != 44 {
			t.Errorf("the file holds %d bytes", len(after))
		}
		e.Backed(t, "shop")

		// The file that cannot be replaced: both passwords open, and the next change ends it.
		dir := e.Config.DataDir
		if err := os.Rename(dir, dir+"-away"); err != nil {
			t.Fatal(err)
		}
		run := must(e.ChangePassword(t.Context(), "tester", "", nil))(t)
		if run = e.Wait(t, run.ID); run.State != backup.StateFailed {
			t.Errorf("without the data folder: %s", run.State)
		}
		if err := os.RemoveAll(dir); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(dir+"-away", dir); err != nil {
			t.Fatal(err)
		}
		e.Backed(t, "shop")
	})
}
