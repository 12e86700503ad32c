package backup_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/caddy-backup/caddy-backup/backup"
	"github.com/caddy-backup/caddy-backup/storage/storagetest"
)

// pruning gives the repository a prune after each retention, and it several jobs that keep their last snapshot.
func pruning(t *testing.T, jobs int, change func(*backup.Config)) *machine {
	return newMachine(t, func(c *backup.Config) {
		c.Repositories[0].Prune = backup.PrunePlan{AfterForget: true, MaxUnused: "0%"}
		c.Jobs[0].Retention = &backup.Retention{Last: 1}
		for i := 1; i < jobs; i++ {
			j := c.Jobs[0]
			j.Name = fmt.Sprintf("job%d", i)
			c.Jobs = append(c.Jobs, j)
		}
		if change != nil {
			change(c)
		}
	})
}

// TestPruneFollows has a prune come once behind the retentions of a night, if they removed something, and not otherwise.
func TestPruneFollows(t *testing.T) {
	for _, test := range []struct {
		name   string
		change func(*backup.Config)
		want   int
	}{
		{"three jobs, three nights", nil, 2}, // in the first one nothing is removed
		{"auto off", func(c *backup.Config) {
			for i := range c.Jobs {
				c.Jobs[i].Retention = &backup.Retention{Last: 1, Manual: true}
			}
		}, 0},
		{"nothing to remove", func(c *backup.Config) {
			for i := range c.Jobs {
				c.Jobs[i].Retention = &backup.Retention{Last: 100}
			}
		}, 0},
		{"only by hand", func(c *backup.Config) { c.Repositories[0].Prune = backup.PrunePlan{} }, 0},
	} {
		inBubble(t, test.name, func(t *testing.T) {
			m := pruning(t, 3, test.change)
			m.start()
			m.sleepUntil(dayAt(3, 12, 0))
			got := m.of(backup.KindPrune)
			if len(got) != test.want {
				t.Fatalf("%d prunes: %+v", len(got), got)
			}
			for _, run := range got {
				if !run.Follows || run.By != "retention" || run.State != backup.StateOK || run.Prune.Snapshots != 3 {
					t.Errorf("%+v", run)
				}
			}
			list := must(m.Repositories(t.Context()))(t)
			if planned := list[0].Planned; test.want > 0 && (len(planned) != 1 || planned[0].When() != "after retention" || planned[0].LastRun == nil) {
				t.Errorf("%+v", planned)
			}
		})
	}
}

// TestPruneOwed: what a forget by hand removed is left to the hand; what a prune did not get to, the next does, and what it
// could not do health tells.
func TestPruneOwed(t *testing.T) {
	inBubble(t, "by hand", func(t *testing.T) {
		m := pruning(t, 1, func(c *backup.Config) { c.Jobs[0].Retention = &backup.Retention{Last: 1, Manual: true} })
		m.start()
		m.sleepUntil(dayAt(2, 12, 0))
		requireState(t, forget(t, m.Env, backup.ForgetRequest{}), backup.StateOK, "1 snapshot was removed")
		m.sleepUntil(dayAt(3, 1, 0))
		if got := m.of(backup.KindPrune); len(got) != 0 {
			t.Errorf("%+v", got)
		}
	})
	inBubble(t, "failed", func(t *testing.T) {
		var faulty *storagetest.Faulty
		m := pruning(t, 1, func(c *backup.Config) {
			faulty = storagetest.NewFaulty(c.Repositories[0].Storage)
			c.Repositories[0].Storage = faulty
		})
		m.start()
		m.sleepUntil(dayAt(1, 12, 0))
		faulty.Inject(storagetest.Fault{Only: deletesData, Times: storagetest.Forever, Err: errors.New("read-only file system")})
		m.DB.Set("another dump")
		m.sleepUntil(dayAt(2, 12, 0))
		got := m.of(backup.KindPrune)
		if len(got) != 1 || got[0].State != backup.StateFailed {
			t.Fatalf("%+v", got)
		}
		if h := m.Health(t.Context()); len(h.Reasons) != 1 || !strings.Contains(h.Reasons[0], "repository default: the last prune failed 9 hours ago: ") {
			t.Errorf("%+v", h)
		}
		faulty.Heal()
		m.sleepUntil(dayAt(3, 12, 0))
		if got := m.of(backup.KindPrune); len(got) != 2 || got[1].State != backup.StateOK || !m.Health(t.Context()).OK {
			t.Errorf("%+v, %+v", got, m.Health(t.Context()))
		}
	})
}

// TestPruneMakesWay has a prune that follows retention take so long that the next backup waits for it.
func TestPruneMakesWay(t *testing.T) {
	inBubble(t, "for a backup", func(t *testing.T) {
		var faulty *storagetest.Faulty
		m := pruning(t, 1, func(c *backup.Config) {
			faulty = storagetest.NewFaulty(c.Repositories[0].Storage)
			c.Repositories[0].Storage = faulty
		})
		m.start()
		m.sleepUntil(dayAt(1, 12, 0))
		faulty.Inject(storagetest.Fault{Only: deletesData, How: storagetest.Slow, Delay: 3 * time.Hour, Times: storagetest.Forever})
		m.DB.Set("another dump")
		m.sleepUntil(dayAt(2, 3, 0))
		id := must(m.Backup(t.Context(), "tester", "shop"))(t).ID
		m.sleep(9 * time.Minute)
		requireState(t, must(m.Run(t.Context(), id))(t), backup.StateQueued, "")
		m.sleep(2 * time.Minute)
		requireState(t, must(m.Run(t.Context(), id))(t), backup.StateOK, "")
		requireState(t, m.of(backup.KindPrune)[0], backup.StateFailed, "it made way for the backup of job shop (run ")
		requireState(t, m.of(backup.KindPrune)[0], backup.StateFailed, "), which had waited for 10m0s: give it a quiet time of its own, such as: prune weekly sun 05:00")
		faulty.Heal()
		m.DB.Set("a third dump")
		must(m.Backup(t.Context(), "tester", "shop"))(t) // behind it retention removes something again
		m.sleep(time.Hour)
		if got := m.of(backup.KindPrune); got[len(got)-1].State != backup.StateOK {
			t.Errorf("%+v", got)
		}
		requireClean(t, m.Env)
	})
	inBubble(t, "asked for by a person, for none", func(t *testing.T) {
		var faulty *storagetest.Faulty
		m := pruning(t, 1, func(c *backup.Config) {
			faulty = storagetest.NewFaulty(c.Repositories[0].Storage)
			c.Repositories[0].Storage, c.Repositories[0].Prune = faulty, backup.PrunePlan{}
		})
		m.start()
		m.sleepUntil(dayAt(1, 12, 0))
		m.DB.Set("another dump")
		m.sleepUntil(dayAt(2, 12, 0))
		faulty.Inject(storagetest.Fault{Only: deletesData, How: storagetest.Slow, Delay: 50 * time.Minute})
		prune := must(m.Prune(t.Context(), "tester", backup.PruneRequest{MaxUnused: "0%"}))(t)
		must(m.Backup(t.Context(), "tester", "shop"))(t)
		m.sleep(12 * time.Hour)
		requireState(t, must(m.Run(t.Context(), prune.ID))(t), backup.StateOK, "freed")
	})
}

// deletesData passes what only a prune does.
func deletesData(op storagetest.Op) bool {
	return op.Kind == storagetest.Delete && (strings.HasPrefix(op.Name, "index/") || strings.HasPrefix(op.Name, "data/"))
}

// TestPrunePlan refuses what makes no sense.
func TestPrunePlan(t *testing.T) {
	weekly := schedule(t, "weekly")
	for _, test := range []struct {
		plan backup.PrunePlan
		want string // "": fine
	}{
		{backup.PrunePlan{}, ""},
		{backup.PrunePlan{Schedule: weekly, MaxUnused: "5%"}, ""},
		{backup.PrunePlan{AfterForget: true}, ""},
		{backup.PrunePlan{AfterForget: true, MaxUnused: "unlimited"}, ""},
		{backup.PrunePlan{AfterForget: true, MaxUnused: "much"}, "write a share"},
		{backup.PrunePlan{AfterForget: true, Schedule: weekly}, "one of them"},
		{backup.PrunePlan{MaxUnused: "5%"}, "no schedule"},
	} {
		if err := test.plan.Check(); (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
			t.Errorf("%+v: %v", test.plan, err)
		}
	}
}
