package handler

import (
	"path"
	"strings"

	"github.com/caddy-backup/caddy-backup/archive"
	"github.com/caddy-backup/caddy-backup/backup"
)

// crumb is one step of the way to a folder.
type crumb struct {
	Name, Address string
}

type snapshotDetails struct {
	tagged
	JobAddress string
	RunAddress string
	Mailable   bool          // there is a notifier that can mail it
	Browse     string        // address of its root folder
	Formats    []formatLink  // of everything in it
	Parts      []partView    // what a job of ours dumped
	Beside     []contentView // what lies beside the parts: the manifest, the checksums
	Entries    []contentView // of the root, when no job of ours made the snapshot
}

// PinAddress is where the form leads that pins it, or changes the note, UnpinAddress where that which undoes it.
func (s snapshotDetails) PinAddress() string   { return s.do("keep") }
func (s snapshotDetails) UnpinAddress() string { return s.do("unkeep") }

// Doubts are why the snapshot is suspect.
func (s snapshotDetails) Doubts() []string {
	if s.Manifest == nil {
		return nil
	}
	return s.Manifest.Doubts
}

// RestoreAddress is where the form is that restores it, LinkAddress where that leads which makes a link to something in it.
func (s snapshotDetails) RestoreAddress() string { return s.do("restore") }
func (s snapshotDetails) LinkAddress() string    { return s.do("link") }

// AcceptAddress is where the button leads that says that a suspect one is good.
func (s snapshotDetails) AcceptAddress() string { return s.do("accept") }

func (s snapshotDetails) do(what string) string {
	return join("snapshots", s.ID, what) + inRepository(s.Repository)
}

// MailAddress is where the button leads that mails it; empty when no notifier could.
func (s snapshotDetails) MailAddress() string {
	if !s.Mailable {
		return ""
	}
	return join("snapshots", s.ID, "mail") + inRepository(s.Repository)
}

// partView is a part with what the manifest says of it.
type partView struct {
	contentView
	Manifest *backup.ManifestPart
}

func (p *pages) snapshot(c *call) error {
	ctx, cancel := patient(c)
	defer cancel()
	s, err := c.snapshot(ctx, c.repository(), c.query("job"))
	if err != nil {
		return err
	}
	view := snapshotDetails{tagged: tagged{s}, Browse: folderAddress(s.Repository, s.ID, "/"),
		Formats: formatLinks(s.Repository, s.ID, backup.Content{Type: "dir", Path: "/"}, "")}
	parts, beside := partsOf(s)
	if s.Job == "" {
		view.Entries = contentViews(s.Repository, s.ID, s.Parts)
	} else {
		view.JobAddress, view.Mailable = jobAddress(s.Job), c.service.CanMail(s.Job)
		view.Parts, view.Beside = partViews(s, parts, formatOf(c.service, s.Job)), contentViews(s.Repository, s.ID, beside)
	}
	if _, err := c.service.Run(ctx, s.Run); s.Run != "" && err == nil {
		view.RunAddress = runAddress(s.Run)
	}
	return p.page(c, "snapshot.html", "Snapshot "+short(s.ID), false, view)
}

func partViews(s backup.Snapshot, parts []backup.Content, own archive.Format) []partView {
	facts := make(map[string]*backup.ManifestPart)
	if s.Manifest != nil {
		for i := range s.Manifest.Parts {
			facts[s.Manifest.Parts[i].Name] = &s.Manifest.Parts[i]
		}
	}
	return each(partViewsOf(s, parts, own), func(v contentView) partView {
		return partView{v, facts[v.Name]}
	})
}

// perFolder is how many entries of a folder a page shows.
const perFolder = 200

type folderPage struct {
	Snapshot backup.Snapshot
	Address  string // of the snapshot
	Path     string
	Here     string // address of this folder
	Restore  string // address of the form that restores it
	Link     string // where the form goes that makes a link
	Formats  []formatLink
	Crumbs   []crumb
	Entries  []contentView
	Pager    pager
}

func (p *pages) folder(c *call) error {
	ctx, cancel := patient(c)
	defer cancel()
	page, err := c.number("page", 1, 1)
	if err != nil {
		return err
	}
	s, err := c.snapshot(ctx, c.repository(), c.query("job"))
	if err != nil {
		return err
	}
	folder := path.Clean(c.path())
	entries, err := c.service.List(ctx, s.Repository, s.ID, folder)
	if err != nil {
		return err
	}
	from := min((page-1)*perFolder, len(entries))
	shown := entries[from:min(from+perFolder, len(entries))]
	return p.page(c, "folder.html", path.Base(folder), false, folderPage{
		Snapshot: s, Address: snapshotAddress(s.Repository, s.ID), Path: folder,
		Here: folderAddress(s.Repository, s.ID, folder), Crumbs: crumbs(s, folder),
		Restore: restoreAddress(s.Repository, s.ID, folder), Link: join("snapshots", s.ID, "link") + inRepository(s.Repository),
		Formats: formatLinks(s.Repository, s.ID, backup.Content{Type: "dir", Path: folder}, ""),
		Entries: contentViews(s.Repository, s.ID, shown), Pager: newPager(page, perFolder, len(entries), c.r.URL.Query()),
	})
}

// crumbs lead from the snapshot's root to the folder that holds this one.
func crumbs(s backup.Snapshot, folder string) []crumb {
	var list []crumb
	at := ""
	for _, name := range strings.FieldsFunc(folder, func(r rune) bool { return r == '/' }) {
		at += "/" + name
		list = append(list, crumb{name, folderAddress(s.Repository, s.ID, at)})
	}
	return list
}

func (p *pages) download(c *call) error { return c.download(p.log, p.making) }
