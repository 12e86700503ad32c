package backup

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"strings"
	"sync/atomic"

	"github.com/dustin/go-humanize"

	"github.com/caddy-backup/caddy-backup/repo"
)

// FileRestore asks for a dump that is a file of this machine to be restored through a source of a job: into a new place, or
// over the live one. It may be packed, as for an import.
type FileRestore struct {
	Job       string `json:"job"`
	Part      string `json:"part,omitempty"` // of the job, whose source is meant; empty: the one that the file looks like
	File      string `json:"file"`           // absolute path; to look at a part without a file: empty, with DryRun
	Place     string `json:"place,omitempty"`
	Overwrite bool   `json:"overwrite,omitempty"`
	Confirm   string `json:"confirm,omitempty"` // these as in RestoreRequest
	Force     bool   `json:"force,omitempty"`
	NoSafety  bool   `json:"no_safety,omitempty"`
	DryRun    bool   `json:"dry_run,omitempty"`

	// Stream, if set, is the dump, and File only names it for people. It is read once, and kept nowhere; only io.EOF says that
	// it is whole. The safety snapshot is made before it is read to its end. A run that was started closes it, when it has
	// ended or is to end: a Read that waits must return then, with an error.
	Stream io.ReadCloser `json:"-"`
}

func (q FileRestore) check() error {
	switch {
	case (q.Stream != nil || q.look()) && q.Part == "":
		return fmt.Errorf("%w: as which part is it to be restored?", ErrInvalid)
	case q.Stream == nil && !q.look() && !filepath.IsAbs(q.File):
		return fmt.Errorf("%w: the file %q is not an absolute path", ErrInvalid, q.File)
	case (q.Place == "") == !q.Overwrite:
		return fmt.Errorf("%w: say either a place, to restore into, or that the live one is to be overwritten", ErrInvalid)
	case !q.Overwrite && (q.Force || q.NoSafety || q.DryRun || q.Confirm != ""):
		return fmt.Errorf("%w: confirm, force, no_safety and dry_run belong to a restore that overwrites", ErrInvalid)
	}
	return nil
}

// look reports whether there is no file, and only a look whether one could be restored.
func (q FileRestore) look() bool { return q.File == "" && q.Stream == nil && q.DryRun }

func (q FileRestore) request() RestoreRequest {
	return RestoreRequest{Job: q.Job, Path: q.Part, Place: q.Place, Overwrite: q.Overwrite, Confirm: q.Confirm, Force: q.Force,
		NoSafety: q.NoSafety, DryRun: q.DryRun}
}

// RestoreFile starts such a restore and returns at once. Before anything is touched, the file is read to its end and verified
// by its source. ErrInvalid, ErrNotFound; ErrConflict (with the running run) while the job is restored over already.
func (s *Service) RestoreFile(ctx context.Context, by string, q FileRestore) (Run, error) {
	if err := q.check(); err != nil {
		return Run{}, err
	}
	c, v, j, err := s.jobVault(q.Job)
	if err != nil {
		return Run{}, err
	}
	part, err := partFor(ctx, j, q)
	if err != nil {
		return Run{}, err
	}
	q.Part = part.Name
	x := &fileRestoreRun{request: q, part: part}
	run, clash := Run{Kind: KindRestore, Job: j.Name, Repository: v.name, DryRun: q.DryRun, Path: q.Part, Place: q.Place, Force: q.Force},
		func(Run) bool { return false }
	if q.Overwrite {
		if x.target, err = part.target(); err != nil {
			return Run{}, err
		}
		if err := confirm(q.request(), j.Name, []liveTarget{x.target}); err != nil {
			return Run{}, err
		}
		run.Over, run.Confirm = []string{x.target.live}, confirmation(j.Name, []liveTarget{x.target})
		clash = func(r Run) bool {
			return !q.DryRun && r.Kind == KindRestore && r.Job == j.Name && r.Over != nil && !r.DryRun
		}
	}
	run, err = s.start(c, by, run, clash, func(ctx context.Context, r *runner) error {
		x.runner = r
		if q.Stream != nil {
			defer q.Stream.Close()
			defer context.AfterFunc(ctx, func() { q.Stream.Close() })()
		}
		return x.do(ctx)
	})
	if err == nil {
		s.audit(by, "restore of a file asked for", "job", j.Name, "part", q.Part, "file", q.File, "place", q.Place, "over", run.Over,
			"force", q.Force, "no_safety", q.NoSafety, "dry_run", q.DryRun, "run", run.ID)
	}
	return run, err
}

// target is what the part would replace.
func (p sourcePart) target() (liveTarget, error) {
	source, err := p.source.replaceable(&ManifestPart{Name: p.Name})
	if err != nil {
		return liveTarget{}, err
	}
	t := liveTarget{stored: Stored{Part: p.Part}, source: source, named: p.source}
	t.live = source.Live(t.stored)
	return t, nil
}

// partFor finds the part of a job that a file is restored as.
func partFor(ctx context.Context, j Job, q FileRestore) (sourcePart, error) {
	looks := ""
	if q.Part == "" {
		var err error
		if looks, err = sniff(ctx, q.File); err != nil {
			return sourcePart{}, fmt.Errorf("%w file %s: %w", ErrInvalid, q.File, err)
		}
	}
	parts, err := fileParts(ctx, j)
	if err != nil {
		return sourcePart{}, err
	}
	var names []string
	var fit []sourcePart
	for _, p := range parts {
		names = append(names, p.Name)
		if p.Name == q.Part || q.Part == "" && looks == p.source.Kind {
			fit = append(fit, p)
		}
	}
	if len(fit) == 1 {
		return fit[0], nil
	}
	return sourcePart{}, fmt.Errorf("%w: as which part of job %s is %s to be restored? %s", ErrInvalid, j.Name, cmp.Or(q.File, "a file"), existing("parts", names))
}

// looks are beginnings of dumps, and the kind of the source that they are of.
var looks = []struct{ begins, kind string }{
	{"SQLite format 3\x00", "sqlite"}, {"PGDMP", "postgres"}, {"--\n-- PostgreSQL database", "postgres"}, {"-- MariaDB dump", "mysql"},
	{"-- MySQL dump", "mysql"}, {"/*M!999999", "mysql"}, {"[", "django"}, {"{", "django"},
}

// sniff tells of which kind of source a dump looks by its beginning, unpacked; "" when that says nothing.
func sniff(ctx context.Context, file string) (string, error) {
	d, err := openDump(ctx, file, func(int64) {})
	if err != nil {
		return "", err
	}
	defer d.Close()
	head, err := bufio.NewReader(d).Peek(sniffed)
	if err != nil && !errors.Is(err, io.EOF) {
		return "", err
	}
	return looksLike(head), nil
}

// sniffed is how much of the beginning of a dump is looked at, in bytes.
const sniffed = 64

// looksLike tells of which kind of source a dump looks by its beginning; "" when that says nothing.
func looksLike(head []byte) string {
	head = bytes.ReplaceAll(bytes.TrimLeft(head, " \r\n\t"), []byte("\r\n"), []byte("\n"))
	for _, l := range looks {
		if strings.HasPrefix(string(head), l.begins) {
			return l.kind
		}
	}
	return ""
}

// fileRestoreRun restores a file.
type fileRestoreRun struct {
	*runner
	request FileRestore
	part    sourcePart
	target  liveTarget  // to overwrite
	stream  *dumpFile   // when the dump comes from somewhere
	seen    fs.FileInfo // of the file, when it was read first
	read    atomic.Int64
}

func (x *fileRestoreRun) do(ctx context.Context) error {
	if x.request.Overwrite && !x.request.DryRun {
		leave, err := x.turn(ctx, x.request.Job)
		if err != nil {
			return err
		}
		defer leave()
	}
	ctx, stop := x.begin(ctx, DefaultTimeout)
	defer stop()
	ctx, rest := x.watched(ctx, x.setup.stallOf(x.run.Job))
	defer rest()
	x.setProgress(func() Progress { return Progress{Bytes: x.read.Load()} })
	size, err := x.prepare(ctx)
	if err != nil {
		return because(ctx, fmt.Errorf("%s: %w; nothing was changed", x.request.File, err))
	}
	if x.request.Overwrite {
		y := replacement{runner: x.runner, job: x.request.Job, request: x.request.request(), targets: []liveTarget{x.target},
			what: x.what(),
			feed: func(ctx context.Context, _ repo.Node, _ string, f func(io.Reader) error) error { return x.feed(ctx, f) }}
		return because(ctx, y.do(ctx))
	}
	x.setStep("restoring " + x.request.File + " into " + x.request.Place)
	err = x.rebuilding(ctx, "restore of "+x.request.File, func() error {
		return x.feed(ctx, func(r io.Reader) error {
			size = 0
			counted := countingReader{r, func(n int64) { size += n }}
			return x.part.source.Restore(ctx, x.part.Part, counted, x.request.Place, x.task())
		})
	})
	if err != nil {
		return because(ctx, fmt.Errorf("source %s: %w", x.part.source.Name, err))
	}
	x.update(func(run *Run) {
		run.Summary = fmt.Sprintf("the dump in %s was restored into %s: %s", x.request.File, x.request.Place, humanize.IBytes(uint64(size)))
	})
	return nil
}

// what names the dump.
func (x *fileRestoreRun) what() string {
	if x.request.File == "" {
		return "such a dump"
	}
	return "the dump in " + x.request.File
}

// prepare makes sure of the dump what can be made sure of before anything is touched.
func (x *fileRestoreRun) prepare(ctx context.Context) (size int64, err error) {
	switch {
	case x.request.look():
		return 0, nil
	case x.request.Stream != nil:
		return 0, x.openStream(ctx)
	}
	size, facts, err := x.verify(ctx)
	x.target.stored.Size, x.target.stored.Facts = size, facts
	return size, err
}

// verify reads the file to its end, and has its source judge it if that can.
func (x *fileRestoreRun) verify(ctx context.Context) (size int64, facts Facts, err error) {
	x.setStep("verifying " + x.request.File)
	err = x.guard(ctx, "check of "+x.request.File, func() error {
		return x.feed(ctx, func(r io.Reader) (err error) {
			counted := countingReader{r, func(n int64) { size += n }}
			if v, ok := x.part.source.Source.(Verifier); ok {
				facts, err = v.Verify(ctx, x.part.Part, counted, x.task())
			}
			if err == nil {
				_, err = io.Copy(io.Discard, counted)
			}
			return err
		})
	})
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
		return 0, Facts{}, err
	}
	if err != nil {
		return 0, Facts{}, fmt.Errorf("it is not whole, or no dump of a source of kind %s: %w", x.part.source.Kind, err)
	}
	x.log.Info("verified "+x.request.File, "bytes", size, "checked", facts.Checked)
	return size, facts, nil
}

// feed gives the dump, unpacked, to f, which sees its end only when the file is whole as far as it can tell itself.
func (x *fileRestoreRun) feed(ctx context.Context, f func(io.Reader) error) error {
	if x.stream != nil {
		return x.feedStream(ctx, f)
	}
	d, err := openDump(ctx, x.request.File, func(n int64) { x.read.Add(n) })
	if err != nil {
		return err
	}
	defer d.Close()
	if x.seen == nil {
		x.seen = d.before
	} else if !sameFile(x.seen, d.before) {
		return fmt.Errorf("%s changed after it was verified: restore it when it is complete", x.request.File)
	}
	return f(awaitedReader{&wholeReader{file: d}, &x.life})
}

// wholeReader has the end of a file seen only when the file did not change meanwhile.
type wholeReader struct {
	file *dumpFile
	end  error // what the end was
}

func (r *wholeReader) Read(p []byte) (int, error) {
	if r.end != nil {
		return 0, r.end
	}
	n, err := r.file.Read(p)
	if errors.Is(err, io.EOF) {
		err = io.EOF
		if fault := r.file.finish(); fault != nil {
			err = fault
		}
	}
	r.end = err
	return n, err
}
