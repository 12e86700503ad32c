package backup

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync/atomic"
	"time"

	"github.com/dustin/go-humanize"

	"github.com/caddy-backup/caddy-backup/repo"
)

// drillRun tries a snapshot out, under a shared lock.
type drillRun struct {
	*runner
	vault    *vault
	job      Job
	request  DrillRequest
	repo     *repo.Repository
	snapshot repo.Snapshot
	packs    *repo.Presence
	done     atomic.Int64
	total    int64
	swept    map[string]bool // sources
	evidence []Evidence
}

func (x *drillRun) do(ctx context.Context) error {
	ctx, stop := x.begin(ctx, DefaultTimeout)
	defer stop()
	ctx, rest := x.watched(ctx, x.job.Stall)
	defer rest()
	x.swept = map[string]bool{}
	x.service.sweepScratch(x.setup.DataDir)
	return x.vault.reading(ctx, x.runner, func(ctx context.Context, r *repo.Repository) error {
		x.repo = r
		return x.drill(ctx)
	})
}

func (x *drillRun) drill(ctx context.Context) (err error) {
	x.setStep("loading the index")
	if err := x.choose(ctx); err != nil {
		return err
	}
	if err := x.vault.loadIndex(ctx, x.repo); err != nil {
		return err
	}
	m, err := loadManifest(ctx, x.repo, x.snapshot)
	if err != nil {
		return fmt.Errorf("snapshot %s has no manifest to compare with: %w", x.snapshot.ID.Short(), err)
	}
	if x.packs, err = x.repo.Presence(ctx); err != nil {
		return err
	}
	for _, p := range m.Parts {
		x.total += p.Size
	}
	x.setProgress(func() Progress { return Progress{Bytes: x.done.Load(), Total: x.total} })
	var failed []error
	for i := range m.Parts {
		if err := x.try(ctx, &m.Parts[i]); err != nil {
			failed = append(failed, err)
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
	}
	return x.judge(failed)
}

// choose finds the snapshot.
func (x *drillRun) choose(ctx context.Context) (err error) {
	id := x.request.Snapshot
	if id == "" {
		id = "latest"
	}
	if x.snapshot, err = findOf(ctx, x.repo, x.job.Name, x.setup.Host, id); err != nil {
		return err
	}
	newest, err := findOf(ctx, x.repo, x.job.Name, x.setup.Host, "latest")
	chosen := id != "latest" && (err != nil || newest.ID != x.snapshot.ID) // the newest good one speaks for the job, whoever named it
	x.update(func(run *Run) { run.Snapshot, run.Chosen = x.snapshot.ID.String(), chosen })
	return nil
}

// judge is green only when every part came back.
func (x *drillRun) judge(failed []error) error {
	restored := 0
	for _, e := range x.evidence {
		if e.Restored {
			restored++
		}
	}
	text := fmt.Sprintf("snapshot %s: %s restored and checked", x.snapshot.ID.Short(), plural(restored, "part"))
	if read := len(x.evidence) - restored; read > 0 {
		text += fmt.Sprintf(", %s only read to the end", plural(read, "part"))
	}
	x.update(func(run *Run) { run.Summary = text + ": " + humanize.IBytes(uint64(x.total)) })
	if len(failed) == 0 {
		return nil
	}
	return fmt.Errorf("snapshot %s of %s did not come back in the drill: %w", x.snapshot.ID.Short(), minute(x.snapshot.Time), errors.Join(failed...))
}

// try tries one part out, and keeps the evidence.
func (x *drillRun) try(ctx context.Context, p *ManifestPart) error {
	x.setStep("trying out " + p.Name)
	began := x.service.now()
	e, err := x.part(ctx, p)
	e.Part, e.Kind, e.Size, e.Seconds = p.Name, p.Kind, p.Size, x.service.now().Sub(began).Seconds()
	if err != nil {
		err = because(ctx, err)
		e.Restored, e.Error = false, err.Error()
		x.log.Error("drill of "+p.Name+" failed", "error", err)
		err = fmt.Errorf("%s: %w", p.Name, err)
	} else {
		x.log.Info("drilled "+p.Name, "restored", e.Restored, "checked", e.Checked, "bytes", p.Size)
	}
	x.evidence = append(x.evidence, e)
	list := append([]Evidence(nil), x.evidence...)
	x.update(func(run *Run) { run.Drill = list })
	return err
}

func (x *drillRun) part(ctx context.Context, p *ManifestPart) (Evidence, error) {
	node, err := x.repo.Lookup(ctx, x.snapshot.Tree, x.job.Name+"/"+p.Name)
	if err != nil {
		return Evidence{}, err
	}
	source, err := x.setup.sourceOf(x.job.Name, p)
	if err != nil { // it was taken out of the configuration
		return x.read(ctx, p, node, nil, "its source is not configured any more")
	}
	if s, ok := source.Source.(DrillSweeper); ok && !x.swept[source.Name] {
		x.swept[source.Name] = true
		err := x.guard(ctx, "clean up behind killed drills", func() error { return s.SweepDrills(ctx, x.service.abandoned, x.task()) })
		if err != nil {
			x.log.Warn("cannot clean up behind drills that were killed", "source", source.Name, "error", err)
		}
	}
	if p.Folder {
		return x.folder(ctx, p, node, source)
	}
	d, ok := source.Source.(Driller)
	if !ok {
		return x.read(ctx, p, node, source.Source, "a source of kind "+source.Kind+" cannot be tried out")
	}
	return x.scratch(ctx, p, func(s Stored, at Scratch) (facts Facts, err error) {
		err = x.feed(ctx, p, node, func(r io.Reader) error {
			facts, err = d.Drill(ctx, s, r, at, x.task())
			return err
		})
		return facts, err
	})
}

// folder tries a folder out, where there is room for it.
func (x *drillRun) folder(ctx context.Context, p *ManifestPart, node repo.Node, source NamedSource) (Evidence, error) {
	if node.Subtree == nil || node.Subtree.String() != p.Tree {
		return Evidence{}, fmt.Errorf("its tree is not the one in the manifest: %w", repo.ErrDamaged)
	}
	d, ok := source.Source.(FolderDriller)
	if !ok {
		return x.read(ctx, p, node, source.Source, "a source of kind "+source.Kind+" cannot be tried out")
	}
	if err := RequireSpace(scratchRoot(x.setup.DataDir), p.Size); err != nil {
		x.log.Warn(p.Name+" is only read to its end", "reason", err)
		return x.read(ctx, p, node, source.Source, err.Error())
	}
	return x.scratch(ctx, p, func(s Stored, at Scratch) (Facts, error) {
		defer x.done.Add(p.Size)
		return d.DrillFolder(ctx, s, x.repo, node, at, x.task())
	})
}

// scratch lends a scratch place, and takes it away again.
func (x *drillRun) scratch(ctx context.Context, p *ManifestPart, drill func(Stored, Scratch) (Facts, error)) (e Evidence, err error) {
	root := scratchRoot(x.setup.DataDir)
	if err := RequireSpace(root, p.Size); err != nil {
		return e, err
	}
	at, err := newScratch(root, x.run.ID)
	if err != nil {
		return e, err
	}
	s := Stored{Part: Part{Name: p.Name, Folder: p.Folder, Media: p.Media}, Facts: p.Facts, Size: p.Size, Files: p.Files}
	var is Facts
	err = x.rebuilding(ctx, "drill of "+p.Name, func() (err error) {
		defer func() { err = errors.Join(err, removeScratch(at.Dir)) }() // here, for nobody may be left behind who still fills it
		is, err = drill(s, at)
		return err
	})
	if err != nil {
		return e, err
	}
	text, err := compared(p.Facts, is)
	return Evidence{Restored: true, Engine: is.Engine, Checked: is.Checked + text, Notes: is.Notes}, err
}

// feed gives the dump to f, which sees its end only when it is what the manifest says.
func (x *drillRun) feed(ctx context.Context, p *ManifestPart, node repo.Node, f func(io.Reader) error) error {
	if err := x.packs.File(node); err != nil {
		return err
	}
	file, err := x.repo.OpenFile(ctx, node)
	if err != nil {
		return err
	}
	defer file.Close()
	r := &sumReader{from: awaitedReader{file, &x.life}, hash: sha256.New(), want: p.SHA256, count: func(n int) { x.done.Add(int64(n)) }}
	if err := f(r); err != nil {
		return err
	}
	return r.finish()
}

// read reads a part to its end, beside the verifier of its source if that has one. Why no more was done is told.
func (x *drillRun) read(ctx context.Context, p *ManifestPart, node repo.Node, source Source, why string) (Evidence, error) {
	e := Evidence{Checked: "read to its end, every byte verified"}
	if p.Folder {
		return e.because(why), x.readFolder(ctx, node)
	}
	err := x.guard(ctx, "check of "+p.Name, func() error {
		return x.feed(ctx, p, node, func(r io.Reader) error {
			v, ok := source.(Verifier)
			if !ok {
				_, err := io.Copy(io.Discard, r)
				return err
			}
			facts, err := v.Verify(ctx, Part{Name: p.Name, Media: p.Media}, r, x.task())
			e.Checked += "; " + facts.Checked
			return err
		})
	})
	return e.because(why), err
}

// because adds why a part was not restored.
func (e Evidence) because(why string) Evidence {
	e.Checked = strings.TrimSuffix(e.Checked, "; ") + "; not restored: " + why
	return e
}

// readFolder reads every file of a folder to its end.
func (x *drillRun) readFolder(ctx context.Context, folder repo.Node) error {
	if folder.Subtree == nil {
		return fmt.Errorf("it has no tree: %w", repo.ErrDamaged)
	}
	for e, err := range x.repo.Walk(ctx, *folder.Subtree) {
		if err != nil {
			return err
		}
		if e.Node.Type != "file" {
			continue
		}
		f, err := x.repo.OpenFile(ctx, e.Node)
		if err != nil {
			return fmt.Errorf("%s: %w", e.Path, err)
		}
		n, err := io.Copy(io.Discard, f)
		if err = errors.Join(err, f.Close()); err != nil {
			return fmt.Errorf("%s: %w", e.Path, err)
		}
		x.done.Add(n)
	}
	return nil
}

// drillPlan is the plan of a job's drills.
func (c *setup) drillPlan(j Job) plan {
	return plan{KindDrill, j.Name, j.Drill, j.Zone, j.Jitter, c.Host, func(s *Service, slot time.Time) (Run, error) {
		return s.drill(bySchedule, DrillRequest{Job: j.Name}, slot)
	}}
}
