package backup_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/caddy-backup/caddy-backup/backup"
	"github.com/caddy-backup/caddy-backup/backup/backuptest"
	"github.com/caddy-backup/caddy-backup/repo"
)

// folderOf has n files of so many bytes.
func folderOf(media backuptest.Folder, n, size int) {
	clear(media)
	for i := range n {
		media[fmt.Sprintf("%d.jpg", i)] = strings.Repeat("x", size)
	}
}

// TestShrink compares a backup with the one before, part by part.
func TestShrink(t *testing.T) {
	const mib = 1 << 20
	for _, test := range []struct {
		name, limit   string
		before, after int    // bytes of the dump; so many are "[]", and "[]" with the end of its line
		want          string // "": not suspect
	}{
		{"by half", "", 2 * mib, mib, ""},
		{"by more than half", "", 2 * mib, mib - 1, "db.sql shrank by more than 50%: it has 1024 KiB, and had 2.0 MiB in the last good snapshot "},
		{"a small one", "", mib - 1, 100, ""},
		{"a small one with a limit", "50%", 1000, 499, "db.sql shrank by more than 50%: it has 499 B, and had 1000 B"},
		{"to its limit", "50%", 1000, 500, ""},
		{"it grew", "0%", 1000, 1001, ""},
		{"it stayed", "0%", 1000, 1000, ""},
		{"by a byte", "0%", 1000, 999, "db.sql shrank by more than 0%"},
		{"a part of a percent", "0.5%", 1000, 994, "db.sql shrank by more than 0.5%"},
		{"off", "off", 2 * mib, 1, ""},
		{"nothing left", "", 100, 2, "db.sql holds nothing, and had 100 B in the last good snapshot "},
		{"nothing left, off", "off", 2 * mib, 3, "db.sql holds nothing, and had 2.0 MiB"},
		{"there was nothing", "0%", 3, 2, "db.sql shrank"},
		{"there was nothing, by default", "", 3, 2, ""},
		{"hardly anything left", "", 100, 1, ""},
	} {
		inBubble(t, test.name, func(t *testing.T) {
			e := backuptest.New(t, func(c *backup.Config) { c.Jobs[0].ShrinkLimit = test.limit })
			dump := func(n int) string {
				if n == 2 || n == 3 {
					return "[]\n"[:n]
				}
				return strings.Repeat("x", n)
			}
			e.DB.Set(dump(test.before))
			good := e.Backed(t, "shop")
			e.DB.Set(dump(test.after))
			run := e.RunBackup(t, "shop")
			s := must(e.Snapshot(t.Context(), "", run.Snapshot, ""))(t)
			if test.want == "" {
				if run.State != backup.StateOK || run.Doubts != nil || s.Manifest.Doubts != nil {
					t.Errorf("%+v", run)
				}
				return
			}
			if run.State != backup.StateSuspect || len(run.Doubts) != 1 || !strings.HasPrefix(run.Doubts[0], test.want) || !strings.HasSuffix(run.Doubts[0], good.ID[:8]) ||
				!slices.Contains(s.Tags, "suspect") || !slices.Equal(s.Manifest.Doubts, run.Doubts) || s.Manifest.Outcome != "suspect" {
				t.Errorf("%+v\n%+v", run, s)
			}
		})
	}
}

// TestShrinkOfFolders looks at the bytes and at the number of files, and at each part for itself.
func TestShrinkOfFolders(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		media := backuptest.Folder{}
		e := withMedia(t, media)
		want := func(text string) {
			t.Helper()
			run := e.RunBackup(t, "shop")
			if got := strings.Join(run.Doubts, "; "); !strings.HasPrefix(got, text) || (got == "") != (run.State == backup.StateOK) {
				t.Errorf("%s: %q, want %q", run.State, got, text)
			}
		}
		folderOf(media, 100, 20000)
		want("")
		folderOf(media, 45, 45000) // as many bytes, fewer files
		want("folder media shrank by more than 50%: it has 45 files, 1.9 MiB, and had 100 files, 1.9 MiB in the last good snapshot ")
		folderOf(media, 100, 9000)
		want("folder media shrank by more than 50%: it has 100 files, 879 KiB, and had 100 files, 1.9 MiB in the last good snapshot ")
		folderOf(media, 60, 20000)
		want("")
		folderOf(media, 0, 0)
		want("folder media is empty, and had 60 files in the last good snapshot ")
	})
}

// TestAccept: a person says that a shrunken dump is right. From then on it is what later ones are compared with, and the
// job is well again.
func TestAccept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := backuptest.New(t, func(c *backup.Config) { c.Jobs[0].ShrinkLimit = "20%" })
		accept := func(id string) backup.Run {
			t.Helper()
			return e.Wait(t, must(e.Accept(t.Context(), "alice", backup.AcceptRequest{Snapshot: id}))(t).ID)
		}
		e.DB.Set(strings.Repeat("order\n", 100))
		good := e.Backed(t, "shop")
		requireState(t, accept(good.ID), backup.StateOK, "was not suspect")
		e.DB.Set(strings.Repeat("order\n", 50))
		run := e.RunBackup(t, "shop")
		requireState(t, run, backup.StateSuspect, "if it is right as it is, say so with: caddy backup accept "+run.Snapshot[:8]+" --repository default")
		requireState(t, e.RunBackup(t, "shop"), backup.StateSuspect, "had 600 B in the last good snapshot "+good.ID[:8])
		last := e.RunBackup(t, "shop")
		if h := e.Health(t.Context()); h.OK {
			t.Error("health is well")
		}
		said := accept(last.Snapshot)
		requireState(t, said, backup.StateOK, "is accepted as good")
		s := must(e.Snapshot(t.Context(), "", last.Snapshot, ""))(t)
		if s.ID != said.Snapshot || s.StableID != last.Snapshot || slices.Contains(s.Tags, "suspect") || said.Kind != backup.KindAccept || said.Job != "shop" {
			t.Errorf("%+v\n%+v", s, said)
		}
		for _, e := range []*backuptest.Env{e, reopen(t, e)} {
			was := must(e.Run(t.Context(), last.ID))(t)
			if was.State != backup.StateOK || was.AcceptedBy != "alice" || len(was.Doubts) != 1 || was.Error != "" || len(was.Log) == 0 {
				t.Errorf("%+v", was)
			}
			if j := must(e.Job(t.Context(), "shop"))(t); j.LastRun.State != backup.StateOK || !j.LastGood.Equal(last.Ended) {
				t.Errorf("%+v", j)
			}
			if h := e.Health(t.Context()); !h.OK {
				t.Error(h.Reasons)
			}
		}
		if was := must(e.Run(t.Context(), run.ID))(t); was.State != backup.StateSuspect {
			t.Errorf("an older one is accepted, too: %+v", was)
		}
		if run := e.RunBackup(t, "shop"); run.State != backup.StateOK || !run.Unchanged {
			t.Errorf("not compared with the accepted one: %+v", run)
		}
		requireClean(t, e)
	})
}

// TestAcceptRefuses what no word makes good.
func TestAcceptRefuses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := backuptest.New(t)
		e.Backed(t, "shop")
		for id, want := range map[string]error{"": backup.ErrInvalid, "latest": backup.ErrInvalid, "ffffffff": repo.ErrNotFound} {
			if _, err := e.Accept(t.Context(), "alice", backup.AcceptRequest{Snapshot: id}); !errors.Is(err, want) {
				t.Errorf("%q: %v", id, err)
			}
		}
		if _, err := e.Attach(backup.Config{Repositories: e.Config.Repositories, Jobs: []backup.Job{{Name: "x", Sources: e.Config.Jobs[0].Sources, ShrinkLimit: "half"}}}); !errors.Is(err, backup.ErrInvalid) {
			t.Error(err)
		}
	})
}

// server is a source with several databases.
type server struct {
	*backuptest.Source
	databases []string
}

func (s *server) Parts(context.Context, string) (parts []backup.Part, err error) {
	for _, name := range s.databases {
		parts = append(parts, backup.Part{Name: name})
	}
	return parts, nil
}

// TestPartGone: a database that is not there any more, beside others that are.
func TestPartGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &server{databases: []string{"db.blog.sql", "db.shop.sql"}}
		e := backuptest.New(t, func(c *backup.Config) {
			c.Jobs[0].ShrinkLimit = "off"
			s.Source = backuptest.NewSource("rows")
			c.Jobs[0].Sources[0].Source = s
		})
		good := e.Backed(t, "shop")
		s.databases = []string{"db.blog.sql", "db.wiki.sql"}
		run := e.RunBackup(t, "shop")
		if want := []string{"db.shop.sql is gone, and had 4 B in the last good snapshot " + good.ID[:8]}; !slices.Equal(run.Doubts, want) {
			t.Errorf("%q, want %q", run.Doubts, want)
		}
		s.databases = []string{"db.dump"} // configured otherwise
		if run := e.RunBackup(t, "shop"); run.State != backup.StateOK {
			t.Errorf("%+v", run)
		}
	})
}
