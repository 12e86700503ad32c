package handler

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/caddy-backup/caddy-backup/archive"
	"github.com/caddy-backup/caddy-backup/backup"
	"github.com/caddy-backup/caddy-backup/repo"
)

// What templates show. Addresses are from the mount point.

// jobView is a job with its newest snapshots.
type jobView struct {
	backup.JobStatus
	State     string // of what goes on, a backup.State; else how it stands, a backup.Standing
	Address   string
	Live      *runView // the backup that is going on
	Last      *runView // the last one that ended
	Snapshots []snapshotView
	Total     int            // of these
	Safeties  []snapshotView // the newest of what restores replaced, folded away
	Safety    int            // how many of them there are
	Problem   string         // why snapshots cannot be listed
	Damaged   string         // which cannot be read
}

// Newest is the newest of the snapshots shown that a backup made; nil when there is none.
func (v jobView) Newest() *snapshotView {
	for i := range v.Snapshots {
		if !v.Snapshots[i].Safety() {
			return &v.Snapshots[i]
		}
	}
	return nil
}

// snapshotView is a row of a table of snapshots.
type snapshotView struct {
	tagged
	Address    string
	Unchanged  bool
	RunAddress string // of the run that made it; empty when it is forgotten
	Undo       string // of a safety snapshot: where the button leads that undoes the restore; empty when that run is forgotten
	Fate       string // what retention would do, and why; empty where nobody asked
	Parts      []contentView
	Problem    string // why the parts cannot be listed

	DrillFailed string // where the drill is in which it did not come back; empty: no such drill is known
}

// Word says what came of the snapshot: good and unchanged ones alone can be relied on, as far as is known.
func (v snapshotView) Word() string {
	switch {
	case v.Problem != "":
		return "unreadable"
	case v.Repaired():
		return "repaired"
	case v.Safety():
		return "safety"
	case v.Suspect():
		return "suspect"
	case v.DrillFailed != "":
		return "unproven"
	case v.Unchanged:
		return "unchanged"
	}
	return "good"
}

// tagged is a snapshot, and what its tags say to people.
type tagged struct {
	backup.Snapshot
}

// The tags of snapshots that were made in doubt, of what a restore replaced, and of those that nothing removes.
const (
	suspect = "suspect"
	safety  = "safety"
	pinned  = "keep"
)

// Safety reports whether the snapshot holds what a restore replaced, however that was.
func (v tagged) Safety() bool { return slices.Contains(v.Tags, safety) }

// Suspect reports whether a person should look before relying on the snapshot.
func (v tagged) Suspect() bool { return slices.Contains(v.Tags, suspect) || v.Repaired() }

// Repaired reports whether the snapshot lost something.
func (v tagged) Repaired() bool { return slices.Contains(v.Tags, repo.TagRepaired) }

// Pinned reports whether no retention removes the snapshot.
func (v tagged) Pinned() bool { return slices.Contains(v.Tags, pinned) }

// contentView is a file or folder in a snapshot.
type contentView struct {
	backup.Content
	Address string // of the folder's page, or of the download; empty for links and devices
	Folder  bool
	Form    string // of the download, where it is not the file as it is: "gz"
	Formats []formatLink
	Restore string // address of the form that restores it
}

// runView is a run and where its page is.
type runView struct {
	backup.Run
	Address string
	Now     time.Time
}

func newRunView(r *backup.Run, now time.Time) *runView {
	if r == nil {
		return nil
	}
	return &runView{Run: *r, Address: runAddress(r.ID), Now: now}
}

func runViews(runs []backup.Run, now time.Time) []*runView {
	views := make([]*runView, len(runs))
	for i := range runs {
		views[i] = newRunView(&runs[i], now)
	}
	return views
}

func newJobView(j backup.JobStatus, now time.Time) *jobView {
	v := &jobView{JobStatus: j, State: string(j.Standing), Address: jobAddress(j.Name),
		Live: newRunView(j.Running, now), Last: newRunView(j.LastRun, now)}
	if j.Running != nil {
		v.State = string(j.Running.State)
	}
	return v
}

// DrillOverdue reports whether the backups of the job should have been tried out before now, DrillOld whether they were
// never tried out, or not since then, although there is a schedule for that.
func (v *jobView) DrillOverdue() bool { return !v.Drill.OverdueSince.IsZero() }
func (v *jobView) DrillOld() bool {
	return v.DrillOverdue() || v.Drill.LastGood.IsZero() && !v.Drill.Schedule.IsZero()
}

// DrillAddress and DrillingAddress are where the last drill is, and the one that is going on.
func (v *jobView) DrillAddress() string    { return runAddress(v.Drill.LastRun.ID) }
func (v *jobView) DrillingAddress() string { return runAddress(v.Drill.Running.ID) }

// FailedDrillAddress is where the drill is that failed last.
func (v *jobView) FailedDrillAddress() string { return runAddress(v.Drill.Failed.ID) }

func newContentView(repository, snapshot string, c backup.Content) contentView {
	v := contentView{Content: c, Folder: c.Type == "dir", Formats: formatLinks(repository, snapshot, c, archive.Raw),
		Restore: restoreAddress(repository, snapshot, c.Path)}
	switch c.Type {
	case "dir":
		v.Address = folderAddress(repository, snapshot, c.Path)
	case "file":
		v.Address = fileAddress(repository, snapshot, c.Path)
	}
	return v
}

func contentViews(repository, snapshot string, list []backup.Content) []contentView {
	return each(list, func(c backup.Content) contentView { return newContentView(repository, snapshot, c) })
}

// partViewsOf is contentViews for parts, whose links lead to the form in which the job's files are downloaded.
func partViewsOf(s backup.Snapshot, parts []backup.Content, own archive.Format) []contentView {
	views := contentViews(s.Repository, s.ID, parts)
	for i, v := range views {
		if v.Type == "file" && own != archive.Raw {
			views[i].Address = inFormat(v.Address, own)
			views[i].Formats = formatLinks(s.Repository, s.ID, v.Content, own)
			views[i].Form = string(own)
		}
	}
	return views
}

// formatOf is the form in which the files of a job are downloaded from pages and links. The API gives what it is asked for.
func formatOf(s *backup.Service, job string) archive.Format {
	f, err := archive.Parse(s.DownloadFormat(job))
	if err != nil {
		return archive.Raw
	}
	return f
}

// partsOf tells what a job dumped from what lies beside it: the manifest and the checksums.
func partsOf(s backup.Snapshot) (parts, beside []backup.Content) {
	if s.Manifest == nil {
		return s.Parts, nil
	}
	for _, c := range s.Parts {
		if slices.ContainsFunc(s.Manifest.Parts, func(p backup.ManifestPart) bool { return p.Name == c.Name }) {
			parts = append(parts, c)
		} else {
			beside = append(beside, c)
		}
	}
	return parts, beside
}

// problem is an error as a page says it. A repository that does not exist yet is none: the first backup makes it.
func problem(err error) string {
	switch {
	case err == nil, errors.Is(err, repo.ErrNoRepository):
		return ""
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Sprintf("the storage did not answer within %s", storageTimeout)
	}
	return err.Error()
}

// repositoryView is a repository as the overview shows it.
type repositoryView struct {
	backup.RepositoryStatus
	Check      *runView
	KitAddress string // where the form goes that confirms that the recovery kit was saved
	Local      bool   // on a disk of this machine, maybe the only one
}

func repositoryViews(list []backup.RepositoryStatus, who Caller, now time.Time) []repositoryView {
	return each(list, func(r backup.RepositoryStatus) repositoryView {
		return repositoryView{
			RepositoryStatus: presentRepository(who)(r), Check: newRunView(r.LastCheck, now),
			KitAddress: join("repositories", r.Name, "kit"), Local: strings.HasPrefix(r.Location, "/"),
		}
	})
}
