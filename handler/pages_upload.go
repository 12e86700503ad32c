package handler

import (
	"errors"
	"fmt"
	"net/http"

	"github.com/caddy-backup/caddy-backup/backup"
)

// A dump file is restored in two steps too: first it is looked what it would replace, and as whom. The page of that dry run
// has the forms with the file.

// uploadPage is the form that says as which part of a job a dump file is to be restored.
type uploadPage struct {
	Job, JobAddress, Action string
	Parts                   []backup.FilePart
	Part                    string
	Limit                   int64
	Problem                 string
}

func (p *pages) uploadForm(c *call) error {
	view, err := p.uploadPage(c)
	if err != nil {
		return err
	}
	return p.page(c, "upload.html", "Restore from a dump file", false, view)
}

func (p *pages) uploadPage(c *call) (uploadPage, error) {
	name := c.r.PathValue("job")
	if _, err := c.service.Job(c.r.Context(), name); err != nil {
		return uploadPage{}, err
	}
	if err := p.api.mayUpload(c); err != nil {
		return uploadPage{}, err
	}
	ctx, cancel := patient(c)
	defer cancel()
	parts, err := c.service.FileParts(ctx, name)
	view := uploadPage{Job: name, JobAddress: jobAddress(name), Action: join("jobs", name, "upload"), Limit: p.api.UploadLimit, Problem: problem(err)}
	for _, part := range parts {
		if part.Over {
			view.Parts = append(view.Parts, part)
		}
	}
	if len(view.Parts) > 0 {
		view.Part = view.Parts[0].Name
	}
	return view, nil
}

// uploadLook looks what a dump file would replace. An error is shown above the form.
func (p *pages) uploadLook(c *call) error {
	form, err := c.form()
	if err != nil {
		return err
	}
	view, err := p.uploadPage(c)
	if err != nil {
		return err
	}
	run, err := p.lookFor(c, view.Job, form.Get("part"), false)
	if err == nil || run.ID != "" && errors.Is(err, backup.ErrConflict) {
		return redirect(c, runAddress(run.ID))
	}
	e := errorOf(err)
	if e.Status >= http.StatusInternalServerError {
		return err
	}
	view.Problem, view.Part = e.Message, form.Get("part")
	return p.render(c, e.Status, "upload.html", Frame{Title: "Restore from a dump file", Content: view})
}

// lookFor looks what a dump file would replace, before there is one.
func (p *pages) lookFor(c *call, job, part string, force bool) (backup.Run, error) {
	return c.service.RestoreFile(c.r.Context(), c.by(), backup.FileRestore{Job: job, Part: part, Overwrite: true, DryRun: true, Force: force})
}

// upload restores the file that is sent, as the dry run has looked at it. The small fields come before the file, so that
// nothing of it is read before it is confirmed.
func (p *pages) upload(c *call) error {
	look, err := c.service.Run(c.r.Context(), c.id())
	if err != nil {
		return err
	}
	if err := p.api.mayUpload(c); err != nil {
		return err
	}
	if !look.DryRun || len(look.Over) == 0 || look.Snapshot != "" || look.State != backup.StateOK {
		return fmt.Errorf("%w: run %s has not looked whether a dump file can be restored", backup.ErrInvalid, look.ID)
	}
	fields, file, err := p.api.openUpload(c)
	if err != nil {
		return err
	}
	q := backup.FileRestore{Job: look.Job, Part: look.Path, Overwrite: fields.Get("way") == wayOver}
	if q.Overwrite {
		q.Confirm, q.Force, q.NoSafety = fields.Get("confirm"), look.Force, fields.Get("no_safety") == "yes"
	}
	return p.shown(c, look, func() (backup.Run, error) { return p.api.receive(c, q, file) })
}
