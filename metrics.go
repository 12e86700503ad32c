package caddybackup

import (
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
