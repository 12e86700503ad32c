package handler

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/caddy-backup/caddy-backup/backup"
)

// perPage is how many snapshots a page has unless the query says otherwise.
const perPage = 20

func (a *API) jobs(c *call) error {
	jobs, err := c.service.Jobs(c.r.Context())
	return c.answer(jobList{len(jobs), each(jobs, presentJob)}, err)
}

func (a *API) job(c *call) error {
	job, err := c.service.Job(c.r.Context(), c.r.PathValue("job"))
	return c.answer(presentJob(job), err)
}

func (a *API) backup(c *call) error {
	run, err := c.service.Backup(c.r.Context(), c.by(), c.r.PathValue("job"))
	return c.answerAs(http.StatusAccepted, presentRun(run), withRun(err, run))
}

// withRun adds the run that is in the way to a conflict, so that the caller can follow that one instead.
func withRun(err error, run backup.Run) error {
	if run.ID == "" || !errors.Is(err, backup.ErrConflict) {
		return err
	}
	e := *errorOf(err)
	e.Run = pointed(&run, presentRun)
	return &e
}

func (a *API) runs(c *call) error {
	limit, err := c.number("limit", 0, 1)
	if err != nil {
		return err
	}
	kind := backup.Kind(c.query("kind"))
	if kind != "" && !slices.Contains(backup.Kinds, kind) {
		return fmt.Errorf("%w kind: %q is none of %v", backup.ErrInvalid, kind, backup.Kinds)
	}
	runs, err := c.service.Runs(c.r.Context(), backup.RunFilter{Job: c.query("job"), Kind: kind, Limit: limit})
	return c.answer(runList{len(runs), each(runs, presentRun)}, err)
}

func (a *API) run(c *call) error {
	run, err := c.service.Run(c.r.Context(), c.id())
	return c.answer(presentRun(run), err)
}

func (a *API) cancel(c *call) error {
	if err := c.service.Cancel(c.r.Context(), c.by(), c.id()); err != nil {
		return err
	}
	run, err := c.service.Run(c.r.Context(), c.id())
	return c.answerAs(http.StatusAccepted, presentRun(run), err)
}

// snapshots answers a page; per_page=0 is everything on one page, and offset counts snapshots instead of pages.
func (a *API) snapshots(c *call) error {
	page, err1 := c.number("page", 1, 1)
	per, err2 := c.number("per_page", perPage, 0)
	offset, err3 := c.number("offset", (page-1)*per, 0)
	if err := errors.Join(err1, err2, err3); err != nil {
		return err
	}
	q := backup.SnapshotQuery{Repository: c.repository(), Job: c.query("job"), Safety: backup.Safeties(c.query("safety")), Offset: offset, Limit: per}
	list, err := c.service.Snapshots(c.r.Context(), q)
	return c.answer(snapshotPage{list.Total, offset/max(per, 1) + 1, per, each(list.Snapshots, presentSnapshot), list.Safety, list.Damaged}, err)
}

func (a *API) snapshot(c *call) error {
	s, err := c.snapshot(c.r.Context(), c.repository(), c.query("job"))
	return c.answer(presentSnapshot(s), err)
}

func (a *API) list(c *call) error {
	id, err := c.snapshotID(c.repository(), c.query("job"))
	if err != nil {
		return err
	}
	entries, err := c.service.List(c.r.Context(), c.repository(), id, c.path())
	return c.answer(contentList{len(entries), each(entries, presentContent)}, err)
}

func (a *API) download(c *call) error { return c.download(a.log(), a.making) }

// restore takes a backup.RestoreRequest; the snapshot in the address is the one that counts, and what the body leaves
// out the query may say.
func (a *API) restore(c *call) error {
	var q restoreBody
	if err := c.decode(&q); err != nil {
		return err
	}
	q.Repository, q.Job = cmp.Or(q.Repository, c.repository()), cmp.Or(q.Job, c.query("job"))
	if err := a.place(c, &q); err != nil {
		return err
	}
	id, err := c.snapshotID(q.Repository, q.Job)
	if err != nil {
		return err
	}
	q.Snapshot = id
	run, err := c.service.Restore(c.r.Context(), c.by(), q.RestoreRequest)
	return c.answerAs(http.StatusAccepted, presentRun(run), withRun(err, run))
}

// restoreBody is a backup.RestoreRequest that may leave the choice of the place to us.
type restoreBody struct {
	backup.RestoreRequest
	Beside bool `json:"beside"` // into a new database whose name is chosen here; the run tells it
}

// place makes sure that a restore goes where it may.
func (a *API) place(c *call, q *restoreBody) error {
	if !q.Beside {
		return a.confine(&q.RestoreRequest)
	}
	if q.Place != "" || q.Target != "" || q.Overwrite {
		return fmt.Errorf("%w: beside names the place by itself: leave out place, target and overwrite", backup.ErrInvalid)
	}
	s, err := c.snapshot(c.r.Context(), q.Repository, q.Job)
	if err != nil {
		return err
	}
	q.Place, err = besideOf(s, q.Path, time.Now())
	return err
}

// confine holds a restore to RestoreRoot. The target is a folder directly in it, and not deeper: what stands directly in
// the root is only ever made by a restore's own mkdir, never by the content of a snapshot, so no link that an earlier
// restore brought along can lead the next one out of the root. One that somebody else put there is refused.
func (a *API) confine(q *backup.RestoreRequest) error {
	if a.Unlimited {
		return nil
	}
	if q.Overwrite && q.Place == "" && q.Target == "" { // what the source dumps, whatever that is: no place is named
		return nil
	}
	if q.Place != "" {
		return fmt.Errorf("%w: restoring through a source is for the command line only; give a target folder", ErrForbidden)
	}
	if a.RestoreRoot == "" {
		return fmt.Errorf("%w: no restores here; add restore_root <folder> to the backup directive, or use the command line",
			ErrForbidden)
	}
	name := q.Target
	if filepath.IsAbs(name) {
		rel, err := filepath.Rel(a.RestoreRoot, name)
		if err != nil {
			return fmt.Errorf("%w target: %w", backup.ErrInvalid, err)
		}
		name = rel
	}
	if name == "" || name[0] == '.' || strings.ContainsAny(name, `/\`) || strings.ContainsFunc(name, unicode.IsControl) {
		return fmt.Errorf("%w: target %q is not the name of a folder directly in %s, beginning with no dot", ErrForbidden,
			q.Target, a.RestoreRoot)
	}
	q.Target = filepath.Join(a.RestoreRoot, name)
	if fi, err := os.Lstat(q.Target); err == nil && fi.Mode().Type() == fs.ModeSymlink {
		return fmt.Errorf("%w: target %s is a symbolic link, which may lead out of %s: choose another name", ErrForbidden,
			q.Target, a.RestoreRoot)
	}
	return nil
}

func (a *API) repositories(c *call) error {
	list, err := c.service.Repositories(c.r.Context())
	return c.answer(repositoryList{len(list), each(list, presentRepository(c.caller))}, err)
}

// repositoryName reads {name}. "default" is what the Service takes for it: the one of that name, or the only one.
func (c *call) repositoryName() string {
	if name := c.r.PathValue("name"); name != defaultRepository {
		return name
	}
	return ""
}

const defaultRepository = "default"

func (a *API) initRepository(c *call) error {
	status, err := c.service.InitRepository(c.r.Context(), c.by(), c.repositoryName())
	return c.answerAs(http.StatusCreated, presentRepository(c.caller)(status), err)
}

func (a *API) check(c *call) error {
	var q struct {
		ReadData    bool   `json:"read_data"`
		Subset      string `json:"read_data_subset"`
		AcceptFewer bool   `json:"accept_fewer"`
	}
	if err := c.decode(&q); err != nil {
		return err
	}
	run, err := c.service.Check(c.r.Context(), c.by(),
		backup.CheckRequest{Repository: c.repositoryName(), ReadData: q.ReadData, Subset: q.Subset, AcceptFewer: q.AcceptFewer})
	return c.answerAs(http.StatusAccepted, presentRun(run), err)
}

// health answers 503 when something is wrong, for monitors that look at the status only.
func (a *API) health(c *call) error {
	h := presentHealth(c.service.Health(c.r.Context()))
	status := http.StatusOK
	if !h.OK {
		status = http.StatusServiceUnavailable
	}
	return c.answerAs(status, h, nil)
}

// by is who a run is for when nobody has a name.
func (c *call) by() string { return cmp.Or(c.caller.Name, "web") }
