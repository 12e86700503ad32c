package backup

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/caddy-backup/caddy-backup/repo"
)

// liveTarget is a live one that is to be replaced, and by what.
type liveTarget struct {
	stored Stored
	source Replaceable
	named  NamedSource
	node   repo.Node
	sha256 string // of a file, as the manifest has it
	live   string
	undone *repo.Node // see Over
	absent bool       // the live one is not there; see replacement.ready
}

// liveTargets are what a path in a snapshot would replace: one part, something in one that is a folder, or all parts.
func (c *setup) liveTargets(ctx context.Context, r *repo.Repository, s repo.Snapshot, path string) ([]liveTarget, error) {
	job := jobOf(s)
	if job == "" {
		return nil, fmt.Errorf("%w: snapshot %s was not made by a job: restore into a target", ErrInvalid, s.ID.Short())
	}
	m, err := loadManifest(ctx, r, s)
	if err != nil {
		return nil, fmt.Errorf("%w; without the manifest only a restore into a target is possible", err)
	}
	_, full, err := resolve(ctx, r, s, path)
	if err != nil {
		return nil, err
	}
	var targets []liveTarget
	for i := range m.Parts {
		p := &m.Parts[i]
		at := "/" + job + "/" + p.Name
		sub, below := strings.CutPrefix(full, at+"/")
		if full != "/" && full != "/"+job && full != at && !(below && p.Folder) {
			continue
		}
		if !below {
			sub = ""
		}
		t, err := c.liveTarget(ctx, r, s, p, sub)
		if err != nil {
			return nil, err
		}
		if p.Folder && m.RestoredThen != "" {
			t.undone = restoredThen(ctx, r, m.RestoredThen, tidy(job+"/"+p.Name+"/"+sub))
		}
		targets = append(targets, t)
	}
	if len(targets) == 0 {
		return nil, fmt.Errorf("%w: %s is no part of the snapshot: restore it into a target", ErrInvalid, full)
	}
	return targets, nil
}

// liveTarget is what a part, or something in one that is a folder, would replace.
func (c *setup) liveTarget(ctx context.Context, r *repo.Repository, s repo.Snapshot, p *ManifestPart, sub string) (liveTarget, error) {
	named, err := c.sourceOf(jobOf(s), p)
	if err != nil {
		return liveTarget{}, err
	}
	source, err := named.replaceable(p)
	if err != nil {
		return liveTarget{}, err
	}
	node, err := r.Lookup(ctx, s.Tree, tidy(jobOf(s)+"/"+p.Name+"/"+sub))
	if err != nil {
		return liveTarget{}, err
	}
	t := liveTarget{
		stored: Stored{Part: Part{Name: p.Name, Folder: p.Folder, Media: p.Media}, Facts: p.Facts, Size: p.Size, Files: p.Files, Sub: sub},
		source: source, named: named, node: node, sha256: p.SHA256,
	}
	if sub != "" {
		t.stored.Size, t.stored.Files = int64(node.Size), 0
	}
	t.live = source.Live(t.stored)
	return t, nil
}

// restoredThen is what lies at a path in the snapshot that a restore put there; nil when there is none any more.
func restoredThen(ctx context.Context, r *repo.Repository, id, path string) *repo.Node {
	then, err := r.FindSnapshot(ctx, id, repo.SnapshotFilter{})
	if err != nil {
		return nil
	}
	node, err := r.Lookup(ctx, then.Tree, path)
	if err != nil {
		return nil
	}
	return &node
}

// replaceable is the source, if it can replace what it dumps by such a part.
func (s NamedSource) replaceable(p *ManifestPart) (Replaceable, error) {
	_, files := s.Source.(Overwriter)
	_, folders := s.Source.(FolderOverwriter)
	if p.Folder && !folders || !p.Folder && !files {
		return nil, fmt.Errorf("%w: %s cannot be restored over the live one: a source of kind %s cannot do that; restore it into a "+
			"target, or to a new place", ErrInvalid, p.Name, s.Kind)
	}
	return s.Source.(Replaceable), nil
}

// confirmation is what must be typed to confirm that targets of a job are replaced.
func confirmation(job string, targets []liveTarget) string {
	if len(targets) == 1 {
		return targets[0].live
	}
	return job
}

func lives(targets []liveTarget) (names []string) {
	for _, t := range targets {
		names = append(names, t.live)
	}
	return names
}

// confirmed looks up what a request would overwrite, and whether it was confirmed. It returns the job, the snapshot's ID,
// and what would be overwritten.
func (s *Service) confirmed(ctx context.Context, c *setup, v *vault, q RestoreRequest) (job, id string, over []string, err error) {
	err = v.read(ctx, c, func(r *repo.Repository) error {
		found, err := findLatest(ctx, r, q.Snapshot, q.Job)
		if err != nil {
			return err
		}
		targets, err := c.liveTargets(ctx, r, found, q.Path)
		if err != nil {
			return err
		}
		job, id, over = jobOf(found), found.ID.String(), lives(targets)
		return confirm(q, job, targets)
	})
	return job, id, over, err
}

// confirm refuses what nobody confirmed, or was shown.
func confirm(q RestoreRequest, job string, targets []liveTarget) error {
	want := confirmation(job, targets)
	switch {
	case q.Over != nil && !slices.Equal(q.Over, lives(targets)):
		return fmt.Errorf("%w: by now this replaces %s, and not %s: look again first", ErrConflict, strings.Join(lives(targets), " and "),
			strings.Join(q.Over, " and "))
	case q.DryRun || q.Confirm == want:
		return nil
	case q.Confirm == "":
		return fmt.Errorf("%w: this replaces %s: to confirm, give its name: %s", ErrInvalid, strings.Join(lives(targets), " and "), want)
	}
	return fmt.Errorf("%w: %q does not confirm that this replaces %s: to confirm, give the name %q", ErrInvalid, q.Confirm,
		strings.Join(lives(targets), " and "), want)
}

// feed gives the dump of a target to f, which sees its end only when it is what the manifest says. What f leaves unread is
// read then.
func (x *restoreRun) feed(ctx context.Context, node repo.Node, sum string, f func(io.Reader) error) error {
	file, err := x.repo.OpenFile(ctx, node)
	if err != nil {
		return err
	}
	defer file.Close()
	r := &sumReader{from: awaitedReader{file, &x.life}, hash: sha256.New(), want: sum, count: func(n int) { x.done.Add(int64(n)) }}
	if err := f(r); err != nil {
		return err
	}
	return r.finish()
}

// overLive replaces live ones.
func (x *restoreRun) overLive(ctx context.Context) error {
	job := jobOf(x.snapshot)
	targets, err := x.setup.liveTargets(ctx, x.repo, x.snapshot, x.request.Path)
	if err != nil {
		return err
	}
	if err := confirm(x.request, job, targets); err != nil { // it was, of the configuration before a reload maybe
		return err
	}
	nodes := make([]repo.Node, len(targets))
	for i, t := range targets {
		nodes[i] = t.node
	}
	if err := x.preflight(ctx, nodes); err != nil {
		return err
	}
	y := replacement{runner: x.runner, job: job, request: x.request, targets: targets, feed: x.feed, from: x.repo,
		what: "snapshot " + x.snapshot.ID.Short(), then: x.snapshot.StableID().String()}
	if err := y.do(ctx); err != nil {
		return err
	}
	if !x.request.DryRun {
		x.done.Store(x.total)
	}
	return nil
}

// sources are those of targets, each once.
func sourcesOf(targets []liveTarget) (list []NamedSource) {
	for _, t := range targets {
		if !slices.ContainsFunc(list, func(s NamedSource) bool { return s.Name == t.named.Name }) {
			list = append(list, t.named)
		}
	}
	return list
}
