package handler

import (
	"cmp"
	"context"
	"net/http"

	"github.com/caddy-backup/caddy-backup/backup"
)

func presentRetention(r backup.RetentionReport) backup.RetentionReport {
	r.Snapshots = each(r.Snapshots, func(s backup.RetainedSnapshot) backup.RetainedSnapshot {
		s.Snapshot = presentSnapshot(s.Snapshot)
		return s
	})
	return r
}

func (a *API) retention(c *call) error {
	report, err := c.service.Retention(c.r.Context(), c.r.PathValue("job"))
	return c.answer(presentRetention(report), err)
}

func (a *API) forget(c *call) error {
	var q backup.ForgetRequest
	if err := c.decode(&q); err != nil {
		return err
	}
	q.Job = c.r.PathValue("job")
	run, err := c.service.Forget(c.r.Context(), c.by(), q)
	return c.answerAs(http.StatusAccepted, presentRun(run), withRun(err, run))
}

func (a *API) deleteSnapshots(c *call) error {
	var q backup.DeleteRequest
	if err := c.decode(&q); err != nil {
		return err
	}
	q.Repository = cmp.Or(q.Repository, c.query("repository"))
	run, err := c.service.Delete(c.r.Context(), c.by(), q)
	return c.answerAs(http.StatusAccepted, presentRun(run), err)
}

// keep pins the snapshot of the address, or undoes that; the body may hold a note.
func (a *API) keep(pin bool) func(*call) error {
	return func(c *call) error {
		q := backup.KeepRequest{Keep: pin}
		if err := c.decode(&q); err != nil {
			return err
		}
		run, err := c.keep(q)
		return c.answerAs(http.StatusAccepted, presentRun(run), err)
	}
}

// keep is the form of a snapshot's page; the run that it leads to tells what came of it.
func (p *pages) keep(pin bool) func(*call) error {
	return func(c *call) error {
		form, err := c.form()
		if err != nil {
			return err
		}
		q := backup.KeepRequest{Keep: pin}
		if note, there := form["note"]; there {
			q.Note = &note[0]
		}
		run, err := c.keep(q)
		if err != nil {
			return err
		}
		return redirect(c, runAddress(run.ID))
	}
}

func (c *call) keep(q backup.KeepRequest) (backup.Run, error) {
	q.Repository, q.Snapshot = cmp.Or(q.Repository, c.query("repository")), c.id()
	return c.service.Keep(c.r.Context(), c.by(), q)
}

func (a *API) accept(c *call) error {
	run, err := c.accept()
	return c.answerAs(http.StatusAccepted, presentRun(run), err)
}

// accept is the button of a suspect snapshot's page.
func (p *pages) accept(c *call) error {
	run, err := c.accept()
	if err != nil {
		return err
	}
	return redirect(c, runAddress(run.ID))
}

func (c *call) accept() (backup.Run, error) {
	return c.service.Accept(c.r.Context(), c.by(), backup.AcceptRequest{Repository: c.query("repository"), Snapshot: c.id()})
}

func (a *API) prune(c *call) error {
	var q backup.PruneRequest
	if err := c.decode(&q); err != nil {
		return err
	}
	q.Repository = c.repositoryName()
	run, err := c.service.Prune(c.r.Context(), c.by(), q)
	return c.answerAs(http.StatusAccepted, presentRun(run), withRun(err, run))
}

// Retention says what Forget would do to the snapshots of a job now.
func (c *Client) Retention(ctx context.Context, job string) (out backup.RetentionReport, err error) {
	err = c.get(ctx, join("jobs", job, "retention"), nil, &out)
	return out, err
}

// Forget starts to remove what the retention of a job does not keep.
func (c *Client) Forget(ctx context.Context, q backup.ForgetRequest) (out backup.Run, err error) {
	err = c.post(ctx, join("jobs", q.Job, "forget"), q, &out)
	return out, err
}

// Delete starts to delete single snapshots.
func (c *Client) Delete(ctx context.Context, q backup.DeleteRequest) (out backup.Run, err error) {
	err = c.post(ctx, "snapshots/delete", q, &out)
	return out, err
}

// Keep starts to pin a snapshot, or to undo that.
func (c *Client) Keep(ctx context.Context, q backup.KeepRequest) (out backup.Run, err error) {
	do := "unkeep"
	if q.Keep {
		do = "keep"
	}
	err = c.post(ctx, join("snapshots", q.Snapshot, do), q, &out)
	return out, err
}

// Accept starts to make a suspect snapshot a good one.
func (c *Client) Accept(ctx context.Context, q backup.AcceptRequest) (out backup.Run, err error) {
	err = c.ask(ctx, http.MethodPost, join("snapshots", q.Snapshot, "accept"), query("repository", q.Repository), nil, &out)
	return out, err
}

// Prune starts to free the space in a repository that no snapshot needs.
func (c *Client) Prune(ctx context.Context, q backup.PruneRequest) (out backup.Run, err error) {
	err = c.post(ctx, ofRepository(q.Repository, "prune"), q, &out)
	return out, err
}
