package backup_test

import (
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-backup/caddy-backup/backup"
	"github.com/caddy-backup/caddy-backup/backup/backuptest"
	"github.com/caddy-backup/caddy-backup/storage/storagetest"
)

// withMedia makes an Env whose job has a folder media too.
func withMedia(t *testing.T, media backuptest.Folder) *backuptest.Env {
	return backuptest.New(t, func(c *backup.Config) {
		c.Jobs[0].Sources = append(c.Jobs[0].Sources, backup.NamedSource{Name: "media", Kind: "files", Source: media})
	})
}

// TestSuspect empties a folder, as when its disk is not mounted. The snapshots that follow are made, but are not good,
// and nothing is compared with them, until the files are back.
func TestSuspect(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		media := backuptest.Folder{"a/1.jpg": "one", "2.jpg": "two"}
		e := withMedia(t, media)
		good := e.Backed(t, "shop")
		lastGood := must(e.Job(t.Context(), "shop"))(t).LastGood
		clear(media)
		for range 2 {
			run := e.RunBackup(t, "shop")
			want := "folder media is empty, and had 2 files in the last good snapshot " + good.ID[:8] + " (is its disk mounted?); " +
				"if it is right as it is, say so with: caddy backup accept " + run.Snapshot[:8] + " --repository default"
			if run.State != backup.StateSuspect || run.Error != want || run.Unchanged || !strings.HasPrefix(run.Summary, "snapshot "+run.Snapshot[:8]+" was made: ") {
				t.Fatalf("%+v", run)
			}
			s := must(e.Snapshot(t.Context(), "", run.Snapshot, ""))(t)
			if !slices.Contains(s.Tags, "suspect") || s.Manifest.Outcome != "suspect" {
				t.Errorf("%v %+v", s.Tags, s.Manifest)
			}
			if h := e.Health(t.Context()); h.OK || !strings.Contains(h.Reasons[0], "job shop: the last backup is suspect, it was made just now: folder media is empty") {
				t.Errorf("%+v", h)
			}
			if now := must(e.Job(t.Context(), "shop"))(t); now.LastGood != lastGood || now.LastRun.ID != run.ID {
				t.Errorf("%+v", now)
			}
		}
		media["a/1.jpg"], media["2.jpg"] = "one", "two"
		if run := e.RunBackup(t, "shop"); run.State != backup.StateOK || !run.Unchanged || !strings.HasSuffix(run.Summary, "; nothing changed since the last good one") {
			t.Fatalf("compared with the last good one: %+v", run)
		}
		if h := e.Health(t.Context()); !h.OK {
			t.Errorf("%+v", h)
		}
		delete(media, "2.jpg") // fewer files are not suspect
		e.Backed(t, "shop")
		requireSnapshots(t, e, 5)
		requireClean(t, e)
	})
}

// TestNoGoodSnapshot removes the only good snapshot: with those that are suspect nothing is compared.
func TestNoGoodSnapshot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		media := backuptest.Folder{"1.jpg": "one"}
		e := withMedia(t, media)
		first := e.Backed(t, "shop")
		clear(media)
		run := e.RunBackup(t, "shop")
		if run.State != backup.StateSuspect || !strings.Contains(run.Error, "had 1 file in") {
			t.Fatalf("%+v", run)
		}
		storagetest.Remove(t, e.Storage, "snapshots/"+first.ID) // leaves none that is good
		e.Backed(t, "shop")
		if run := e.RunBackup(t, "shop"); run.State != backup.StateOK || !run.Unchanged {
			t.Fatalf("%+v", run)
		}
	})
}

// TestLatestIsGood: what was made after the loss, before anybody noticed, is not what comes back.
func TestLatestIsGood(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		media := backuptest.Folder{"1.jpg": "one"}
		e := withMedia(t, media)
		good := e.Backed(t, "shop")
		time.Sleep(time.Hour)
		clear(media)
		bad := e.RunBackup(t, "shop")
		if bad.State != backup.StateSuspect {
			t.Fatalf("%+v", bad)
		}
		if s := must(e.Snapshot(t.Context(), "", "latest", "shop"))(t); s.ID != good.ID {
			t.Errorf("latest is %s", s.ID)
		}
		run := must(e.Restore(t.Context(), "test", backup.RestoreRequest{Snapshot: "latest", Job: "shop", Path: "media", Target: t.TempDir() + "/x"}))(t)
		if run = e.Wait(t, run.ID); run.State != backup.StateOK || run.Snapshot != good.ID {
			t.Errorf("%+v", run)
		}
		e.Wait(t, must(e.Delete(t.Context(), "test", backup.DeleteRequest{Snapshots: []string{good.ID}, Confirm: true}))(t).ID)
		if s := must(e.Snapshot(t.Context(), "", "latest", "shop"))(t); s.ID != bad.Snapshot {
			t.Errorf("latest is %s, and no good one is left", s.ID)
		}
	})
}

// TestEmptyFolder has nothing to compare with: an empty folder is noted, and good.
func TestEmptyFolder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := withMedia(t, backuptest.Folder{})
		for range 2 {
			s := e.Backed(t, "shop")
			if notes := s.Manifest.Parts[1].Notes; s.Manifest.Outcome != "ok" || !slices.Equal(notes, []string{"the folder holds no file"}) {
				t.Errorf("%+v", s.Manifest)
			}
			if run := must(e.Service.Run(t.Context(), s.Run))(t); !strings.Contains(logOf(run), "WARN the folder holds no file part=media") {
				t.Error(logOf(run))
			}
		}
	})
}

// TestSuspectBehindImport: an imported dump that is newer than the last backup says nothing of the folders.
func TestSuspectBehindImport(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		untilJune2026()
		media := backuptest.Folder{"1.jpg": "one"}
		e := withMedia(t, media)
		time.Sleep(time.Until(time.Date(2026, 7, 1, 0, 0, 0, 0, time.UTC)))
		good := e.Backed(t, "shop")
		time.Sleep(48 * time.Hour)
		dir := oldDumps(t, map[string][]byte{"shop_2026-07-02.sql": []byte("insert 1;\n")})
		if run := imports(t, e, backup.ImportRequest{Files: []string{dir + "/*"}}); run.State != backup.StateOK {
			t.Fatalf("%+v", run)
		}
		if o, err := e.OpenOf(t.Context(), "shop", "latest", "media/1.jpg"); err != nil {
			t.Error(err)
		} else {
			o.Close()
		}
		if best := backup.AllSeries(must(e.Snapshots(t.Context(), backup.SnapshotQuery{}))(t).Snapshots, "")[0].Best(); best.ID != good.ID {
			t.Errorf("%+v would be recovered", best)
		}
		clear(media)
		if run := e.RunBackup(t, "shop"); run.State != backup.StateSuspect || !strings.Contains(run.Error, good.ID[:8]) {
			t.Errorf("%s: %s %s", run.State, run.Error, run.Summary)
		}
	})
}
