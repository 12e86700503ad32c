package handler

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/caddy-backup/caddy-backup/backup"
)

// newest is how many snapshots of a job the overview shows, recent how many runs.
const (
	newest = 5
	recent = 8
)

type overview struct {
	Jobs         []*jobView
	Runs         []*runView
	Repositories []repositoryView
	Notifiers    []backup.NotifierStatus // that fail
	Health       backup.Health
	Enabled      int      // jobs; the numbers below are of these
	Good         int      // whose backups are proven
	Never        []string // that have no backup yet, by name
	Busy         bool     // something is going on
}

// Standing is how all of it stands, in one word: ill, none (nothing is backed up yet), some (not everything is), well,
// open (a last backup was given up). Well agrees with Health, and asks for more: a good last backup of each job.
func (v overview) Standing() string {
	switch never := len(v.Never); {
	case len(v.Health.Reasons) > never: // each of those is a reason as well
		return "ill"
	case never > 0 && never == v.Enabled:
		return "none"
	case never > 0:
		return "some"
	case v.Health.OK && v.Good == v.Enabled && v.Good > 0:
		return "well"
	}
	return "open"
}

// Troubles are the reasons of Health without the errors, which stand at the jobs.
func (v overview) Troubles() []string {
	return each(v.Health.Reasons, func(reason string) string {
		parts := strings.SplitN(reason, ": ", 3)
		return strings.Join(parts[:min(2, len(parts))], ": ")
	})
}

func (p *pages) overview(c *call) error {
	ctx, cancel := patient(c)
	defer cancel()
	jobs, err1 := c.service.Jobs(ctx)
	runs, err2 := c.service.Runs(ctx, backup.RunFilter{Limit: maxRuns})
	repositories, err3 := c.service.Repositories(ctx)
	notifiers, err4 := c.service.Notifiers(ctx)
	if err := errors.Join(err1, err2, err3, err4); err != nil {
		return err
	}
	now := p.now()
	view := overview{
		Runs:         runViews(runs[:min(recent, len(runs))], now),
		Repositories: repositoryViews(repositories, c.caller, now),
		Notifiers:    slices.DeleteFunc(notifiers, func(n backup.NotifierStatus) bool { return n.FailingSince.IsZero() && n.Lost == 0 }),
		Health:       c.service.Health(ctx),
	}
	for _, j := range jobs {
		v := newJobView(j, now)
		p.list(ctx, c.service, v, runs, backup.SnapshotQuery{Safety: backup.SafetyNot, Limit: newest})
		view.add(v)
	}
	return p.page(c, "overview.html", "Backups", view.Busy, view)
}

func (v *overview) add(j *jobView) {
	v.Jobs = append(v.Jobs, j)
	if j.Enabled {
		v.Enabled++
		switch j.Standing {
		case backup.StandingOK:
			v.Good++
		case backup.StandingNever:
			v.Never = append(v.Never, j.Name)
		}
	}
	v.Busy = v.Busy || j.Live != nil
}

// list fills in a page of the job's snapshots, and the newest of those that were left out. An error is shown in their place: the
// rest of the page is still true.
func (p *pages) list(ctx context.Context, s *backup.Service, v *jobView, runs []backup.Run, q backup.SnapshotQuery) {
	q.Repository, q.Job = v.Repository, v.Name
	list, err := s.Snapshots(ctx, q)
	v.Problem = problem(err)
	v.Total, v.Damaged = list.Total, list.Damaged
	v.Snapshots = p.snapshotViews(ctx, s, list.Snapshots, runs)
	for i := range v.Snapshots {
		if run := v.Drill.Failed; run != nil && run.Snapshot == v.Snapshots[i].ID {
			v.Snapshots[i].DrillFailed = runAddress(run.ID)
		}
	}
	if v.Safety = list.Safety; v.Safety == 0 {
		return
	}
	q.Safety, q.Offset, q.Limit = backup.SafetyOnly, 0, newest
	if list, err = s.Snapshots(ctx, q); err == nil {
		v.Safeties = p.snapshotViews(ctx, s, list.Snapshots, runs)
	}
}

type jobPage struct {
	*jobView
	Runs  []*runView
	Kept  retentionView
	Pager pager

	Only   bool   // the safety snapshots are listed, and nothing else
	Upload string // where a dump file can be restored; empty: not from here
}

func (p *pages) job(c *call) error {
	ctx, cancel := patient(c)
	defer cancel()
	page, err := c.number("page", 1, 1)
	if err != nil {
		return err
	}
	job, err := c.service.Job(ctx, c.r.PathValue("job"))
	if err != nil {
		return err
	}
	runs, err := c.service.Runs(ctx, backup.RunFilter{Job: job.Name, Limit: maxRuns})
	if err != nil {
		return err
	}
	now := p.now()
	v := newJobView(job, now)
	q := backup.SnapshotQuery{Safety: backup.SafetyNot, Offset: (page - 1) * perPage, Limit: perPage}
	only := backup.Safeties(c.query("safety")) == backup.SafetyOnly
	if only {
		q.Safety = backup.SafetyOnly
	}
	p.list(ctx, c.service, v, runs, q)
	kept := retentionView{RetentionReport: backup.RetentionReport{}}
	if job.Retention != nil {
		kept = p.retention(ctx, c.service, job.Name)
		kept.fates(v.Snapshots)
		kept.fates(v.Safeties)
	}
	view := jobPage{v, runViews(runs[:min(perPage, len(runs))], now), kept, newPager(page, perPage, v.Total, c.r.URL.Query()), only, ""}
	if p.api.UploadLimit > 0 {
		view.Upload = join("jobs", job.Name, "upload")
	}
	return p.page(c, "job.html", job.Name, v.Live != nil, view)
}

// maxRuns is how far back pages look in the history for the runs that made snapshots.
const maxRuns = 1000

// backup starts one, and shows the run; when one is going on already, that one.
func (p *pages) backup(c *call) error {
	run, err := c.service.Backup(c.r.Context(), c.by(), c.r.PathValue("job"))
	if err != nil && (run.ID == "" || !errors.Is(err, backup.ErrConflict)) {
		return err
	}
	return redirect(c, runAddress(run.ID))
}

type runPage struct {
	*runView
	Live            *runView
	Replaces        *overView // of a restore over the live one
	JobAddress      string
	SnapshotAddress string
	Speed           int64 // bytes a second, on average; 0 when there is none to tell
}

func (p *pages) run(c *call) error {
	run, err := c.service.Run(c.r.Context(), c.id())
	if err != nil {
		return err
	}
	return p.showRun(c, http.StatusOK, run, "")
}

// showRun shows the page of a run, with what is wrong with what a form of it asked for.
func (p *pages) showRun(c *call, status int, run backup.Run, problem string) error {
	v := newRunView(&run, p.now())
	view := runPage{Replaces: newOverView(run, problem), runView: v, Live: v, Speed: speed(run, p.now())}
	if run.Job != "" {
		view.JobAddress = jobAddress(run.Job)
	}
	if run.Snapshot != "" {
		view.SnapshotAddress = snapshotAddress(run.Repository, run.Snapshot)
	}
	if view.Replaces != nil {
		view.Replaces.MayUpload = p.api.UploadLimit > 0
		view.Replaces.complete(c.service.Job(c.r.Context(), run.Job))
		p.date(c, view.Replaces)
	}
	return p.render(c, status, "run.html", Frame{Title: title(run), Refresh: !run.State.Done(), Content: view})
}

// title names a run: "Backup of shop", "Check of default".
func title(r backup.Run) string {
	if r.DryRun && r.Over != nil {
		return "Before a restore of " + r.Job
	}
	word := strings.ToUpper(string(r.Kind[:1])) + string(r.Kind[1:])
	if r.Job != "" {
		return word + " of " + r.Job
	}
	return word + " of " + r.Repository
}

func speed(r backup.Run, now time.Time) int64 {
	end := r.Ended
	if end.IsZero() {
		end = now
	}
	if d := end.Sub(r.Started); !r.Started.IsZero() && d >= time.Second {
		return int64(float64(r.Progress.Bytes) / d.Seconds())
	}
	return 0
}

func (p *pages) cancel(c *call) error {
	err := c.service.Cancel(c.r.Context(), c.by(), c.id())
	if err != nil && !errors.Is(err, backup.ErrConflict) { // it ended while the page was looked at: its page says so
		return err
	}
	return redirect(c, runAddress(c.id()))
}
