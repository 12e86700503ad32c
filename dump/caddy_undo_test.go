package dump

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/caddyserver/certmagic"

	"github.com/caddy-backup/caddy-backup/backup"
	"github.com/caddy-backup/caddy-backup/backup/backuptest"
)

// TestCaddyUndo undoes a restore over Caddy's storage: what the restore added goes, unless it was changed since, and nothing else goes;
// and when the snapshot that it came from is gone, all of it stays.
func TestCaddyUndo(t *testing.T) {
	const at = "certificates/ca/"
	for name, forgotten := range map[string]bool{"known": false, "forgotten": true} {
		t.Run(name, func(t *testing.T) {
			live := filepath.Join(t.TempDir(), "live")
			source := &Caddy{storage: &certmagic.FileStorage{Path: live}, autosave: filepath.Join(live, "none")}
			e := backuptest.New(t, func(c *backup.Config) {
				c.Jobs[0].Sources = []backup.NamedSource{{Name: "certs", Kind: "caddy", Source: source}}
			})
			over := func(snapshot string) backup.Run {
				t.Helper()
				run, err := e.Restore(t.Context(), "alice", backup.RestoreRequest{Snapshot: snapshot, Job: "shop", Overwrite: true, Confirm: source.place()})
				if err != nil {
					t.Fatal(err)
				}
				run = e.Wait(t, run.ID)
				requireOK(t, run)
				return run
			}
			writeFiles(t, live, map[string]string{at + "a": "old a", at + "b": "b", at + "lost": "lost", at + "renewed": "old"})
			was := e.Backed(t, "shop")
			for _, key := range []string{"lost", "renewed"} {
				if err := os.Remove(filepath.Join(live, at, key)); err != nil {
					t.Fatal(err)
				}
			}
			writeFiles(t, live, map[string]string{at + "a": "new a", at + "own": "own"})
			is := keysOf(t, live)

			restored := over(was.ID)
			writeFiles(t, live, map[string]string{at + "renewed": "renewed since", at + "later": "later"})
			if forgotten {
				e.Backed(t, "shop") // the last good one is not deleted
				run, err := e.Delete(t.Context(), "alice", backup.DeleteRequest{Snapshots: []string{was.ID}})
				if err != nil {
					t.Fatal(err)
				}
				requireOK(t, e.Wait(t, run.ID))
				is[at+"lost"] = "lost"
			}
			undone := over(restored.Safety)
			is[at+"renewed"], is[at+"later"] = "renewed since", "later"
			if got := keysOf(t, live); !maps.Equal(got, is) {
				t.Errorf("undone: %v", got)
			}
			again := over(undone.Safety) // the undo can be undone, too
			if got := keysOf(t, live); got[at+"lost"] != "lost" || got[at+"a"] != "old a" || !slices.Contains(slices.Collect(maps.Keys(got)), at+"later") {
				t.Errorf("%v after %+v", got, again)
			}
		})
	}
}
