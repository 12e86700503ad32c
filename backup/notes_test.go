package backup_test

import (
	"errors"
	"io/fs"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/caddy-backup/caddy-backup/backup"
	"github.com/caddy-backup/caddy-backup/backup/backuptest"
	"github.com/caddy-backup/caddy-backup/storage/storagetest"
)

// noted pins a snapshot with a note.
func noted(t *testing.T, e *backuptest.Env, id, note string) backup.Run {
	t.Helper()
	return e.Wait(t, must(e.Keep(t.Context(), "tester", backup.KeepRequest{Snapshot: id, Keep: true, Note: &note}))(t).ID)
}

// noteOf is the note of a snapshot by its stable ID, as lists, the single view and the preview of retention have it.
func noteOf(t *testing.T, e *backuptest.Env, stable string) string {
	t.Helper()
	one := must(e.Snapshot(t.Context(), "", stable, ""))(t)
	for _, s := range must(e.Snapshots(t.Context(), backup.SnapshotQuery{}))(t).Snapshots {
		if s.StableID == stable && s.Note != one.Note {
			t.Errorf("the list says %q, the snapshot %q", s.Note, one.Note)
		}
	}
	for _, s := range must(e.Retention(t.Context(), "shop"))(t).Snapshots {
		if s.StableID == stable && s.Note != one.Note {
			t.Errorf("retention says %q, the snapshot %q", s.Note, one.Note)
		}
	}
	return one.Note
}

// storedNotes are the files that hold notes.
func storedNotes(t *testing.T, e *backuptest.Env) string {
	t.Helper()
	keys, err := e.Store.List(t.Context(), "backup/notes", true)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	var all []string
	for _, key := range keys {
		all = append(all, string(must(e.Store.Load(t.Context(), key))(t)))
	}
	return strings.Join(all, "\n")
}

// TestPinNotes goes through the life of a note: written, kept by another pin, changed, kept over a change of tags by others,
// removed with the pin.
func TestPinNotes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := backuptest.New(t, keeping(backup.Retention{Last: 1}))
		all := daily(t, e, 3)
		id := all[0].ID
		requireState(t, noted(t, e, id, "  before the upgrade to 5.0 "), backup.StateOK, "is pinned")
		if got := noteOf(t, e, id); got != "before the upgrade to 5.0" {
			t.Errorf("%q", got)
		}
		requireState(t, keep(t, e, id, true), backup.StateOK, "is pinned already")
		if got := noteOf(t, reopen(t, e), id); got != "before the upgrade to 5.0" {
			t.Errorf("after a restart: %q", got)
		}
		requireState(t, noted(t, e, id, "Öl & <b>"), backup.StateOK, "is pinned, with another note")
		requireState(t, noted(t, e, id, "Öl & <b>"), backup.StateOK, "is pinned already")
		if got := noteOf(t, e, id); got != "Öl & <b>" {
			t.Errorf("%q", got)
		}
		requireState(t, forget(t, e, backup.ForgetRequest{}), backup.StateOK, "1 snapshot was removed, 2 kept")
		requireState(t, pruned(t, e, backup.PruneRequest{}), backup.StateOK, "")
		if got := noteOf(t, e, id); got != "Öl & <b>" {
			t.Errorf("after forget and prune: %q", got)
		}
		requireState(t, noted(t, e, id, ""), backup.StateOK, "with another note")
		if got := noteOf(t, e, id); got != "" || storedNotes(t, e) != "" {
			t.Errorf("%q, %s", got, storedNotes(t, e))
		}
		requireState(t, noted(t, e, id, "again"), backup.StateOK, "")
		requireState(t, keep(t, e, id, false), backup.StateOK, "is no longer pinned")
		if got := noteOf(t, e, id); got != "" || storedNotes(t, e) != "" {
			t.Errorf("%q, %s", got, storedNotes(t, e))
		}
		requireClean(t, e)
	})
}

// TestPinNotesAreSwept removes pinned snapshots behind our back: their notes go with the next prune, but not while it is an
// alarm that they are gone.
func TestPinNotesAreSwept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := backuptest.New(t)
		all := daily(t, e, 3)
		run := noted(t, e, all[0].ID, "one")
		noted(t, e, all[1].ID, "two")
		name := "snapshots/" + run.Snapshot
		data := storagetest.Read(t, e.Storage, name)
		storagetest.Remove(t, e.Storage, name)
		requireRefused(t, e, pruned(t, e, backup.PruneRequest{}), "1 snapshot was removed by another program")
		noted(t, e, all[2].ID, "three")
		if got := storedNotes(t, e); !strings.Contains(got, "one") {
			t.Fatal(got)
		}
		storagetest.Write(t, e.Storage, name, data)
		if got := noteOf(t, e, all[0].ID); got != "one" {
			t.Fatalf("it is back, without its note: %q", got)
		}
		storagetest.Remove(t, e.Storage, name)
		requireState(t, pruned(t, e, backup.PruneRequest{AcceptFewer: true}), backup.StateOK, "")
		if got := storedNotes(t, e); strings.Contains(got, "one") || !strings.Contains(got, "two") || !strings.Contains(got, "three") {
			t.Fatal(got)
		}
	})
}

// TestPinNotesThatCannotBe refuses what is no note, and pins nothing when the note cannot be kept.
func TestPinNotesThatCannotBe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := backuptest.New(t)
		id := e.Backed(t, "shop").ID
		for _, bad := range []string{"two\nlines", "\x1b[2J", "\u202egnp.exe", "half \xff a byte", "a\u2028b", strings.Repeat("ö", 501)} {
			if _, err := e.Keep(t.Context(), "tester", backup.KeepRequest{Snapshot: id, Keep: true, Note: &bad}); !errors.Is(err, backup.ErrInvalid) {
				t.Errorf("%q: %v", bad, err)
			}
		}
		requireState(t, noted(t, e, id, strings.Repeat("ö", 500)+" "), backup.StateOK, "is pinned")
		requireState(t, keep(t, e, id, false), backup.StateOK, "")
		e.Store.Fail(errors.New("no store"))
		requireState(t, noted(t, e, id, "why"), backup.StateFailed, "no store")
		e.Store.Fail(nil)
		if s := must(e.Snapshot(t.Context(), "", id, ""))(t); len(s.Tags) != 2 {
			t.Errorf("pinned without its note: %v", s.Tags)
		}
	})
}
