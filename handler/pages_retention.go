package handler

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/caddy-backup/caddy-backup/backup"
)

// retentionView is what the retention of a job would do now, for people.
type retentionView struct {
	backup.RetentionReport
	Address   string // of the page with every snapshot
	Forget    string // where the form goes that has it done
	Problem   string // why nothing can be said
	Snapshots []retainedView
	Pager     pager
}

// retainedView is a snapshot with its fate.
type retainedView struct {
	tagged
	Address string
	Kept    bool
	Why     string
}

// retention asks what the retention of a job would do. An error is shown in its place.
func (p *pages) retention(ctx context.Context, s *backup.Service, job string) retentionView {
	report, err := s.Retention(ctx, job)
	view := retentionView{
		RetentionReport: report, Address: join("jobs", job, "retention"), Forget: join("jobs", job, "forget"), Problem: problem(err),
	}
	view.Snapshots = each(report.Snapshots, func(r backup.RetainedSnapshot) retainedView {
		return retainedView{tagged{r.Snapshot}, snapshotAddress(r.Repository, r.ID), r.Kept, strings.Join(r.Reasons, ", ")}
	})
	return view
}

// Removable reports whether there is something for a person to apply.
func (v retentionView) Removable() bool {
	return v.Remove > 0 && (v.Refused == "" || v.NeedsConfirm)
}

// fates writes to snapshots what retention would do to them.
func (v retentionView) fates(list []snapshotView) {
	why := make(map[string]string, len(v.Snapshots))
	for _, s := range v.Snapshots {
		fate := "stays: "
		if !s.Kept {
			fate = "goes: "
		}
		why[s.ID] = fate + s.Why
	}
	for i := range list {
		list[i].Fate = why[list[i].ID]
	}
}

// retentionPage lists every snapshot of a job, and why it stays or goes.
func (p *pages) retentionPage(c *call) error {
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
	view := p.retention(ctx, c.service, job.Name)
	view.Pager = newPager(page, perFolder, len(view.Snapshots), c.r.URL.Query())
	from := min((page-1)*perFolder, len(view.Snapshots))
	view.Snapshots = view.Snapshots[from:min(from+perFolder, len(view.Snapshots))]
	return p.page(c, "retention.html", "Retention of "+job.Name, false, struct {
		retentionView
		JobAddress string
	}{view, jobAddress(job.Name)})
}

// forget applies the retention, once the box is ticked, and shows the run; when one is going on already, that one.
func (p *pages) forget(c *call) error {
	form, err := c.form()
	if err != nil {
		return err
	}
	if form.Get("sure") != "yes" {
		return fmt.Errorf("%w: nothing was removed: tick the box that says that the snapshots are to be removed", backup.ErrInvalid)
	}
	q := backup.ForgetRequest{Job: c.r.PathValue("job"), Confirm: form.Get("confirm") == "yes"}
	run, err := c.service.Forget(c.r.Context(), c.by(), q)
	if err != nil && (run.ID == "" || !errors.Is(err, backup.ErrConflict)) {
		return err
	}
	return redirect(c, runAddress(run.ID))
}
