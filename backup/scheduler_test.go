package backup_test

import (
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-backup/caddy-backup/backup"
	"github.com/caddy-backup/caddy-backup/backup/backuptest"
)

func schedule(t testing.TB, text string) backup.Schedule {
	t.Helper()
	s, err := backup.ParseSchedule(text)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// machine is a machine in the bubble of a test: it is switched on and off, its clock goes on.
type machine struct {
	*backuptest.Env
	t      *testing.T
	detach func() // nil while it is off
	on     []span
	runs   map[string]backup.Run // all that ever ended
}

type span struct{ from, to time.Time }

// newMachine makes one that is off, with the job "shop", daily, and the automatic side of a configuration.
func newMachine(t *testing.T, change func(*backup.Config)) *machine {
	t.Helper()
	e := &backuptest.Env{Service: backup.New(), Storage: backuptest.Repository(t), Store: &backuptest.Store{}, DB: backuptest.NewSource("create table customer;\n")}
	e.Config = backup.Config{
		Host: "shop-server", Zone: time.UTC, Store: e.Store, DataDir: t.TempDir(), Automatic: true, Logger: slog.New(slog.DiscardHandler),
		Repositories: []backup.RepositoryConfig{{Name: "default", Storage: e.Storage, Password: []byte(backuptest.Password), PackSize: 4 << 20}},
		Jobs: []backup.Job{{Name: "shop", Schedule: schedule(t, "daily 02:30"),
			Sources: []backup.NamedSource{{Name: "db", Kind: "fake", Source: e.DB}}}},
	}
	if change != nil {
		change(&e.Config)
	}
	m := &machine{Env: e, t: t, runs: map[string]backup.Run{}}
	t.Cleanup(func() { backuptest.Close(t, m.Service) })
	return m
}

func (m *machine) start() {
	m.t.Helper()
	m.Service = backup.New()
	m.on = append(m.on, span{from: time.Now()})
	m.attach()
}

func (m *machine) attach() {
	m.t.Helper()
	detach, err := m.Attach(m.Config)
	if err != nil {
		m.t.Fatal(err)
	}
	m.detach = detach
}

// reload attaches the configuration again before the old one goes; when it fails, it is the new one that goes.
func (m *machine) reload(fails bool) {
	old := m.detach
	m.attach()
	if fails {
		m.detach()
		m.detach = old
		return
	}
	old()
}

func (m *machine) stop() {
	m.t.Helper()
	m.detach()
	backuptest.Close(m.t, m.Service)
	m.on[len(m.on)-1].to = time.Now()
	m.detach = nil
}

// sleep lets time go by, and then notes what ended.
func (m *machine) sleep(d time.Duration) {
	m.t.Helper()
	time.Sleep(d)
	synctest.Wait()
	if m.detach != nil {
		m.note()
	}
}

func (m *machine) note() {
	m.t.Helper()
	runs, err := m.Runs(m.t.Context(), backup.RunFilter{Limit: 10000})
	if err != nil {
		m.t.Fatal(err)
	}
	for _, r := range runs {
		if r.State.Done() {
			m.runs[r.ID] = r
		}
	}
}

// of lists the runs of a kind that ended, oldest first.
func (m *machine) of(kind backup.Kind) (list []backup.Run) {
	m.t.Helper()
	all, err := m.Runs(m.t.Context(), backup.RunFilter{Kind: kind})
	if err != nil {
		m.t.Fatal(err)
	}
	for i := len(all) - 1; i >= 0; i-- {
		list = append(list, all[i])
	}
	return list
}

func (m *machine) slots(kind backup.Kind) string {
	var text []string
	for _, r := range m.of(kind) {
		text = append(text, r.Scheduled.Format("02 15:04")+" "+string(r.State))
	}
	return strings.Join(text, ", ")
}

// dayAt is a time on a day of January 2000, when the clock of a bubble begins.
func dayAt(day, hour, minute int) time.Time {
	return time.Date(2000, 1, day, hour, minute, 0, 0, time.UTC)
}

func (m *machine) sleepUntil(at time.Time) {
	m.t.Helper()
	m.sleep(time.Until(at))
}

func (m *machine) wantSlots(kind backup.Kind, want string) {
	m.t.Helper()
	if got := m.slots(kind); got != want {
		m.t.Errorf("%v: the runs are for the slots %q, want %q", time.Now().UTC(), got, want)
	}
}

// inBubble runs a test whose clock is its own; it begins at midnight of 1 January 2000.
func inBubble(t *testing.T, name string, f func(*testing.T)) {
	t.Run(name, func(t *testing.T) { synctest.Test(t, f) })
}

func TestScheduler(t *testing.T) {
	inBubble(t, "runs at its time", func(t *testing.T) {
		m := newMachine(t, nil)
		m.start()
		m.sleepUntil(dayAt(1, 2, 29))
		m.wantSlots(backup.KindBackup, "")
		m.sleepUntil(dayAt(1, 2, 31))
		m.wantSlots(backup.KindBackup, "01 02:30 ok")
		if run := m.of(backup.KindBackup)[0]; run.By != "schedule" || !run.Created.Equal(dayAt(1, 2, 30)) {
			t.Errorf("the run is by %q, of %v", run.By, run.Created)
		}
		m.sleepUntil(dayAt(3, 3, 0))
		m.wantSlots(backup.KindBackup, "01 02:30 ok, 02 02:30 ok, 03 02:30 ok")
	})
	inBubble(t, "catches up once", func(t *testing.T) {
		m := newMachine(t, nil)
		m.start()
		m.sleepUntil(dayAt(1, 12, 0))
		m.stop()
		m.sleepUntil(dayAt(6, 12, 0))
		m.start()
		m.sleep(20 * time.Second)
		m.wantSlots(backup.KindBackup, "01 02:30 ok") // other programs come up, too
		m.sleepUntil(dayAt(7, 12, 0))
		m.wantSlots(backup.KindBackup, "01 02:30 ok, 06 02:30 ok, 07 02:30 ok")
	})
	inBubble(t, "catches up what never ran", func(t *testing.T) {
		m := newMachine(t, nil)
		for day := 1; day < 4; day++ { // it is always off at night
			m.start()
			m.sleepUntil(dayAt(day, 20, 0))
			m.stop()
			m.sleepUntil(dayAt(day+1, 8, 0))
		}
		m.start()
		m.sleep(time.Hour)
		m.wantSlots(backup.KindBackup, "01 02:30 ok, 02 02:30 ok, 03 02:30 ok, 04 02:30 ok")
	})
	inBubble(t, "makes an interrupted one again once", func(t *testing.T) {
		m := newMachine(t, nil)
		m.DB.Hold("slow")
		m.start()
		m.sleepUntil(dayAt(1, 2, 31))
		for range 3 {
			m.stop()
			m.start()
			m.sleep(time.Minute)
		}
		m.wantSlots(backup.KindBackup, "01 02:30 interrupted, 01 02:30 interrupted")
		m.DB.Set("quick")
		m.sleepUntil(dayAt(2, 12, 0))
		m.wantSlots(backup.KindBackup, "01 02:30 interrupted, 01 02:30 interrupted, 02 02:30 ok")
	})
	inBubble(t, "does not repeat failed and cancelled ones", func(t *testing.T) {
		m := newMachine(t, nil)
		m.DB.Fail(errors.New("no such database"))
		m.start()
		m.sleepUntil(dayAt(1, 12, 0))
		m.DB.Hold("slow")
		m.sleepUntil(dayAt(2, 2, 31))
		if err := m.Cancel(t.Context(), "tester", m.of(backup.KindBackup)[1].ID); err != nil {
			t.Fatal(err)
		}
		m.reload(false)
		m.sleepUntil(dayAt(2, 12, 0))
		m.wantSlots(backup.KindBackup, "01 02:30 failed, 02 02:30 cancelled")
	})
	inBubble(t, "waits for the same job", func(t *testing.T) {
		m := newMachine(t, nil)
		m.DB.Hold("slow")
		m.start()
		m.sleepUntil(dayAt(1, 2, 0))
		run, err := m.Backup(t.Context(), "tester", "shop")
		if err != nil {
			t.Fatal(err)
		}
		m.sleepUntil(dayAt(1, 3, 0))
		m.DB.Set("quick")
		if err := m.Cancel(t.Context(), "tester", run.ID); err != nil {
			t.Fatal(err)
		}
		m.sleep(time.Second)
		runs := m.of(backup.KindBackup)
		if len(runs) != 2 || !runs[1].Scheduled.Equal(dayAt(1, 2, 30)) || runs[1].State != backup.StateOK {
			t.Errorf("the runs are %+v", runs)
		}
	})
	inBubble(t, "is one after a hundred reloads", func(t *testing.T) {
		m := newMachine(t, nil)
		m.start()
		for i := range 100 {
			m.reload(i%3 == 0)
			m.sleep(29 * time.Minute)
		}
		m.wantSlots(backup.KindBackup, "01 02:30 ok, 02 02:30 ok")
	})
	inBubble(t, "a configuration that is taken back costs no run", func(t *testing.T) {
		m := newMachine(t, nil)
		m.start()
		m.sleepUntil(dayAt(1, 2, 29))
		old, detach := m.Config.Jobs, m.detach
		for _, jobs := range [][]backup.Job{nil, {old[0]}} {
			m.Config.Jobs = jobs
			if jobs != nil {
				m.Config.Jobs[0].Schedule = schedule(t, "daily 20:00")
			}
			m.attach()
			m.sleep(time.Minute)
			m.detach()
		}
		m.Config.Jobs, m.detach = old, detach
		m.sleep(time.Second)
		m.wantSlots(backup.KindBackup, "01 02:30 ok")
	})
	inBubble(t, "a new schedule begins when it is loaded", func(t *testing.T) {
		m := newMachine(t, nil)
		m.start()
		m.sleepUntil(dayAt(1, 12, 0))
		m.Config.Jobs = []backup.Job{m.Config.Jobs[0]}
		m.Config.Jobs[0].Schedule = schedule(t, "daily 08:00")
		m.reload(false)
		m.sleepUntil(dayAt(2, 12, 0))
		m.wantSlots(backup.KindBackup, "01 02:30 ok, 02 08:00 ok")
	})
	inBubble(t, "leaves alone what is off", func(t *testing.T) {
		m := newMachine(t, func(c *backup.Config) { c.Jobs[0].Off = true })
		m.start()
		m.sleepUntil(dayAt(3, 12, 0))
		m.wantSlots(backup.KindBackup, "")
	})
	inBubble(t, "does nothing by itself for a command", func(t *testing.T) {
		m := newMachine(t, func(c *backup.Config) {
			c.Automatic, c.Jobs[0].Retention = false, &backup.Retention{Last: 1}
		})
		m.start()
		m.RunBackup(t, "shop")
		m.sleepUntil(dayAt(3, 12, 0))
		m.wantSlots(backup.KindForget, "")
		if runs := m.of(backup.KindBackup); len(runs) != 1 {
			t.Errorf("the runs are %+v", runs)
		}
	})
	inBubble(t, "goes on when its store is broken", func(t *testing.T) {
		m := newMachine(t, nil)
		m.start()
		m.sleepUntil(dayAt(1, 12, 0))
		m.Store.Fail(errors.New("no store"))
		m.reload(false)
		m.sleepUntil(dayAt(3, 12, 0))
		m.Store.Fail(nil)
		m.wantSlots(backup.KindBackup, "01 02:30 ok, 02 02:30 ok, 03 02:30 ok")
	})
	inBubble(t, "checks and prunes", func(t *testing.T) {
		m := newMachine(t, func(c *backup.Config) {
			c.Repositories[0].Check = backup.CheckPlan{Schedule: schedule(t, "daily 05:00"), ReadData: "50%"}
			c.Repositories[0].Prune = backup.PrunePlan{Schedule: schedule(t, "daily 06:00"), MaxUnused: "0%"}
		})
		m.start()
		m.sleepUntil(dayAt(2, 12, 0))
		m.wantSlots(backup.KindCheck, "01 05:00 ok, 02 05:00 ok")
		m.wantSlots(backup.KindPrune, "01 06:00 ok, 02 06:00 ok")
		if check := m.of(backup.KindCheck)[1]; check.Subset != "50%" || !strings.Contains(check.Summary, "all data") {
			t.Errorf("the second check is %+v", check)
		}
		list, err := m.Repositories(t.Context())
		if err != nil || len(list[0].Planned) != 2 || !list[0].Planned[0].Next.Equal(dayAt(3, 5, 0)) || list[0].Planned[1].LastRun == nil {
			t.Errorf("the repository is shown as %+v, %v", list, err)
		}
	})
}

// TestRetentionFollows applies retention after good backups, those by hand included, and after no others.
func TestRetentionFollows(t *testing.T) {
	for _, test := range []struct {
		name      string
		retention *backup.Retention
		spoil     func(*machine)
		want      int
	}{
		{"good", &backup.Retention{Last: 1}, func(*machine) {}, 2},
		{"auto off", &backup.Retention{Last: 1, Manual: true}, func(*machine) {}, 0},
		{"none", nil, func(*machine) {}, 0},
		{"failed", &backup.Retention{Last: 1}, func(m *machine) { m.DB.Fail(errors.New("no such database")) }, 0},
		{"empty", &backup.Retention{Last: 1}, func(m *machine) { m.DB.Set("") }, 0},
	} {
		inBubble(t, test.name, func(t *testing.T) {
			m := newMachine(t, func(c *backup.Config) { c.Jobs[0].Retention = test.retention })
			test.spoil(m)
			m.start()
			m.RunBackup(t, "shop")
			m.sleepUntil(dayAt(1, 3, 0))
			if got := m.of(backup.KindForget); len(got) != test.want || test.want > 0 && (got[1].By != "retention" || len(got[1].Removed) != 1) {
				t.Errorf("the runs are %+v", got)
			}
		})
	}
}

// TestOverdue looks when a job is overdue, and what health says of it.
func TestOverdue(t *testing.T) {
	job := func(m *machine) backup.JobStatus {
		m.t.Helper()
		j, err := m.Job(m.t.Context(), "shop")
		if err != nil {
			m.t.Fatal(err)
		}
		return j
	}
	health := func(m *machine) string { return strings.Join(m.Health(m.t.Context()).Reasons, "\n") }

	inBubble(t, "from the schedule", func(t *testing.T) {
		m := newMachine(t, nil)
		m.start()
		m.sleepUntil(dayAt(1, 3, 0))
		if j := job(m); j.Overdue() || !j.NextRun.Equal(dayAt(2, 2, 30)) || health(m) != "" {
			t.Errorf("the job is %+v, health %s", j, health(m))
		}
		m.DB.Fail(errors.New("no such database"))
		m.sleepUntil(dayAt(2, 4, 29))
		if j := job(m); j.Overdue() {
			t.Errorf("the job is %+v", j)
		}
		m.sleepUntil(dayAt(2, 4, 31))
		if j := job(m); !j.OverdueSince.Truncate(time.Minute).Equal(dayAt(2, 4, 30)) || !strings.Contains(health(m), "job shop: overdue since 2000-01-02 04:30 UTC: the last good backup was made 1 day ago") {
			t.Errorf("the job is %+v, health %s", j, health(m))
		}
		m.DB.Set("back again")
		m.RunBackup(t, "shop")
		if j := job(m); j.Overdue() || health(m) != "" {
			t.Errorf("the job is %+v, health %s", j, health(m))
		}
	})
	inBubble(t, "as configured", func(t *testing.T) {
		m := newMachine(t, func(c *backup.Config) { c.Jobs[0].Schedule, c.Jobs[0].OverdueAfter = backup.Schedule{}, 5*time.Hour })
		m.start()
		m.RunBackup(t, "shop")
		m.sleepUntil(dayAt(1, 4, 59))
		before := job(m).Overdue()
		m.sleepUntil(dayAt(1, 5, 1))
		if before || !job(m).Overdue() {
			t.Errorf("overdue before: %v; the job is %+v", before, job(m))
		}
	})
	inBubble(t, "never good", func(t *testing.T) {
		m := newMachine(t, nil)
		m.DB.Fail(errors.New("no such database"))
		m.start()
		m.sleepUntil(dayAt(2, 12, 0))
		if !job(m).Overdue() || !strings.Contains(health(m), "there is no good backup") {
			t.Errorf("the job is %+v, health %s", job(m), health(m))
		}
	})
	inBubble(t, "after the machine was off", func(t *testing.T) {
		m := newMachine(t, nil)
		m.start()
		m.sleepUntil(dayAt(1, 12, 0))
		m.stop()
		m.sleepUntil(dayAt(5, 12, 0))
		m.start()
		before := job(m).Overdue()
		m.sleep(time.Minute)
		if !before || job(m).Overdue() {
			t.Errorf("overdue before it caught up: %v; the job is %+v", before, job(m))
		}
	})
}
