package caddybackup

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/caddy-backup/caddy-backup/backup"
)

// jobLabel is not "job", which Prometheus sets itself, to the name under which it was told to ask us.
const jobLabel = "backup_job"

// totals count since the process began, over all its configurations.
var totals = struct{ runs, read, added, stored *prometheus.CounterVec }{
	runs:   counter("runs_total", "Runs that ended, by kind and by how they did.", "kind", "repository", jobLabel, "state"),
	read:   counter("read_bytes_total", "Bytes that backups read from their sources.", jobLabel),
	added:  counter("new_bytes_total", "Of the bytes read, those that were not in the repository before.", jobLabel),
	stored: counter("stored_bytes_total", "Bytes that the new ones take in the repository.", jobLabel),
}

func counter(name, help string, labels ...string) *prometheus.CounterVec {
	return prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: "caddy", Subsystem: "backup", Name: name, Help: help}, labels)
}

// count adds a run that ended.
func count(r backup.Run) {
	totals.runs.WithLabelValues(string(r.Kind), r.Repository, r.Job, string(r.State)).Inc()
	if r.Kind != backup.KindBackup {
		return
	}
	totals.read.WithLabelValues(r.Job).Add(float64(r.Progress.Bytes))
	totals.added.WithLabelValues(r.Job).Add(float64(r.Progress.New))
	totals.stored.WithLabelValues(r.Job).Add(float64(r.Progress.Stored))
}

// startCounting begins the series of jobs that are new, for a counter that is first seen with its first failure was never
// seen to rise, and drops those of jobs that are gone.
func (p *pooled) startCounting(jobs []backup.Job) {
	p.mu.Lock()
	defer p.mu.Unlock()
	gone := p.counted
	p.counted = map[string]bool{}
	for _, j := range jobs {
		delete(gone, j.Name)
		p.counted[j.Name] = true
	}
	for name := range gone {
		for _, c := range []*prometheus.CounterVec{totals.runs, totals.read, totals.added, totals.stored} {
			c.DeletePartialMatch(prometheus.Labels{jobLabel: name})
		}
	}
	for _, j := range jobs {
		for _, state := range []backup.State{backup.StateOK, backup.StateSuspect, backup.StateFailed} {
			totals.runs.WithLabelValues(string(backup.KindBackup), j.To, j.Name, string(state))
		}
		for _, c := range []*prometheus.CounterVec{totals.read, totals.added, totals.stored} {
			c.WithLabelValues(j.Name)
		}
	}
}

// gauges are asked of the Service at every look, which has them from the history: so they are right after a restart, and of
// a job that is gone there are none.
type gauges struct{ *App }

var (
	lastSuccess  = gauge("last_success_timestamp_seconds", "When the last good backup ended; 0 if there is none.", jobLabel)
	lastAttempt  = gauge("last_attempt_timestamp_seconds", "When the last backup ended, however it did; 0 if there is none.", jobLabel)
	lastOK       = gauge("last_ok", "1 if the last backup is good, else 0.", jobLabel)
	lastDuration = gauge("last_duration_seconds", "How long the last backup took.", jobLabel)
	lastRead     = gauge("last_read_bytes", "Bytes that the last backup read from its sources.", jobLabel)
	lastNew      = gauge("last_new_bytes", "Of these, not in the repository before.", jobLabel)
	lastStored   = gauge("last_stored_bytes", "What the new ones take in the repository.", jobLabel)
	running      = gauge("running", "1 while a backup goes on or waits for its turn, else 0.", jobLabel)
	enabled      = gauge("enabled", "0 of a job that is off, else 1.", jobLabel)
	snapshots    = gauge("snapshots", "Snapshots in the repository, of all jobs and hosts, as the last run left it that looked.", "repository")
	alarms       = gauge("alarms", "What others removed from the repository, or added to its keys, and nobody has accepted.", "repository")
	failing      = gauge("notifier_failing", "1 if the last attempt to tell the notifier something failed, else 0.", "notifier")
	waiting      = gauge("notifier_waiting", "Notifications that the notifier has not taken yet.", "notifier")
	healthy      = gauge("healthy", "1 if health says that all is well, else 0.")
)

func gauge(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc(prometheus.BuildFQName("caddy", "backup", name), help, labels, nil)
}

// Describe implements prometheus.Collector.
func (g gauges) Describe(to chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{lastSuccess, lastAttempt, lastOK, lastDuration, lastRead, lastNew, lastStored, running,
		enabled, snapshots, alarms, failing, waiting, healthy} {
		to <- d
	}
}

// Collect implements prometheus.Collector. Without a Service, or one that is closed, there is nothing to tell.
func (g gauges) Collect(to chan<- prometheus.Metric) {
	if g.service == nil {
		return
	}
	ctx := context.Background()
	set := func(d *prometheus.Desc, value float64, labels ...string) {
		to <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, value, labels...)
	}
	jobs, err := g.Service().Jobs(ctx)
	if err != nil {
		return
	}
	for _, j := range jobs {
		collectJob(set, j)
	}
	repositories, err := g.Service().Repositories(ctx)
	if err != nil {
		return
	}
	for _, r := range repositories {
		set(alarms, float64(len(r.Alarms)), r.Name)
		if r.Snapshots != nil {
			set(snapshots, float64(*r.Snapshots), r.Name)
		}
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

func collectJob(set func(*prometheus.Desc, float64, ...string), j backup.JobStatus) {
	set(enabled, truth(j.Enabled), j.Name)
	set(running, truth(j.Running != nil), j.Name)
	set(lastSuccess, seconds(j.LastGood), j.Name)
	r := j.LastRun
	if r == nil {
		set(lastAttempt, 0, j.Name)
		set(lastOK, 0, j.Name)
		return
	}
	set(lastAttempt, seconds(r.Ended), j.Name)
	set(lastOK, truth(r.State == backup.StateOK), j.Name)
	if !r.Started.IsZero() {
		set(lastDuration, r.Ended.Sub(r.Started).Seconds(), j.Name)
	}
	set(lastRead, float64(r.Progress.Bytes), j.Name)
	set(lastNew, float64(r.Progress.New), j.Name)
	set(lastStored, float64(r.Progress.Stored), j.Name)
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
