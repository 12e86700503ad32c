package integration

import (
	"context"
	"fmt"
	"net/http"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyevents"

	"github.com/caddy-backup/caddy-backup/backup"
	"github.com/caddy-backup/caddy-backup/internal/realtest"
)

func init() { caddy.RegisterModule(eventList{}) }

// eventList is a handler of events that keeps them.
type eventList struct{}

var events struct {
	mu   sync.Mutex
	list []caddy.Event
}

func (eventList) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "events.handlers.test_list", New: func() caddy.Module { return new(eventList) }}
}

func (eventList) UnmarshalCaddyfile(d *caddyfile.Dispenser) error { d.Next(); return nil }

func (eventList) Handle(_ context.Context, e caddy.Event) error {
	events.mu.Lock()
	defer events.mu.Unlock()
	events.list = append(events.list, e)
	return nil
}

var (
	_ caddyevents.Handler   = eventList{}
	_ caddyfile.Unmarshaler = eventList{}
)

// awaitEvent waits for the event of a run.
func awaitEvent(t *testing.T, run string) caddy.Event {
	t.Helper()
	return awaitAny(t, "of run "+run, func(e caddy.Event) bool { return e.Data["run"] == run })
}

// awaitAny waits for an event that is one of those wanted.
func awaitAny(t *testing.T, which string, wanted func(caddy.Event) bool) caddy.Event {
	t.Helper()
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		events.mu.Lock()
		list := events.list
		events.mu.Unlock()
		if i := slices.IndexFunc(list, wanted); i >= 0 {
			return list[i]
		}
	}
	t.Fatalf("no event %s came", which)
	return caddy.Event{}
}

// TestEventsAndMetrics looks at what others can see of runs: Caddy's events and Caddy's metrics, before and after a reload
// that takes a job out.
func TestEventsAndMetrics(t *testing.T) {
	w := newWorld(t)
	site := freeAddress(t)
	const bad = "job bad {\n\tsource out command sh -c \"echo half; exit 3\"\n\tschedule monthly\n}\n"
	config := func(extra string) string {
		caddyfile := w.config(extra, "http://"+site+" {\n\tbind 127.0.0.1\n\tmetrics /metrics\n}\n")
		return "{\n\tevents {\n\t\ton backup_succeeded test_list\n\t\ton backup_failed test_list\n\t\ton backup_check_succeeded test_list\n\t}\n" + caddyfile[2:]
	}
	w.begin(config(bad))
	good := w.run("quick", backup.StateOK)
	w.run("bad", backup.StateFailed)
	failed := w.run("bad", backup.StateFailed)

	e := awaitEvent(t, good.ID)
	if e.Name() != "backup_succeeded" || e.Data["job"] != "quick" || e.Data["snapshot"] != good.Snapshot || e.Data["repository"] != "default" {
		t.Errorf("event %s: %v", e.Name(), e.Data)
	}
	e = awaitEvent(t, failed.ID)
	if e.Name() != "backup_failed" || e.Data["error"] != failed.Error || failed.Error == "" {
		t.Errorf("event %s: %v, want the error %q", e.Name(), e.Data, failed.Error)
	}
	if origin := e.Origin(); origin == nil || origin.CaddyModule().ID != "backup" {
		t.Errorf("the event is from %v", origin)
	}
	check, err := admin.Check(w.Context(), backup.CheckRequest{Repository: "default"})
	if err != nil {
		t.Fatal(err)
	}
	finish(t, admin, check.ID)
	if e := awaitEvent(t, check.ID); e.Name() != "backup_check_succeeded" {
		t.Errorf("event %s of a check", e.Name())
	}

	shown := body(t, "GET", "http://"+site+"/metrics", "", http.StatusOK)
	for _, want := range []string{
		`caddy_backup_last_success_timestamp_seconds\{backup_job="quick"\} 1\.[0-9]+e\+09`,
		`caddy_backup_last_success_timestamp_seconds\{backup_job="bad"\} 0`,
		`caddy_backup_last_attempt_timestamp_seconds\{backup_job="bad"\} 1\.[0-9]+e\+09`,
		`caddy_backup_last_ok\{backup_job="quick"\} 1`,
		`caddy_backup_last_ok\{backup_job="bad"\} 0`,
		`caddy_backup_last_ok\{backup_job="slow"\} 0`,
		`caddy_backup_last_read_bytes\{backup_job="quick"\} [1-9][0-9]*`,
		`caddy_backup_last_duration_seconds\{backup_job="quick"\} [0-9.e-]+`,
		`caddy_backup_runs_total\{backup_job="bad",kind="backup",repository="default",state="failed"\} 2`,
		`caddy_backup_runs_total\{backup_job="quick",kind="backup",repository="default",state="ok"\} [1-9]`,
		`caddy_backup_runs_total\{backup_job="slow",kind="backup",repository="default",state="failed"\} 0`,
		`caddy_backup_read_bytes_total\{backup_job="quick"\} [1-9][0-9]*`,
		`caddy_backup_snapshots\{repository="default"\} 1`,
		`caddy_backup_alarms\{repository="default"\} 0`,
		`caddy_backup_repository_bytes\{repository="default"\} [1-9][0-9.e+]*`,
		`caddy_backup_last_check_timestamp_seconds\{repository="default"\} 1\.[0-9]+e\+09`,
		`caddy_backup_last_check_ok\{repository="default"\} 1`,
		`caddy_backup_last_prune_timestamp_seconds\{repository="default"\} 0`,
		`caddy_backup_last_prune_ok\{repository="default"\} 0`,
		`caddy_backup_consecutive_failures\{backup_job="bad"\} 2`,
		`caddy_backup_consecutive_failures\{backup_job="quick"\} 0`,
		`caddy_backup_job_snapshots\{backup_job="quick"\} 1`,
		`caddy_backup_job_snapshots\{backup_job="bad"\} 0`,
		`caddy_backup_overdue\{backup_job="quick"\} 0`,
		`caddy_backup_overdue\{backup_job="bad"\} 0`,
		`caddy_backup_next_run_timestamp_seconds\{backup_job="bad"\} [1-9]\.[0-9]+e\+09`,
		`caddy_backup_next_run_timestamp_seconds\{backup_job="quick"\} 0`,
		`caddy_backup_healthy 0`,
	} {
		if !regexp.MustCompile("(?m)^" + want + "$").MatchString(shown) {
			t.Errorf("the metrics do not have %s", want)
		}
	}
	lint(t, shown)
	w.mustLoad(config(""))
	shown = body(t, "GET", "http://"+site+"/metrics", "", http.StatusOK)
	if regexp.MustCompile(`(?m)^caddy_backup.*"bad"`).MatchString(shown) {
		t.Error("the metrics still have the job that was taken out")
	}
	if !regexp.MustCompile(`(?m)^caddy_backup_last_ok\{backup_job="quick"\} 1$`).MatchString(shown) {
		t.Error("after a reload the metrics of the other job are gone")
	}
	if t.Failed() {
		for _, line := range regexp.MustCompile(`(?m)^caddy_backup.*$`).FindAllString(shown, -1) {
			fmt.Println(line)
		}
	}
}

// lint has Prometheus's own tool judge names, types and help of our metrics.
func lint(t *testing.T, metrics string) {
	t.Helper()
	promtool := realtest.Need(t, "promtool")
	var ours strings.Builder
	for line := range strings.Lines(metrics) {
		if strings.Contains(line, "caddy_backup_") {
			ours.WriteString(line)
		}
	}
	check := exec.Command(promtool, "check", "metrics")
	check.Stdin = strings.NewReader(ours.String())
	if out, err := check.CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("promtool check metrics: %v\n%s", err, out)
	}
}

// run has a job run, which must end as said.
func (w *world) run(job string, want backup.State) backup.Run {
	w.Helper()
	run, err := admin.Backup(w.Context(), job)
	if err != nil {
		w.Fatal(err)
	}
	run = finish(w.T, admin, run.ID)
	if run.State != want {
		w.Fatalf("job %s ended as %s: %s", job, run.State, run.Error)
	}
	return run
}
