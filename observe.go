package caddybackup

import (
	"errors"
	"fmt"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyevents"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/caddy-backup/caddy-backup/backup"
)

// observer passes on what becomes of runs: to the handlers of Caddy's events, and into the counters of its metrics.
type observer struct {
	app    *App
	ctx    caddy.Context // of the app
	events *caddyevents.App
}

// observe registers the metrics and has the Service tell the observer of runs that ended.
func (a *App) observe(ctx caddy.Context, events *caddyevents.App) error {
	for _, c := range []prometheus.Collector{totals.runs, totals.read, totals.added, totals.stored, gauges{a}} {
		// The registry is new with each configuration; the counters are not.
		if err := ctx.GetMetricsRegistry().Register(c); err != nil {
			if _, already := errors.AsType[prometheus.AlreadyRegisteredError](err); !already {
				return fmt.Errorf("registering metrics: %w", err)
			}
		}
	}
	o := observer{a, ctx, events}
	a.config.Observe, a.config.Alarm = o.ended, o.alarm
	return nil
}

func (o observer) ended(e backup.Ending) {
	if r := e.Run; r.Job == "" || o.app.hasJob(r.Job) { // else it was taken out while it ran
		count(r)
	}
	o.emit(eventName(e.Run), eventData(e))
	if e.Recovered() {
		o.emit("backup_recovered", eventData(e))
	}
}

// alarm passes on what the watch tells: backup_overdue of a job, backup_damage and backup_recovered of a repository.
func (o observer) alarm(n backup.Notification) {
	o.emit("backup_"+string(n.Event), map[string]any{
		"job": n.Job, "repository": n.Repository, "event": string(n.Event), "title": n.Title, "reasons": n.Reasons,
		"since": n.Since, "told": n.Told, "last_good": n.LastGood, "run": n.Run, "state": string(n.State), "error": n.Error,
	})
}

func (o observer) emit(name string, data map[string]any) {
	if o.events.ShouldEmit(name) {
		o.events.Emit(o.ctx, name, data)
	}
}

// eventName is "backup_succeeded" of a backup, "backup_check_failed" of a check.
func eventName(r backup.Run) string {
	name := "backup_"
	if r.Kind != backup.KindBackup {
		name += string(r.Kind) + "_"
	}
	if r.State == backup.StateOK {
		return name + "succeeded"
	}
	return name + string(r.State)
}

// eventData is what handlers find under {event.data.…}.
func eventData(e backup.Ending) map[string]any {
	r := e.Run
	return map[string]any{
		"job": r.Job, "repository": r.Repository, "kind": string(r.Kind), "run": r.ID, "state": string(r.State), "by": r.By,
		"snapshot": r.Snapshot, "error": r.Error, "summary": r.Summary, "started": r.Started, "ended": r.Ended,
		"bytes_read": r.Progress.Bytes, "bytes_new": r.Progress.New, "bytes_stored": r.Progress.Stored,
		"recovered": e.Recovered(),
	}
}
