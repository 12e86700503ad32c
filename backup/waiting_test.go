package backup_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-backup/caddy-backup/backup"
)

// letters are the notifications that are kept on disk.
func letters(t *testing.T, m *machine) []string {
	return must(filepath.Glob(filepath.Join(m.Config.DataDir, "waiting", "*")))(t)
}

func unreachable(context.Context) error { return errors.New("no network") }

// TestWaitingSurvives: what nobody took before the end of the process is delivered by the next, in order, once.
func TestWaitingSurvives(t *testing.T) {
	inBubble(t, "", func(t *testing.T) {
		m, box := watcher(t, func(c *backup.Config) { c.Jobs[0].Schedule = backup.Schedule{} })
		m.start()
		m.RunBackup(t, "shop")
		box.setAnswer(unreachable)
		m.DB.Fail(errors.New("the database is gone"))
		m.RunBackup(t, "shop")
		m.sleep(time.Hour)
		m.DB.Set("data")
		m.RunBackup(t, "shop")
		m.sleep(time.Minute)
		if got := letters(t, m); len(got) != 2 {
			t.Fatalf("%q are kept", got)
		} else if info := must(os.Stat(got[0]))(t); info.Mode().Perm() != 0o600 {
			t.Errorf("%v", info.Mode())
		}
		m.stop()
		m.start()
		m.sleep(time.Minute)
		m.stop()
		if got := letters(t, m); len(got) != 2 {
			t.Fatalf("after a restart %q are kept", got)
		}
		box.setAnswer(nil)
		m.start()
		m.sleep(time.Minute)
		if box.events() != "failure recovered" {
			t.Errorf("told of %q", box.events())
		}
		if n := box.list[0]; n.Text == "" || n.Error == "" || n.Job != "shop" || time.Since(n.Queued) < time.Hour {
			t.Errorf("%+v", n)
		}
		if got := letters(t, m); len(got) != 0 {
			t.Errorf("%q are still kept", got)
		}
		m.stop()
		m.start()
		m.sleep(time.Minute)
		if box.events() != "failure recovered" {
			t.Errorf("told of %q", box.events())
		}
	})
	inBubble(t, "old news", func(t *testing.T) {
		m, box := watcher(t, func(c *backup.Config) { c.Jobs[0].Schedule = backup.Schedule{} })
		m.start()
		box.setAnswer(unreachable)
		m.DB.Fail(errors.New("the database is gone"))
		m.RunBackup(t, "shop")
		m.stop()
		m.sleep(4 * 24 * time.Hour)
		box.setAnswer(nil)
		if err := os.WriteFile(filepath.Join(m.Config.DataDir, "waiting", "1.none.json"), []byte("{"), 0o600); err != nil {
			t.Fatal(err)
		}
		torn := filepath.Join(m.Config.DataDir, "waiting", ".new-1")
		if err := errors.Join(os.WriteFile(torn, []byte("{"), 0o600), os.Chtimes(torn, time.Now(), time.Now().Add(-48*time.Hour))); err != nil {
			t.Fatal(err)
		}
		m.start()
		m.sleep(time.Minute)
		if got := letters(t, m); len(got) != 0 || box.events() != "" {
			t.Errorf("%q are kept, told of %q", got, box.events())
		}
	})
}

// TestReloadRetries: a reload is followed by an attempt at once; the page tells when the next is without.
func TestReloadRetries(t *testing.T) {
	inBubble(t, "", func(t *testing.T) {
		m, box := watcher(t, func(c *backup.Config) { c.Jobs[0].Schedule = backup.Schedule{} })
		m.start()
		box.setAnswer(unreachable)
		m.DB.Fail(errors.New("the database is gone"))
		m.RunBackup(t, "shop")
		m.sleep(20 * time.Minute)
		if all := must(m.Notifiers(t.Context()))(t); all[0].Waiting != 1 || all[0].Next.Before(time.Now()) || all[0].Next.After(time.Now().Add(time.Hour)) {
			t.Errorf("%+v", all)
		}
		box.setAnswer(nil)
		m.reload(false)
		synctest.Wait()
		if box.events() != "failure" {
			t.Errorf("told of %q", box.events())
		}
		if all := must(m.Notifiers(t.Context()))(t); all[0].Waiting != 0 || !all[0].Next.IsZero() || len(letters(t, m)) != 0 {
			t.Errorf("%+v, %q", all, letters(t, m))
		}
	})
}
