package handler

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"

	"github.com/caddy-backup/caddy-backup/backup"
)

// A restore over the live one takes two steps on pages. The first is a dry run, whose page tells what would be replaced, by
// what, and what was found; it has the form in which the name is typed. The second does what the first has looked at: what
// is replaced and by what comes from the run, and from no field of the form.

// overView is what the page of a restore over the live one shows of it.
type overView struct {
	backup.Run
	Pattern       string   // what the browser lets pass as the name
	Warnings      []string // of the run's log
	SafetyAddress string   // of the safety snapshot
	From          tagged   // the snapshot that a look is about; empty when it cannot be had
	MayUpload     bool     // the site takes dump files
	Problem       string   // why the form did not do what it was asked for
}

func newOverView(run backup.Run, problem string) *overView {
	if run.Kind != backup.KindRestore || len(run.Over) == 0 {
		return nil
	}
	v := &overView{Run: run, Pattern: regexp.QuoteMeta(run.Confirm), Problem: problem}
	for _, line := range run.Log {
		if line.Level == "WARN" {
			v.Warnings = append(v.Warnings, line.Text)
		}
	}
	return v
}

// Upload reports whether the look was for a dump file, which is still to come.
func (v *overView) Upload() bool { return v.DryRun && v.Snapshot == "" }

// complete adds where the safety snapshot is: in the repository of the job.
func (v *overView) complete(job backup.JobStatus, err error) {
	if v.Safety != "" && err == nil {
		v.SafetyAddress = snapshotAddress(job.Repository, v.Safety)
	}
}

// date adds the snapshot that is asked about, whose time people decide by. A storage that does not answer keeps nobody from
// going on: the restore itself will look.
func (p *pages) date(c *call, v *overView) {
	if !v.Possible() || v.Upload() {
		return
	}
	ctx, cancel := patient(c)
	defer cancel()
	if s, err := c.service.Snapshot(ctx, v.Repository, v.Snapshot, ""); err == nil {
		v.From = tagged{s}
	}
}

// OnlyAbsent reports whether nothing is replaced, as none of the live ones is there.
func (v *overView) OnlyAbsent() bool { return len(v.Absent) == len(v.Over) }

// Look reports whether it was only looked; nothing is replaced.
func (v *overView) Look() bool { return v.DryRun }

// Possible reports whether the look found nothing in the way.
func (v *overView) Possible() bool { return v.DryRun && v.State == backup.StateOK }

// Impossible reports whether the look ended, and found something in the way.
func (v *overView) Impossible() bool {
	return v.DryRun && v.State.Done() && v.State != backup.StateOK
}

// Standing is how the live ones are after a restore that did not end well: untouched, same, partly (of several, the error
// says which), incomplete, unknown. Empty: it ended well, or goes on.
func (v *overView) Standing() string {
	switch {
	case v.DryRun || !v.State.Done() || v.State == backup.StateOK:
		return ""
	case !v.Touched:
		return "untouched"
	case v.Code == backup.CodeIncomplete:
		return "incomplete"
	case v.State == backup.StateInterrupted:
		return "unknown"
	case len(v.Over) > 1:
		return "partly"
	}
	return "same"
}

// The addresses of the forms.

func (v *overView) RestoreAddress() string { return join("runs", v.ID, "restore") }
func (v *overView) LookAddress() string    { return join("runs", v.ID, "look") }
func (v *overView) UploadAddress() string  { return join("runs", v.ID, "upload") }

// UndoAddress is where the button leads that restores the safety snapshot; empty where nothing can be undone.
func (v *overView) UndoAddress() string {
	if v.DryRun || !v.State.Done() || v.Undo == "" || v.SafetyAddress == "" {
		return ""
	}
	return join("runs", v.ID, "undo")
}

// restoreOver replaces what a dry run has looked at, once its name is typed.
func (p *pages) restoreOver(c *call) error {
	run, form, err := p.looked(c)
	if err != nil {
		return err
	}
	if run.Snapshot == "" {
		return fmt.Errorf("%w: run %s has looked for a dump file: upload it", backup.ErrInvalid, run.ID)
	}
	if run.State != backup.StateOK {
		return fmt.Errorf("%w: this look did not end well: look again first", backup.ErrConflict)
	}
	q := requestOf(run)
	q.DryRun, q.Confirm, q.NoSafety, q.Over = false, form.Get("confirm"), form.Get("no_safety") == "yes", run.Over
	return p.begin(c, run, q)
}

// lookAgain repeats a dry run, maybe although others use what would be replaced.
func (p *pages) lookAgain(c *call) error {
	run, form, err := p.looked(c)
	if err != nil {
		return err
	}
	force := form.Get("force") == "yes"
	if run.Snapshot == "" {
		return p.shown(c, run, func() (backup.Run, error) { return p.lookFor(c, run.Job, run.Path, force) })
	}
	q := requestOf(run)
	q.Force = force
	return p.begin(c, run, q)
}

// undo looks what the restore of a safety snapshot would replace: the first step of two again.
func (p *pages) undo(c *call) error {
	run, err := c.service.Run(c.r.Context(), c.id())
	if err != nil {
		return err
	}
	if run.Undo == "" {
		return fmt.Errorf("%w: run %s has replaced nothing that could come back", backup.ErrInvalid, run.ID)
	}
	job, err := c.service.Job(c.r.Context(), run.Job)
	if err != nil {
		return err
	}
	q := backup.RestoreRequest{Repository: job.Repository, Snapshot: run.Safety, Job: run.Job, Path: run.Path, Overwrite: true, DryRun: true}
	return p.begin(c, run, q)
}

// looked finds the dry run that a form belongs to.
func (p *pages) looked(c *call) (backup.Run, url.Values, error) {
	form, err := c.form()
	if err != nil {
		return backup.Run{}, nil, err
	}
	run, err := c.service.Run(c.r.Context(), c.id())
	if err != nil {
		return backup.Run{}, nil, err
	}
	if !run.DryRun || len(run.Over) == 0 {
		return backup.Run{}, nil, fmt.Errorf("%w: run %s is no look before a restore", backup.ErrInvalid, run.ID)
	}
	return run, form, nil
}

// requestOf is what a dry run was asked for.
func requestOf(run backup.Run) backup.RestoreRequest {
	return backup.RestoreRequest{Repository: run.Repository, Snapshot: run.Snapshot, Job: run.Job, Path: run.Path,
		Overwrite: true, DryRun: true, Force: run.Force}
}

// begin starts a restore and shows its run; an error that a person can do something about is shown on the page of the run
// whose form asked for it.
func (p *pages) begin(c *call, asked backup.Run, q backup.RestoreRequest) error {
	return p.shown(c, asked, func() (backup.Run, error) { return c.service.Restore(c.r.Context(), c.by(), q) })
}

func (p *pages) shown(c *call, asked backup.Run, start func() (backup.Run, error)) error {
	run, err := start()
	if err == nil || run.ID != "" && errors.Is(err, backup.ErrConflict) {
		return redirect(c, runAddress(run.ID))
	}
	if e := errorOf(err); e.Status < http.StatusInternalServerError {
		return p.showRun(c, e.Status, asked, e.Message)
	}
	return err
}
