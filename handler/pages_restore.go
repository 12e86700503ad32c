package handler

import (
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/caddy-backup/caddy-backup/backup"
)

// The ways in which the form of a snapshot restores.
const (
	wayFolder = "folder" // as files, into a new folder below restore_root
	wayBeside = "beside" // through the source, into a new database whose name is chosen here
	wayOver   = "over"   // over the live one; the form leads to a look at what that would replace
)

// restorePage is the form of a snapshot that says what is to be restored, and where to.
type restorePage struct {
	tagged
	JobAddress, SnapshotAddress string
	Action                      string // where the form goes
	Choices                     []restoreChoice
	Path                        string // that is chosen
	Way                         string
	Root                        string // restore_root; empty where there is none
	Folder                      string // name of the new folder
	Beside                      bool   // a part can be restored beside the live one
	Problem                     string // why nothing was started
}

// restoreChoice is something that can be restored.
type restoreChoice struct {
	Path, Name, Kind string
	Folder           bool
	Size             int64
}

// restoreForm shows the form.
func (p *pages) restoreForm(c *call) error {
	view, err := p.restorePage(c, c.query("path"))
	if err != nil {
		return err
	}
	return p.page(c, "restore.html", "Restore", false, view)
}

// restorePage is the form for a snapshot, with a path chosen that may lie deep in it; "" is everything.
func (p *pages) restorePage(c *call, chosen string) (restorePage, error) {
	ctx, cancel := patient(c)
	defer cancel()
	s, err := c.snapshot(ctx, c.repository(), c.query("job"))
	if err != nil {
		return restorePage{}, err
	}
	view := restorePage{
		tagged: tagged{s}, SnapshotAddress: snapshotAddress(s.Repository, s.ID), Root: p.api.RestoreRoot,
		Action: join("snapshots", s.ID, "restore") + inRepository(s.Repository),
		Path:   path.Clean("/" + chosen), Way: wayOver,
		Folder: cmp.Or(s.Job, "snapshot") + s.Time.UTC().Format("-2006-01-02-150405-") + short(s.ID),
	}
	if view.Root != "" || s.Job == "" {
		view.Way = wayFolder
	}
	if s.Job != "" {
		view.JobAddress = jobAddress(s.Job)
	}
	view.choose(chosen)
	return view, nil
}

// choose lists what can be restored: everything, each part, and what was chosen elsewhere.
func (v *restorePage) choose(chosen string) {
	parts, _ := partsOf(v.Snapshot)
	v.Choices = []restoreChoice{{Path: "/", Name: "Everything", Folder: true, Size: v.Size}}
	if len(parts) == 1 && v.Manifest != nil { // there is nothing else in it
		v.Choices = nil
		if chosen == "" {
			v.Path = parts[0].Path
		}
	}
	for _, c := range parts {
		choice := restoreChoice{Path: c.Path, Name: c.Name, Folder: c.Type == "dir", Size: c.Size}
		if m := manifestPart(v.Snapshot, c.Name); m != nil {
			choice.Kind, choice.Size = m.Kind, m.Size
			v.Beside = v.Beside || database(m)
		}
		v.Choices = append(v.Choices, choice)
	}
	if !slices.ContainsFunc(v.Choices, func(c restoreChoice) bool { return c.Path == v.Path }) {
		v.Choices = append(v.Choices, restoreChoice{Path: v.Path, Name: v.Path, Size: -1})
	}
}

// manifestPart is what the manifest says of a part; nil when it says nothing.
func manifestPart(s backup.Snapshot, name string) *backup.ManifestPart {
	if s.Manifest == nil {
		return nil
	}
	for i := range s.Manifest.Parts {
		if s.Manifest.Parts[i].Name == name {
			return &s.Manifest.Parts[i]
		}
	}
	return nil
}

// restore starts what the form asks for, and shows the run. An error is shown above the form, which keeps what was
// written into it.
func (p *pages) restore(c *call) error {
	form, err := c.form()
	if err != nil {
		return err
	}
	view, err := p.restorePage(c, form.Get("path"))
	if err != nil {
		return err
	}
	view.Way, view.Folder = cmp.Or(form.Get("way"), view.Way), cmp.Or(form.Get("folder"), view.Folder)
	run, err := p.startRestore(c, view, form.Get("way"))
	if err == nil || run.ID != "" && errors.Is(err, backup.ErrConflict) {
		return redirect(c, runAddress(run.ID))
	}
	e := errorOf(err)
	if e.Status >= http.StatusInternalServerError {
		return err
	}
	view.Problem = e.Message
	return p.render(c, e.Status, "restore.html", Frame{Title: "Restore", Content: view})
}

// startRestore starts the restore that a form asks for; over the live one only a look at what that would replace.
func (p *pages) startRestore(c *call, v restorePage, way string) (backup.Run, error) {
	q := backup.RestoreRequest{Repository: v.Repository, Snapshot: v.ID, Path: v.Path}
	switch way {
	case wayFolder:
		q.Target = v.Folder
	case wayOver:
		q.Overwrite, q.DryRun = true, true
	case wayBeside:
		place, err := besideOf(v.Snapshot, v.Path, p.now())
		if err != nil {
			return backup.Run{}, err
		}
		q.Place = place
		return c.service.Restore(c.r.Context(), c.by(), q)
	default:
		return backup.Run{}, fmt.Errorf("%w: say where it is to be restored to", backup.ErrInvalid)
	}
	if err := p.api.confine(&q); err != nil {
		return backup.Run{}, err
	}
	return c.service.Restore(c.r.Context(), c.by(), q)
}

// database reports whether a part is a dump of a database on a server, which can be restored beside the live one under
// another name.
func database(m *backup.ManifestPart) bool {
	return isDatabase(backup.FormOf(m.Kind, backup.Part{Name: m.Name, Folder: m.Folder}))
}

func isDatabase(f backup.Form) bool {
	return f == backup.FormArchive || f == backup.FormPostgres || f == backup.FormMySQL
}

// besideOf names the new database that a part is restored into: names of the browser's choosing would be places of its
// choosing.
func besideOf(s backup.Snapshot, chosen string, at time.Time) (string, error) {
	m := manifestPart(s, path.Base(chosen))
	if m == nil || !database(m) || chosen != m.Name && chosen != "/"+s.Job+"/"+m.Name {
		return "", fmt.Errorf("%w: %s is no dump of a database on a server, which alone can be restored under another name; "+
			"choose one, or another way", backup.ErrInvalid, chosen)
	}
	return newDatabase(s.Job, at), nil
}

// newDatabase is a name that no database has yet: at most 63 of a-z, 0-9 and _, as every server takes them.
func newDatabase(job string, at time.Time) string {
	plain := strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' {
			return r
		}
		return '_'
	}, strings.ToLower(job))
	return plain[:min(len(plain), 30)] + backup.RestoredInfix + at.UTC().Format("20060102_150405")
}
