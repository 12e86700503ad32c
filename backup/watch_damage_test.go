package backup_test

import (
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddy-backup/caddy-backup/backup"
	"github.com/caddy-backup/caddy-backup/backup/backuptest"
	"github.com/caddy-backup/caddy-backup/storage"
	"github.com/caddy-backup/caddy-backup/storage/storagetest"
)

// alarms collects what an observer is told by the watch.
type alarms struct {
	mu   sync.Mutex
	list []string
}

func (a *alarms) add(n backup.Notification) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.list = append(a.list, n.Job+n.Repository+" "+string(n.Event))
}

func (a *alarms) all() string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return strings.Join(a.list, ", ")
}

// secondPlace is a storage elsewhere.
type secondPlace struct{ *storage.Memory }

func (secondPlace) Location() string { return "second" }

func second(t *testing.T) backup.RepositoryConfig {
	return backup.RepositoryConfig{Name: "second", Storage: secondPlace{backuptest.Repository(t)}, Password: []byte(backuptest.Password)}
}

// TestDamageTold: all jobs that write to a damaged repository have their notifiers told, each once, and again every day, until
// a check has shown that it is whole.
func TestDamageTold(t *testing.T) {
	inBubble(t, "found by a check", func(t *testing.T) {
		var seen alarms
		other, elsewhere := &inbox{}, &inbox{}
		m, box := watcher(t, func(c *backup.Config) {
			c.Alarm, c.PublicURL = seen.add, "https://backups.example.com"
			c.Repositories = append(c.Repositories, second(t))
			job := func(name, to, notifier string, on ...backup.Event) backup.Job {
				return backup.Job{Name: name, To: to, Sources: c.Jobs[0].Sources, Notify: []backup.Subscription{{Notifiers: []string{notifier}, On: on}}}
			}
			c.Jobs = append(c.Jobs, job("blog", "default", "ops"), job("forum", "default", "b", backup.EventDamage), job("wiki", "second", "c"))
			c.Notifiers = append(c.Notifiers, backup.NamedNotifier{Name: "b", Notifier: other}, backup.NamedNotifier{Name: "c", Notifier: elsewhere})
		})
		m.DB.Set(dump)
		m.start()
		m.RunBackup(t, "shop")
		bad := flipPack(t, m.Env)
		failed := runCheck(t, m.Env, true)
		m.sleep(time.Minute)
		n := box.last()
		if n.Title != "repository default on shop-server is DAMAGED" || n.Job != "" || n.Repository != "default" || n.Link != "https://backups.example.com/" ||
			len(n.Reasons) != 1 || !strings.Contains(n.Reasons[0], failed.Error) {
			t.Errorf("%+v", n)
		}
		for _, want := range []string{"The repository default on shop-server is DAMAGED.\n", "Reason:      the check of 2000-01-01 00:00 UTC: ",
			"caddy backup repair index", "caddy backup check --read-data --repository default"} {
			if !strings.Contains(n.Text, want) {
				t.Errorf("the text does not have %q:\n%s", want, n.Text)
			}
		}
		m.reload(false)
		m.stop()
		m.start()
		m.sleepUntil(dayAt(1, 20, 0))
		runCheck(t, m.Env, true) // finds the same
		m.sleepUntil(dayAt(2, 1, 0))
		box.want(t, "01 00:00 damage, 02 00:00 damage")
		if !strings.Contains(box.last().Title, "still DAMAGED") || box.last().Told != 2 {
			t.Errorf("%+v", box.last())
		}
		storagetest.Flip(t, m.Storage, bad, 20*8)
		if run := runCheck(t, m.Env, true); run.State != backup.StateOK {
			t.Fatal(run.Error)
		}
		m.sleepUntil(dayAt(4, 1, 0))
		box.want(t, "01 00:00 damage, 02 00:00 damage, 02 01:00 recovered")
		if n := box.last(); n.Title != "repository default on shop-server is as it should be again" || !strings.Contains(n.Text, "It was:      the check of ") {
			t.Errorf("%s\n%s", n.Title, n.Text)
		}
		if other.events() != "damage damage" || elsewhere.events() != "" {
			t.Errorf("the others were told of %q and %q", other.events(), elsewhere.events())
		}
		if got := seen.all(); got != "default damage, default damage, default recovered" {
			t.Errorf("the observer was told of %s", got)
		}
	})
	inBubble(t, "changed by others", func(t *testing.T) {
		m, box := watcher(t)
		m.start()
		for i := range 4 {
			m.DB.Set(strings.Repeat("x", i+1))
			m.RunBackup(t, "shop")
		}
		names := storagetest.Names(t, m.Storage, "snapshots")
		lose := func() {
			if err := m.Storage.Delete(t.Context(), names[0]); err != nil {
				t.Fatal(err)
			}
			names = names[1:]
			m.RunBackup(t, "shop")
			m.sleep(time.Hour)
		}
		lose()
		if n := box.last(); n.Title != "repository default on shop-server is CHANGED BY OTHERS" || !strings.Contains(n.Text, "--accept-fewer") {
			t.Errorf("%s\n%s", n.Title, n.Text)
		}
		m.RunBackup(t, "shop")
		m.sleep(time.Hour)
		box.want(t, "01 00:00 damage")
		lose() // it becomes worse
		box.want(t, "01 00:00 damage, 01 02:00 damage")
		run := must(m.Check(t.Context(), "tester", backup.CheckRequest{AcceptFewer: true}))(t)
		m.Wait(t, run.ID)
		m.sleep(time.Hour)
		if box.events() != "damage damage recovered" {
			t.Errorf("told of %s", box.events())
		}
	})
	inBubble(t, "taken out of the configuration and back", func(t *testing.T) {
		m, box := watcher(t, func(c *backup.Config) {
			c.Repositories = append(c.Repositories, second(t))
		})
		m.DB.Set(dump)
		m.start()
		m.RunBackup(t, "shop")
		flipPack(t, m.Env)
		runCheck(t, m.Env, true)
		m.sleep(time.Minute)
		before := m.Config
		m.Config.Repositories, m.Config.Jobs = before.Repositories[1:], nil
		m.reload(false)
		m.sleep(5 * time.Minute)
		m.Config = before
		m.reload(false)
		m.sleep(time.Hour)
		if box.events() != "damage" {
			t.Errorf("told of %s", box.events())
		}
	})
}

// TestAlarmWithinOneInterval: whatever keeps a schedule from being kept, people and monitors know within one interval.
func TestAlarmWithinOneInterval(t *testing.T) {
	for text, interval := range map[string]time.Duration{
		"every 10m": 10 * time.Minute, "hourly": time.Hour, "every 6h": 6 * time.Hour, "daily 02:30": 24 * time.Hour, "weekly sun 04:00": 7 * 24 * time.Hour,
	} {
		for name, spoil := range map[string]func(*machine){
			"the run hangs": func(m *machine) { m.DB.Hold("never comes") },
			"its turn never comes": func(m *machine) {
				if _, err := m.Backup(m.t.Context(), "tester", "other"); err != nil {
					m.t.Fatal(err)
				}
			},
		} {
			inBubble(t, text+", "+name, func(t *testing.T) {
				stuck := backuptest.NewSource("")
				stuck.Hold("never comes")
				m, box := watcher(t, func(c *backup.Config) {
					c.Jobs[0].Schedule = schedule(t, text)
					c.Jobs = append(c.Jobs, backup.Job{Name: "other", Sources: []backup.NamedSource{{Name: "x", Kind: "fake", Source: stuck}}})
					for i := range c.Jobs {
						c.Jobs[i].Stall, c.Jobs[i].Timeout = -1, 1000*time.Hour // nothing else helps
					}
				})
				m.start()
				m.sleep(time.Second)
				m.sleepUntil(must(m.Job(t.Context(), "shop"))(t).NextRun.Add(time.Minute))
				spoil(m)
				slot := must(m.Job(t.Context(), "shop"))(t).NextRun
				grace := min(interval, 2*time.Hour)
				m.sleepUntil(slot.Add(grace - time.Minute))
				before := box.events()
				m.sleepUntil(slot.Add(grace + time.Minute))
				if before != "" || box.events() != "overdue" {
					t.Errorf("told of %q, before of %q", box.events(), before)
				}
				if h := m.Health(t.Context()); h.OK || !strings.Contains(strings.Join(h.Reasons, "\n"), "job shop: overdue since ") {
					t.Errorf("health: %+v", h)
				}
			})
		}
	}
}
