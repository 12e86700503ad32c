package backup_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/caddy-backup/caddy-backup/backup"
)

// TestClusterOfOneMachine: of members that share a data directory the journal tells who is dead. The run that one leaves is made
// again by another, and its end is told, as if it were on another machine.
func TestClusterOfOneMachine(t *testing.T) {
	inBubble(t, "one is killed", func(t *testing.T) {
		c, dir := newCluster(t, 1), t.TempDir()
		c.mustDump, c.jobs = 10*time.Minute, []string{"shop"}
		c.change = func(config *backup.Config) { config.DataDir = dir }
		members := []*member{c.join("a", 0), c.join("b", 0)}
		time.Sleep(time.Until(dayAt(1, 1, 1)))
		dead := c.dumpingNow("shop")
		other := members[(slices.Index(members, dead)+1)%2]
		run := dead.runs()[0]
		data, err := c.store.Load(t.Context(), "backup/runs/shop-server/"+run.ID+".json")
		var record struct{ Owner string }
		if err != nil || json.Unmarshal(data, &record) != nil || record.Owner == "" {
			t.Fatalf("%s, %v", data, err)
		}
		dead.kill()
		// In its process, which is ours, it looks alive as long as its journal is there.
		if err := os.Remove(filepath.Join(dir, "journal", record.Owner+".json")); err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
		time.Sleep(time.Until(dayAt(1, 1, 55)))
		runs := other.runs()
		runs = slices.DeleteFunc(runs, func(r backup.Run) bool { return r.Kind != backup.KindBackup })
		if len(runs) != 2 || runs[0].State != backup.StateOK || runs[1].State != backup.StateInterrupted || !runs[0].Scheduled.Equal(dayAt(1, 1, 0)) {
			t.Errorf("the runs are %+v", runs)
		}
		c.mu.Lock()
		for _, r := range runs {
			if c.told[r.ID] != 1 {
				t.Errorf("run %s, %s, was told %d times", r.ID, r.State, c.told[r.ID])
			}
		}
		c.mu.Unlock()
		other.stop()
	})
}
