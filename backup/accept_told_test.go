package backup_test

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-backup/caddy-backup/backup"
	"github.com/caddy-backup/caddy-backup/backup/backuptest"
)

// TestAcceptTold: who was told that a backup is suspect is told that all is well once it is accepted, unless a later one is bad.
func TestAcceptTold(t *testing.T) {
	for _, c := range []struct {
		name  string
		later func(t *testing.T, e *backuptest.Env)
		want  string
	}{
		{"the last one", func(*testing.T, *backuptest.Env) {}, "suspect recovered"},
		{"a later one failed", func(t *testing.T, e *backuptest.Env) {
			e.DB.Set("")
			e.RunBackup(t, "shop")
		}, "suspect failure"},
	} {
		inBubble(t, c.name, func(t *testing.T) {
			var box inbox
			var seen alarms
			e := backuptest.New(t, told(&box), func(c *backup.Config) { c.Alarm = seen.add })
			e.DB.Set(strings.Repeat("create table customer;\n", 1<<17))
			e.Backed(t, "shop")
			time.Sleep(time.Hour)
			e.DB.Set("create table customer;\n")
			run := e.RunBackup(t, "shop")
			if run.State != backup.StateSuspect {
				t.Fatal(run.State)
			}
			time.Sleep(time.Hour)
			c.later(t, e)
			e.Wait(t, must(e.Accept(t.Context(), "alice", backup.AcceptRequest{Snapshot: run.Snapshot}))(t).ID)
			synctest.Wait()
			if box.events() != c.want {
				t.Errorf("told of %q, want %q", box.events(), c.want)
			}
			if !strings.HasSuffix(c.want, "recovered") {
				return
			}
			n := box.last()
			if n.Title != "backup of shop on shop-server works again" || n.State != backup.StateOK || n.Bad != 1 || !strings.Contains(n.Text, "Accepted by: alice\n") {
				t.Errorf("%+v", n)
			}
			if seen.all() != "shopdefault recovered" {
				t.Errorf("observed %s", seen.all())
			}
			e.Backed(t, "shop")
			synctest.Wait()
			if box.events() != c.want {
				t.Errorf("told of %q", box.events())
			}
		})
	}
}
