package integration

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-backup/caddy-backup/backup"
)

func init() { caddy.RegisterModule(unready{}) }

// unready is an app that cannot be provisioned, when the app backup already is.
type unready struct{}

func (unready) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "test_unready", New: func() caddy.Module { return new(unready) }}
}

func (*unready) Provision(ctx caddy.Context) error {
	_, err := ctx.App("backup")
	return errors.Join(err, errors.New("this app is never ready"))
}
func (*unready) Start() error { return nil }
func (*unready) Stop() error  { return nil }

// busyWorld is a Caddy in this process with a job "planned", every two minutes of a time that goes by sixty times as fast, and a
// job "asked". Their dumps write into files when they begin and end, and when another one runs beside them.
func busyWorld(t *testing.T) (w *world, config func(extra, sites string) string) {
	w = newWorld(t)
	w.write("dump.sh", "cd "+w.dir+"; mkdir busy || echo $1 >>together; echo $1 >>begun; sleep 0.1; date +%N; echo $1 >>ended; rmdir busy\n")
	since := time.Now().Unix()
	return w, func(extra, sites string) string {
		return fmt.Sprintf(`{
	admin localhost:2999
	persist_config off
	skip_install_trust
	auto_https off
	grace_period 1ns
	storage file_system %[1]s/store
	hurry %[2]d 60
	backup {
		repository {
			storage %[1]s/repository
			password {file.%[1]s/secret}
		}
		job planned {
			source out command sh %[1]s/dump.sh planned
			schedule every 2m
		}
		job asked {
			source out command sh %[1]s/dump.sh asked
		}
		%[3]s
	}
}
%[4]s
`, w.dir, since, extra, sites)
	}
}

// lines counts those of a file.
func (w *world) lines(name string) int {
	data, _ := os.ReadFile(filepath.Join(w.dir, name))
	return strings.Count(string(data), "\n")
}

// goroutines counts those of this product, and those of its scheduler.
func goroutines() (ours, schedulers int) {
	stacks := make([]byte, 16<<20)
	for stack := range strings.SplitSeq(string(stacks[:runtime.Stack(stacks, true)]), "\n\n") {
		if strings.Contains(stack, "caddy-backup/backup.") {
			ours++
		}
		if strings.Contains(stack, "backup.(*scheduler).run(") {
			schedulers++
		}
	}
	return ours, schedulers
}

// TestReloadsDuringRuns: a hundred reloads, of which two in five fail, early and late, while runs by the schedule and by hand
// go on: there is one scheduler and one writer, and what became of each run is known.
func TestReloadsDuringRuns(t *testing.T) {
	w, config := busyWorld(t)
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	w.begin(config("", ""))
	before, _ := goroutines()

	stop := make(chan struct{})
	var asking sync.WaitGroup
	var asked []string
	asking.Go(func() {
		for {
			select {
			case <-stop:
				return
			case <-time.After(50 * time.Millisecond):
			}
			run, err := admin.Backup(t.Context(), "asked")
			if err == nil {
				asked = append(asked, run.ID)
			} else if !errors.Is(err, backup.ErrConflict) {
				t.Errorf("a backup was refused: %v", err)
			}
		}
	})
	slowest := time.Duration(0) // what this machine, which may have much else to do, took for one of the reloads
	last := time.Now()
	for i := range 100 {
		slowest, last = max(slowest, time.Since(last)), time.Now()
		time.Sleep(70 * time.Millisecond) // else all is over before a second run is due
		var err error
		switch i % 5 {
		case 1:
			err = w.load(config("", "http://"+taken.Addr().String()+" {\n\tbind 127.0.0.1\n\trespond hello\n}"))
		case 3:
			err = w.loadJSON(config("", ""), `"test_unready": {}, `)
		default:
			w.mustLoad(config([]string{"", "timezone Europe/Paris"}[i%2], ""))
			continue
		}
		if err == nil {
			t.Fatalf("reload %d did not fail", i)
		}
	}
	close(stop)
	asking.Wait()
	if _, schedulers := goroutines(); schedulers != 1 {
		t.Errorf("%d schedulers", schedulers)
	}
	w.mustLoad(strings.Replace(config("", ""), "schedule every 2m", "", 1)) // what is counted stays as it is
	w.wantAllRuns(asked, max(slowest, time.Since(last)))
	after, schedulers := goroutines()
	for began := time.Now(); after > before && time.Since(began) < 30*time.Second; after, schedulers = goroutines() { // what follows a run
		time.Sleep(50 * time.Millisecond)
	}
	if schedulers != 1 || after > before {
		t.Errorf("%d schedulers, %d goroutines of ours, %d before", schedulers, after, before)
	}
}

// loadJSON is load with apps that no Caddyfile makes.
func (w *world) loadJSON(caddyfile, apps string) error {
	config, err := adapt(caddyfile)
	if err != nil {
		return err
	}
	return caddy.Load([]byte(strings.Replace(config, `"apps": {`, `"apps": {`+apps, 1)), true)
}

// wantAllRuns wants what was asked for and what was planned to be done, all of it once. A slot may be passed over when the machine
// held something up for more than half of the time between two.
func (w *world) wantAllRuns(asked []string, slowest time.Duration) {
	w.Helper()
	for _, id := range asked {
		finish(w.T, admin, id)
	}
	runs, err := admin.Runs(w.Context(), backup.RunFilter{Kind: backup.KindBackup, Limit: 1000})
	if err != nil {
		w.Fatal(err)
	}
	slices.Reverse(runs)
	var planned []backup.Run
	green := 0
	for _, r := range runs {
		switch {
		case !r.State.Done():
			r = finish(w.T, admin, r.ID)
		case r.Job == "asked" && !slices.Contains(asked, r.ID):
			w.Errorf("nobody asked for the run %s", r.ID)
		}
		if r.State == backup.StateOK {
			green++
		} else {
			w.Errorf("run %s of %s is %s: %s", r.ID, r.Job, r.State, r.Error)
		}
		if r.Job == "planned" {
			planned = append(planned, r)
		}
	}
	if n := len(runs) - len(planned); n != len(asked) || len(asked) < 5 || len(planned) < 2 {
		w.Fatalf("%d runs were asked for, %d made; %d were planned", len(asked), n, len(planned))
	}
	for _, r := range runs {
		slowest = max(slowest, r.Ended.Sub(r.Created)/60)
	}
	patient := time.Minute // in which the scheduler looks again
	if slowest > time.Second {
		patient += 60 * slowest
	}
	for i, r := range planned[1:] {
		last := planned[i]
		for slot := last.Scheduled.Add(2 * time.Minute); !slot.Equal(r.Scheduled); slot = slot.Add(2 * time.Minute) {
			if last.Ended.Add(patient).Before(slot) || slot.After(r.Scheduled) { // it did not have to wait for the one before
				w.Fatalf("the run for %v follows that for %v, which ended %v", r.Scheduled, last.Scheduled, last.Ended)
			}
		}
	}
	list, err := admin.Snapshots(w.Context(), backup.SnapshotQuery{})
	if err != nil || list.Total != green || w.lines("begun") != green || w.lines("ended") != green || w.lines("together") != 0 {
		w.Errorf("%d runs are ok; there are %d snapshots, %v; %d dumps began, %d ended, %d beside others", green, list.Total, err,
			w.lines("begun"), w.lines("ended"), w.lines("together"))
	}
}
