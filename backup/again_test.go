package backup_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-backup/caddy-backup/backup"
)

// TestBackupAgain stops the server in the middle of a backup that a person asked for: it is made again at the next start, once,
// also of a job without a schedule. What a person cancelled, or a command did without the server, is not.
func TestBackupAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMachine(t, func(c *backup.Config) { c.Jobs[0].Schedule = backup.Schedule{} })
		backups := func(want int) []backup.Run {
			t.Helper()
			runs := must(m.Runs(t.Context(), backup.RunFilter{Kind: backup.KindBackup}))(t)
			if len(runs) != want {
				t.Fatalf("%d backups, want %d: %+v", len(runs), want, runs)
			}
			return runs
		}
		cutOff := func(begin func()) {
			t.Helper()
			entered, release := m.DB.Hold("create table customer;\n")
			defer release()
			begin()
			<-entered
			m.stop()
		}
		m.start()
		cutOff(func() { must(m.Backup(t.Context(), "alice", "shop"))(t) })
		m.start()
		m.sleep(20 * time.Second)
		if run := backups(1)[0]; run.State != backup.StateInterrupted {
			t.Errorf("%+v", run)
		}
		m.sleep(20 * time.Second)
		if run := backups(2)[0]; run.State != backup.StateOK || run.By != "start of the server" {
			t.Errorf("%+v", run)
		}
		cutOff(func() { must(m.Backup(t.Context(), "alice", "shop"))(t) })
		m.start()
		cutOff(func() { m.sleep(40 * time.Second) })
		m.start()
		m.sleep(time.Hour)
		if run := backups(4)[0]; run.State != backup.StateInterrupted {
			t.Errorf("made again twice: %+v", run)
		}
		entered, release := m.DB.Hold("create table customer;\n")
		run := must(m.Backup(t.Context(), "alice", "shop"))(t)
		<-entered
		if err := m.Cancel(t.Context(), "alice", run.ID); err != nil {
			t.Fatal(err)
		}
		m.Wait(t, run.ID)
		release()
		m.stop()
		m.Config.Automatic = false
		m.start()
		cutOff(func() { must(m.Backup(t.Context(), "alice", "shop"))(t) })
		m.Config.Automatic = true
		m.start()
		m.sleep(time.Hour)
		backups(6)
		m.stop()
	})
}
