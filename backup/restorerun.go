package backup

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync/atomic"

	"github.com/dustin/go-humanize"

	"github.com/caddy-backup/caddy-backup/fsnode"
	"github.com/caddy-backup/caddy-backup/repo"
)

// RestoreRequest asks for a restore: as files below Target, through the source into a new Place, or, with Overwrite, through
// the source over the live one.
type RestoreRequest struct {
	Repository string `json:"repository"`
	Snapshot   string `json:"snapshot"`          // ID, prefix, or "latest" (then Job is needed), see Service.Snapshot
	Job        string `json:"job,omitempty"`     // narrows "latest"
	Path       string `json:"path,omitempty"`    // part, or a path in it; empty = the whole snapshot
	Target     string `json:"target,omitempty"`  // absolute path of a folder, created when missing; nothing in it is overwritten
	Partial    bool   `json:"partial,omitempty"` // what cannot be read is named and left out; without it nothing is restored then
	Place      string `json:"place,omitempty"`   // for the source: a new database's name, a new file's path; needs Path = one part

	Overwrite bool   `json:"overwrite,omitempty"` // Path is a part, something in one that is a folder, or empty: all parts
	Confirm   string `json:"confirm,omitempty"`   // to overwrite: the name of the live one, see Replaceable; of several parts that of the job
	Force     bool   `json:"force,omitempty"`     // to overwrite although others use it
	NoSafety  bool   `json:"no_safety,omitempty"` // to overwrite without a snapshot of what is there now
	DryRun    bool   `json:"dry_run,omitempty"`   // only look whether it could be overwritten, and tell what to confirm

	// Over, if not nil, is what a look before said that would be replaced (Run.Over): anything else by now is not.
	Over []string `json:"-"`
}

// check refuses what makes no sense.
func (q RestoreRequest) check() error {
	switch {
	case q.Snapshot == "":
		return fmt.Errorf("%w: which snapshot is to be restored?", ErrInvalid)
	case q.Snapshot == "latest" && q.Job == "":
		return fmt.Errorf("%w: latest of which job?", ErrInvalid)
	case q.ways() != 1:
		return fmt.Errorf("%w: say either a target, to restore files into that folder, or a place, to restore through the source, "+
			"or that the live one is to be overwritten", ErrInvalid)
	case !q.Overwrite && (q.Force || q.NoSafety || q.DryRun || q.Confirm != ""):
		return fmt.Errorf("%w: confirm, force, no_safety and dry_run belong to a restore that overwrites", ErrInvalid)
	case q.Partial && q.Target == "":
		return fmt.Errorf("%w: through a source a dump is restored as a whole, or not at all", ErrInvalid)
	case q.Target != "" && !filepath.IsAbs(q.Target):
		return fmt.Errorf("%w: the target %q is not an absolute path", ErrInvalid, q.Target)
	case q.Place != "" && q.Path == "":
		return fmt.Errorf("%w: restoring through a source needs the path of one part", ErrInvalid)
	}
	return nil
}

// ways counts how it is to be restored.
func (q RestoreRequest) ways() (n int) {
	for _, way := range []bool{q.Target != "", q.Place != "", q.Overwrite} {
		if way {
			n++
		}
	}
	return n
}

// Restore starts a restore and returns at once. ErrInvalid, ErrNotFound. To overwrite, it first looks up what that is:
// ErrInvalid when it was not confirmed, ErrConflict (with the running run) while the job is restored over already.
func (s *Service) Restore(ctx context.Context, by string, q RestoreRequest) (Run, error) {
	if err := q.check(); err != nil {
		return Run{}, err
	}
	c, v, err := s.vaultOfJob(q.Repository, q.Job)
	if err != nil {
		return Run{}, err
	}
	run, clash := Run{Kind: KindRestore, Job: q.Job, Repository: v.name, Path: q.Path, Place: cmp.Or(q.Target, q.Place), Force: q.Force},
		func(Run) bool { return false }
	if q.Overwrite {
		if run.Job, q.Snapshot, run.Over, err = s.confirmed(ctx, c, v, q); err != nil {
			return Run{}, err
		}
		run.DryRun, run.Snapshot = q.DryRun, q.Snapshot
		clash = func(r Run) bool {
			return !q.DryRun && r.Kind == KindRestore && r.Job == run.Job && r.Over != nil && !r.DryRun
		}
	}
	run, err = s.start(c, by, run, clash, func(ctx context.Context, r *runner) error {
		return (&restoreRun{runner: r, vault: v, request: q}).do(ctx)
	})
	if err == nil {
		s.audit(by, "restore asked for", "repository", v.name, "snapshot", q.Snapshot, "path", q.Path, "target", q.Target,
			"place", q.Place, "over", run.Over, "force", q.Force, "no_safety", q.NoSafety, "dry_run", q.DryRun, "run", run.ID)
	}
	return run, err
}

// restoreRun gives something back, under a shared lock. Everything that can be known to fail fails before the target
// is touched.
type restoreRun struct {
	*runner
	vault    *vault
	request  RestoreRequest
	repo     *repo.Repository
	snapshot repo.Snapshot
	total    int64 // bytes to restore
	done     atomic.Int64
	lost     []Finding // what could not be read, of a partial restore
}

func (x *restoreRun) do(ctx context.Context) error {
	if x.request.Overwrite && !x.request.DryRun { // no backup of the job begins in the middle, and its safety snapshot has its turn
		leave, err := x.turn(ctx, x.run.Job)
		if err != nil {
			return err
		}
		defer leave()
	}
	ctx, stop := x.begin(ctx, DefaultTimeout)
	defer stop()
	ctx, rest := x.watched(ctx, x.setup.stallOf(x.run.Job))
	defer rest()
	return x.vault.reading(ctx, x.runner, func(ctx context.Context, r *repo.Repository) error {
		x.repo = r
		return x.restore(ctx)
	})
}

func (x *restoreRun) restore(ctx context.Context) (err error) {
	x.setStep("loading the index")
	if x.snapshot, err = findLatest(ctx, x.repo, x.request.Snapshot, x.request.Job); err != nil {
		return err
	}
	x.update(func(run *Run) {
		run.Snapshot = x.snapshot.ID.String()
		if run.Job == "" {
			run.Job = jobOf(x.snapshot)
		}
	})
	if err := x.vault.loadIndex(ctx, x.repo); err != nil {
		return err
	}
	node, full, err := resolve(ctx, x.repo, x.snapshot, x.request.Path)
	if err != nil {
		return err
	}
	switch {
	case x.request.Overwrite:
		return x.overLive(ctx)
	case x.request.Place != "":
		err = x.throughSource(ctx, node, full)
	default:
		err = x.intoFolder(ctx, node)
	}
	if err != nil {
		return err
	}
	x.update(func(run *Run) {
		run.Summary = fmt.Sprintf("%s of snapshot %s restored: %s", full, x.snapshot.ID.Short(), humanize.IBytes(uint64(x.total)))
	})
	return nil
}

// intoFolder restores files below the target.
func (x *restoreRun) intoFolder(ctx context.Context, node repo.Node) error {
	nodes := []repo.Node{node}
	if node.Name == "" { // the whole snapshot: what is at its top
		var err error
		if nodes, err = x.repo.LoadTree(ctx, *node.Subtree); err != nil {
			return err
		}
	}
	if err := x.preflight(ctx, nodes); err != nil {
		return err
	}
	if err := RequireSpace(x.request.Target, x.total); err != nil {
		return err
	}
	root, err := openTarget(x.request.Target, nodes)
	if err != nil {
		return err
	}
	defer root.Close()
	marked, err := x.mark(root)
	if err != nil {
		return err
	}
	x.setStep("restoring into " + x.request.Target)
	for _, n := range nodes {
		o := fsnode.RestoreOptions{Log: x.log, Progress: func(n int64) { x.done.Add(n) }}
		if x.request.Partial {
			o.Lost = x.lose
		}
		done, err := fsnode.Restore(ctx, x.repo, n, root, o)
		for _, note := range done.Notes {
			x.log.Warn(note)
		}
		if err != nil {
			return fmt.Errorf("%w; what was restored so far is in %s, and %s there tells that it is not whole", err,
				x.request.Target, marked)
		}
		x.log.Info("restored", "path", n.Name, "files", done.Files, "folders", done.Folders, "others", done.Others, "bytes", done.Bytes)
	}
	if x.request.Partial {
		return x.account(ctx, root, marked)
	}
	return root.Remove(marked)
}

// preflight makes sure that everything which will be read is indexed and of the right size, and adds it up.
func (x *restoreRun) preflight(ctx context.Context, nodes []repo.Node) error {
	x.setStep("looking whether everything is there")
	linked := map[[2]uint64]bool{} // files with several names are written once
	var packs *repo.Presence
	if x.request.Overwrite {
		var err error
		if packs, err = x.repo.Presence(ctx); err != nil {
			return err
		}
	}
	count := func(path string, n repo.Node) error {
		if n.Type != "file" {
			return nil
		}
		if !x.request.Partial {
			f, err := x.repo.OpenFile(ctx, n)
			if err != nil {
				return fmt.Errorf("%s: %w; nothing was restored", path, err)
			}
			f.Close()
		}
		if packs != nil {
			if err := packs.File(n); err != nil {
				return fmt.Errorf("%s: %w; nothing was restored", path, err)
			}
		}
		inode := [2]uint64{n.DeviceID, n.Inode}
		if n.Links < 2 || n.Inode == 0 || !linked[inode] {
			x.total += int64(n.Size)
		}
		if n.Links > 1 {
			linked[inode] = true
		}
		return nil
	}
	for _, n := range nodes {
		if err := count(n.Name, n); err != nil {
			return err
		}
		if n.Subtree == nil {
			continue
		}
		for e, err := range x.repo.Walk(ctx, *n.Subtree) {
			if err == nil {
				err = count(n.Name+"/"+e.Path, e.Node)
			} else if x.request.Partial && ctx.Err() == nil {
				break // the restore will come to it
			}
			if err != nil {
				return err
			}
		}
	}
	x.setProgress(func() Progress { return Progress{Bytes: x.done.Load(), Total: x.total} })
	return nil
}

// RequireSpace compares the bytes that are needed with what is free where a target is, or will be.
func RequireSpace(target string, need int64) error {
	existing := target
	for {
		if _, err := os.Stat(existing); err == nil || existing == filepath.Dir(existing) {
			break
		}
		existing = filepath.Dir(existing)
	}
	if free, known := freeSpace(existing); known && need > free {
		return fmt.Errorf("the restore needs %s, and at %s only %s are free: make room, or choose another target",
			humanize.IBytes(uint64(need)), existing, humanize.IBytes(uint64(max(free, 0))))
	}
	return nil
}

// openTarget makes the target folder when it is missing, and refuses one in which something of these names exists.
func openTarget(target string, nodes []repo.Node) (*os.Root, error) {
	if fi, err := os.Stat(target); err == nil && !fi.IsDir() {
		return nil, fmt.Errorf("%w: the target %s is not a folder", ErrConflict, target)
	}
	if err := os.MkdirAll(target, 0o700); err != nil {
		return nil, fmt.Errorf("make the target: %w", err)
	}
	root, err := os.OpenRoot(target)
	if err != nil {
		return nil, err
	}
	for _, n := range nodes {
		if _, err := root.Lstat(n.Name); !errors.Is(err, fs.ErrNotExist) {
			root.Close()
			return nil, fmt.Errorf("%w: %s exists, and nothing is overwritten: choose another target", ErrConflict,
				filepath.Join(target, n.Name))
		}
	}
	return root, nil
}

// mark puts a file into the target that stays there until the restore has ended well: after a crash it tells that the
// rest is not whole.
func (x *restoreRun) mark(root *os.Root) (string, error) {
	name := "RESTORE-INCOMPLETE-" + x.run.ID + ".txt"
	f, err := root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return "", fmt.Errorf("write into the target: %w", err)
	}
	_, err = fmt.Fprintf(f, "Run %s restores snapshot %s into this folder. While this file is here, that has not ended well, and\n"+
		"what lies beside it is not whole.\n", x.run.ID, x.snapshot.ID)
	return name, errors.Join(err, f.Sync(), f.Close())
}
