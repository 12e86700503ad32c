package caddybackup

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/caddy-backup/caddy-backup/backup"
)

// gauges are asked of the Service at every look, which has them from the history and asks no storage: so they are right after
// a restart, and of a job that is gone there are none.
type gauges struct{ *App }

// Of jobs.
var (
	lastSuccess  = gauge("last_success_timestamp_seconds", "When the last good backup ended; 0 if there is none.", jobLabel)
	lastAttempt  = gauge("last_attempt_timestamp_seconds", "When the last backup ended, however it did; 0 if there is none.", jobLabel)
	lastOK       = gauge("last_ok", "1 if the last backup is good, else 0.", jobLabel)
	lastDuration = gauge("last_duration_seconds", "How long the last backup took.", jobLabel)
	lastRead     = gauge("last_read_bytes", "Bytes that the last backup read from its sources.", jobLabel)
	lastNew      = gauge("last_new_bytes", "Of these, not in the repository before.", jobLabel)
	lastStored   = gauge("last_stored_bytes", "What the new ones take in the repository.", jobLabel)
	proven       = gauge("proven", "1 if the last backup is good, and neither a drill, a check nor the schedule speaks against it since, else 0.", jobLabel)
	badInARow    = gauge("consecutive_failures", "Backups since the last good one that failed, were suspect, or interrupted.", jobLabel)
	overdue      = gauge("overdue", "1 if there was no good backup for longer than the schedule allows, else 0.", jobLabel)
	nextRun      = gauge("next_run_timestamp_seconds", "When the job runs next by its schedule; 0 if it has none, or is off.", jobLabel)
	jobSnapshots = gauge("job_snapshots", "Snapshots of the job and this host, as the last run left them that looked.", jobLabel)
	lastDrilled  = gauge("last_drilled_timestamp_seconds", "When the last good drill of the job ended; 0 if there is none.", jobLabel)
	lastDrill    = gauge("last_drill_timestamp_seconds", "When the last drill of the job ended, however it did; 0 if there is none.", jobLabel)
	drillOK      = gauge("last_drill_ok", "1 if the last drill of the job went well, else 0.", jobLabel)
	drillOverdue = gauge("drill_overdue", "1 if there was no good drill for longer than its schedule allows, else 0.", jobLabel)
	running      = gauge("running", "1 while a backup goes on or waits for its turn, else 0.", jobLabel)
	enabled      = gauge("enabled", "0 of a job that is off, else 1.", jobLabel)
)

// Of repositories. What no run has looked for yet is left out.
var (
	snapshots = gauge("snapshots", "Snapshots in the repository, of all jobs and hosts, as the last run left it that looked.", "repository")
	packBytes = gauge("repository_bytes", "What the packs of the repository take, as the last run left them that listed them.", "repository")
	alarms    = gauge("alarms", "What others removed from the repository, or added to its keys, and nobody has accepted.", "repository")
	lastCheck = gauge("last_check_timestamp_seconds", "When the check ended that says how the repository is: the last that could be done, or one that "+
		"found damage which no later one disproved; 0 if there is none.", "repository")
	checkOK   = gauge("last_check_ok", "1 if that check found nothing wrong, else 0.", "repository")
	lastPrune = gauge("last_prune_timestamp_seconds", "When the last prune ended, however it did; 0 if there is none.", "repository")
	pruneOK   = gauge("last_prune_ok", "1 if the last prune did its work, else 0.", "repository")
)

// Of notifiers, and of all.
var (
	failing = gauge("notifier_failing", "1 if the last attempt to tell the notifier something failed, else 0.", "notifier")
	waiting = gauge("notifier_waiting", "Notifications that the notifier has not taken yet.", "notifier")
	healthy = gauge("healthy", "1 if health says that all is well, else 0.")
)

func gauge(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc(prometheus.BuildFQName("caddy", "backup", name), help, labels, nil)
}

// Describe implements prometheus.Collector.
func (g gauges) Describe(to chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		lastSuccess, lastAttempt, lastOK, proven, lastDuration, lastRead, lastNew, lastStored, badInARow, overdue, nextRun, jobSnapshots, running, enabled,
		lastDrilled, lastDrill, drillOK, drillOverdue,
		snapshots, packBytes, alarms, lastCheck, checkOK, lastPrune, pruneOK,
		failing, waiting, healthy,
	} {
		to <- d
	}
}

// setter gives one value to whoever looks.
type setter func(d *prometheus.Desc, value float64, labels ...string)

// Collect implements prometheus.Collector. Without a Service, or one that is closed, there is nothing to tell.
func (g gauges) Collect(to chan<- prometheus.Metric) {
	if g.service == nil {
		return
	}
	var set setter = func(d *prometheus.Desc, value float64, labels ...string) {
		to <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, value, labels...)
	}
	ctx := context.Background()
	jobs, err := g.Service().Jobs(ctx)
	if err != nil {
		return
	}
	for _, j := range jobs {
		set.job(j)
	}
	repositories, err := g.Service().Repositories(ctx)
	if err != nil {
		return
	}
	for _, r := range repositories {
		set.repository(r)
	}
	notifiers, err := g.Service().Notifiers(ctx)
	if err != nil {
		return
	}
	for _, n := range notifiers {
		set(failing, truth(!n.FailingSince.IsZero()), n.Name)
		set(waiting, float64(n.Waiting), n.Name)
	}
	set(healthy, truth(g.Service().Health(ctx).OK))
}

func (set setter) job(j backup.JobStatus) {
	set(enabled, truth(j.Enabled), j.Name)
	set(running, truth(j.Running != nil), j.Name)
	set(lastSuccess, seconds(j.LastGood), j.Name)
	set(proven, truth(j.Standing == backup.StandingOK), j.Name)
	set(badInARow, float64(j.Bad), j.Name)
	set(overdue, truth(j.Overdue()), j.Name)
	set(nextRun, seconds(j.NextRun), j.Name)
	set(lastDrilled, seconds(j.Drill.LastGood), j.Name)
	set(drillOverdue, truth(!j.Drill.OverdueSince.IsZero()), j.Name)
	set.ended(lastDrill, drillOK, j.Drill.LastRun, j.Name)
	if j.Snapshots != nil {
		set(jobSnapshots, float64(*j.Snapshots), j.Name)
	}
	r := j.LastRun
	set.ended(lastAttempt, lastOK, r, j.Name)
	if r == nil {
		return
	}
	if !r.Started.IsZero() {
		set(lastDuration, r.Ended.Sub(r.Started).Seconds(), j.Name)
	}
	set(lastRead, float64(r.Progress.Bytes), j.Name)
	set(lastNew, float64(r.Progress.New), j.Name)
	set(lastStored, float64(r.Progress.Stored), j.Name)
}

func (set setter) repository(r backup.RepositoryStatus) {
	set(alarms, float64(len(r.Alarms)), r.Name)
	if r.Snapshots != nil {
		set(snapshots, float64(*r.Snapshots), r.Name)
	}
	if r.PackBytes != nil {
		set(packBytes, float64(*r.PackBytes), r.Name)
	}
	set.ended(lastCheck, checkOK, r.LastCheck, r.Name)
	set.ended(lastPrune, pruneOK, r.LastPrune, r.Name)
}

// ended tells when a run ended, and whether well; r is nil when there is none.
func (set setter) ended(when, well *prometheus.Desc, r *backup.Run, label string) {
	if r == nil {
		r = new(backup.Run)
	}
	set(when, seconds(r.Ended), label)
	set(well, truth(r.State == backup.StateOK), label)
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// seconds is a Unix time, and 0 of none.
func seconds(t time.Time) float64 {
	if t.IsZero() {
		return 0
	}
	return float64(t.UnixMilli()) / 1000
}
