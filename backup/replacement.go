package backup

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync/atomic"

	"github.com/caddy-backup/caddy-backup/repo"
)

// replacement puts dumps into the place of live ones: it looks whether that can be done, makes a safety snapshot of what is
// there, and only then has the sources replace it, one after the other.
type replacement struct {
	*runner
	job     string
	request RestoreRequest
	targets []liveTarget
	from    *repo.Repository // of folders
	feed    func(ctx context.Context, node repo.Node, sum string, f func(io.Reader) error) error
	what    string // replaces them: "snapshot 1a2b3c4d"
	then    string // the stable ID of that; empty of a file
}

// turn waits until no other run writes into the repository of a job.
func (r *runner) turn(ctx context.Context, job string) (leave func(), err error) {
	_, v, err := r.vaultOfJob(job)
	if err != nil {
		return nil, err
	}
	if err := v.gate.enter(ctx, r); err != nil {
		return nil, err
	}
	return v.gate.leave, nil
}

// vaultOfJob is where a job is backed up to.
func (r *runner) vaultOfJob(job string) (Job, *vault, error) {
	j, err := r.setup.job(job)
	if err != nil {
		return Job{}, nil, err
	}
	v, err := r.service.vaultIn(r.setup, j.To)
	return j, v, err
}

func (x *replacement) do(ctx context.Context) error {
	x.update(func(run *Run) {
		run.Path, run.Over, run.Confirm = pathOf(x.targets), lives(x.targets), confirmation(x.job, x.targets)
	})
	if err := x.ready(ctx); err != nil {
		return err
	}
	if x.request.DryRun {
		x.update(func(run *Run) { run.Summary = x.foreseen() })
		return nil
	}
	if err := x.secure(ctx); err != nil {
		return err
	}
	if err := x.replace(ctx); err != nil {
		return err
	}
	x.update(func(run *Run) {
		run.Summary = x.done()
		if run.Undo != "" {
			run.Summary += "; what was there before comes back with: " + run.Undo
		}
	})
	return nil
}

// ready asks the sources, before anything is touched, and notes which targets are not there.
func (x *replacement) ready(ctx context.Context) error {
	for i := range x.targets {
		t := &x.targets[i]
		x.setStep("looking whether " + t.live + " can be replaced")
		err := x.guard(ctx, "look at "+t.live, func() error { return t.source.Ready(ctx, t.stored, x.over(*t), x.task()) })
		if t.absent = errors.Is(err, ErrAbsent); err != nil && !t.absent {
			return fmt.Errorf("source %s: %w; nothing was changed", t.named.Name, err)
		}
	}
	if _, absent := parted(x.targets); len(absent) > 0 {
		x.update(func(run *Run) { run.Absent = lives(absent) })
		x.log.Info(named(absent) + " not there now: nothing is replaced, and no safety snapshot is needed")
	}
	return nil
}

// over says how a target may be overwritten. One that was not there, and is by now, is in no safety snapshot.
func (x *replacement) over(t liveTarget) Over {
	return Over{Force: x.request.Force, Aside: x.request.NoSafety || t.absent, Undone: t.undone}
}

// secure makes the safety snapshot, and notes the way back.
func (x *replacement) secure(ctx context.Context) error {
	if x.request.NoSafety {
		x.log.Warn("no snapshot is made of what is there now, as it was asked for: no snapshot brings it back")
		return nil
	}
	if there, _ := parted(x.targets); len(there) == 0 {
		return nil
	}
	s, path, err := x.snapshotNow(ctx)
	if err != nil {
		return fmt.Errorf("what is there now cannot be backed up, so it is not replaced: %w; nothing was changed. Put that right, or, "+
			"if there is nothing any more, or it can be given up, restore without a safety snapshot (--no-safety, no_safety): it is kept beside then", err)
	}
	x.update(func(run *Run) { run.Safety = s.ID.String() })
	x.log.Info("safety snapshot made of what is there now", "snapshot", s.ID.Short())
	if path == "" {
		x.log.Warn(x.targets[0].live + " was not there before, so there is no way back to it")
		return nil
	}
	x.update(func(run *Run) { run.Undo = x.undo(s, path) })
	return nil
}

// undo is the command that restores from the safety snapshot what is at a path in it.
func (x *replacement) undo(s repo.Snapshot, path string) string {
	_, v, err := x.vaultOfJob(x.job)
	if err != nil {
		return ""
	}
	words := []string{"caddy backup restore", s.ID.Short()}
	if path != "/" {
		words = append(words, shellWord(path))
	}
	there, _ := parted(x.targets)
	words = append(words, "--overwrite --confirm", shellWord(confirmation(x.job, there)))
	if len(x.setup.Repositories) > 1 {
		words = append(words, "--repository", shellWord(v.name))
	}
	return strings.Join(words, " ")
}

// snapshotNow makes a snapshot of what is live now: of the sources of the targets that are there, and no others, which may be broken. It
// tells at which path in it lies what is about to be replaced; "" when that is not there. The gate is entered already.
func (x *replacement) snapshotNow(ctx context.Context) (s repo.Snapshot, path string, err error) {
	job, v, err := x.vaultOfJob(x.job)
	if err != nil {
		return s, "", err
	}
	there, absent := parted(x.targets)
	job.Sources = sourcesOf(there)
	b := &backupRun{runner: x.runner, vault: v, job: job, start: x.service.now(), then: x.then}
	for _, t := range absent {
		b.absent = append(b.absent, t.stored.Name)
	}
	err = b.prepare(ctx, func(ctx context.Context) error {
		doubts, err := b.gather(ctx)
		if err != nil {
			return err
		}
		tags := []string{tagSafety}
		if doubts != nil {
			x.log.Warn("the safety snapshot is of what is there, however that looks", "doubt", doubts.Error())
			tags = append(tags, tagSuspect)
		}
		if s, err = b.store(ctx, tags...); err != nil {
			return err
		}
		path, err = x.pathIn(ctx, b.repo, s)
		return err
	})
	return s, path, err
}

// pathIn is where what is replaced lies in the safety snapshot.
func (x *replacement) pathIn(ctx context.Context, r *repo.Repository, s repo.Snapshot) (string, error) {
	there, _ := parted(x.targets)
	path := pathOf(there)
	if path == "/" {
		return path, nil
	}
	_, err := r.Lookup(ctx, s.Tree, tidy(x.job+"/"+path))
	if errors.Is(err, repo.ErrNotFound) || errors.Is(err, repo.ErrNotFolder) {
		return "", nil
	}
	return path, err
}

// pathOf is where targets lie in the folder of their job: "/" for several.
func pathOf(targets []liveTarget) string {
	if len(targets) > 1 {
		return "/"
	}
	d := targets[0].stored
	return strings.TrimSuffix(d.Name+"/"+d.Sub, "/")
}

// replace has the sources replace what is live. From its beginning on the history tells of it, should this process die.
func (x *replacement) replace(ctx context.Context) error {
	x.update(func(run *Run) { run.Touched = true })
	x.service.history.save(x.snapshot(), x.service.journal.id())
	for i, t := range x.targets {
		x.setStep("replacing " + t.live)
		if err := x.one(ctx, t); err != nil {
			return x.blame(ctx, err, i)
		}
		what := "replaced "
		if t.absent {
			what = "made "
		}
		x.log.Info(what+t.live, "source", t.named.Name, "by", x.what)
	}
	return nil
}

// one replaces one live one. A source that does not end although it was told to may still be at work: nobody knows then
// what is left.
func (x *replacement) one(ctx context.Context, t liveTarget) error {
	var ended atomic.Bool
	err := x.rebuilding(ctx, "restore over "+t.live, func() error {
		defer ended.Store(true)
		if t.stored.Folder {
			return t.source.(FolderOverwriter).OverwriteFolder(ctx, t.stored, x.from, t.node, x.over(t), x.task())
		}
		var done bool
		err := x.feed(ctx, t.node, t.sha256, func(r io.Reader) error {
			err := t.source.(Overwriter).Overwrite(ctx, t.stored, r, x.over(t), x.task())
			done = err == nil
			return err
		})
		if done && err != nil { // the source did not look at the end
			err = fmt.Errorf("%w: %w", ErrIncomplete, err)
		}
		return err
	})
	if err != nil && !ended.Load() {
		err = fmt.Errorf("%w: its source does not end, and may still be at work: %w", ErrIncomplete, err)
	}
	return err
}

// blame says of an error at the n-th target how all of them are now, and what the way back is.
func (x *replacement) blame(ctx context.Context, err error, n int) error {
	t, incomplete := x.targets[n], errors.Is(err, ErrIncomplete)
	err = because(ctx, err)
	if !incomplete {
		err = fmt.Errorf("source %s: %w; %s is as it was before", t.named.Name, err, t.live)
		if n == 0 {
			return err
		}
	} else {
		err = fmt.Errorf("source %s: %s is INCOMPLETE: %w", t.named.Name, t.live, err)
	}
	if n > 0 {
		err = fmt.Errorf("%w; replaced before that: %s", err, strings.Join(lives(x.targets[:n]), ", "))
	}
	if undo := x.snapshot().Undo; undo != "" {
		err = fmt.Errorf("%w; the way back: %s", err, undo)
	}
	return err
}

// aftermath says of a restore that was killed what is to be looked at.
func (r *Run) aftermath() string {
	if !r.Touched {
		return ""
	}
	text := fmt.Sprintf(" while it replaced %s: that may be as before, replaced, or INCOMPLETE", strings.Join(r.Over, " and "))
	if r.Undo != "" {
		text += "; the way back: " + r.Undo
	}
	return text
}
