package backup

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/dustin/go-humanize"

	"github.com/caddy-backup/caddy-backup/repo"
)

// ImportRequest asks for snapshots of dumps that exist already as files of this machine, one for each.
type ImportRequest struct {
	Job        string   `json:"job"`
	Part       string   `json:"part"`                  // of which part of the job they are: "db.dump"
	Files      []string `json:"files"`                 // absolute paths, or patterns as for a shell
	TimeFormat string   `json:"time_format,omitempty"` // of their names, as for date(1); "mtime"; empty: the common shapes, else mtime
	DryRun     bool     `json:"dry_run,omitempty"`     // only say what would be done
}

// Import starts an import and returns at once. Each file that is whole becomes a snapshot of the job, of the time at
// which the dump was made, also when others fail; one that was imported before is left out. What became of each is in the
// run's Findings. ErrInvalid, ErrNotFound; ErrConflict (with the running run) while files of this job are imported.
func (s *Service) Import(ctx context.Context, by string, q ImportRequest) (Run, error) {
	c, v, job, err := s.jobVault(q.Job)
	if err != nil {
		return Run{}, err
	}
	times, err := q.check()
	if err != nil {
		return Run{}, err
	}
	clash := func(r Run) bool { return r.Kind == KindImport && r.Job == q.Job }
	run, err := s.start(c, by, Run{Kind: KindImport, Job: q.Job, Repository: v.name, DryRun: q.DryRun}, clash, func(ctx context.Context, r *runner) error {
		return (&importRun{runner: r, vault: v, job: job, request: q, times: times}).do(ctx)
	})
	if err == nil {
		s.audit(by, "import asked for", "job", q.Job, "part", q.Part, "files", len(q.Files), "dry_run", q.DryRun, "run", run.ID)
	}
	return run, err
}

func (q ImportRequest) check() (timeReader, error) {
	if len(q.Files) == 0 {
		return nil, fmt.Errorf("%w: no file is named", ErrInvalid)
	}
	for _, f := range q.Files {
		if !filepath.IsAbs(f) {
			return nil, fmt.Errorf("%w: %q is not an absolute path", ErrInvalid, f)
		}
	}
	return newTimeReader(q.TimeFormat)
}

// importRun makes a snapshot of each file. Each is a small backup of its own, with its own turn at the gate and its own
// lock, so that the backups of the night get in between; after a crash whole snapshots are there, or none.
type importRun struct {
	*runner
	vault   *vault
	job     Job
	request ImportRequest
	times   timeReader
	part    sourcePart

	read     atomic.Int64 // bytes of the file that is being read
	total    Progress     // of those before it; under runner.mu
	current  *backupRun   // nil between files; under runner.mu
	findings []Finding
	made     int
	there    int // were imported before
	failed   []error
}

func (x *importRun) do(ctx context.Context) error {
	ctx, stop := x.begin(ctx, DefaultTimeout)
	defer stop()
	ctx, rest := x.watched(ctx, x.job.Stall)
	defer rest()
	if err := x.findPart(ctx); err != nil {
		return because(ctx, err)
	}
	files := x.plan(expand(x.request.Files))
	x.setProgress(x.count)
	for _, f := range files {
		x.setStep("importing " + f.path)
		x.read.Store(0)
		err := because(ctx, x.one(ctx, f))
		x.finished(f)
		if _, ofFile := errors.AsType[*fileError](err); ofFile && ctx.Err() == nil {
			x.fail(f.path, err)
		} else if err != nil {
			x.tellFindings()
			return fmt.Errorf("at %s, after %s: %w", f.path, x.sum(), err)
		}
	}
	return x.judge()
}

// findPart finds out which source the dumps are of.
func (x *importRun) findPart(ctx context.Context) error {
	parts, err := (&backupRun{runner: x.runner, vault: x.vault, job: x.job}).parts(ctx)
	if err != nil {
		return err
	}
	var names []string
	for _, p := range parts {
		if p.Name == x.request.Part && p.Folder {
			return fmt.Errorf("%w: %s is a folder; only parts that are one file can be imported", ErrInvalid, p.Name)
		}
		if p.Name == x.request.Part {
			x.part = p
			return nil
		}
		names = append(names, p.Name)
	}
	return fmt.Errorf("%w: job %s has no part %q; %s", ErrInvalid, x.job.Name, x.request.Part, meant(x.request.Part, "parts", names))
}

// importFile is a file that is going to be imported.
type importFile struct {
	path string
	size int64 // as it lies there, in bytes
	time dumpTime
}

// plan finds out when each dump was made, and puts the oldest first: then an import that was interrupted has its newest
// ones left, and each finds what is like it in the one before.
func (x *importRun) plan(paths []string) []importFile {
	var files []importFile
	for _, path := range paths {
		f := importFile{path: path}
		info, err := statDump(path)
		if err == nil {
			f.size = info.Size()
			f.time, err = x.times.timeOf(path, x.request.TimeFormat, info.ModTime(), x.job.Zone)
		}
		if err == nil && f.time.at.After(x.service.now()) {
			err = fmt.Errorf("by %s it is of %s, which is yet to come: say with a time format what its name means, or take the time "+
				"at which the file was changed with the format %s", f.time.from, stamp(f.time.at), timeFromFile)
		}
		if err != nil {
			x.fail(path, err)
			continue
		}
		x.total.Total += f.size
		files = append(files, f)
	}
	slices.SortStableFunc(files, func(a, b importFile) int {
		return cmp.Or(a.time.at.Compare(b.time.at), strings.Compare(a.path, b.path))
	})
	return files
}

// expand makes paths of patterns, each once, in their order. What is no pattern and what nothing matches stays as it is:
// reading it will say what is wrong. As in a shell, a leading * passes over hidden files.
func expand(patterns []string) (paths []string) {
	for _, pattern := range patterns {
		matches, err := filepath.Glob(pattern)
		if !strings.HasPrefix(filepath.Base(pattern), ".") {
			matches = slices.DeleteFunc(matches, func(p string) bool { return strings.HasPrefix(filepath.Base(p), ".") })
		}
		if err != nil || len(matches) == 0 {
			matches = []string{filepath.Clean(pattern)}
		}
		for _, p := range matches {
			if !slices.Contains(paths, p) {
				paths = append(paths, p)
			}
		}
	}
	return paths
}

// stamp is a time as people read it, with its zone.
func stamp(t time.Time) string { return t.Format("2006-01-02 15:04:05 -0700") }

// fileError is an error that is about one file of an import: the others go on.
type fileError struct{ error }

func (e *fileError) Unwrap() error { return e.error }

// ofFile marks an error.
func ofFile(err error) error {
	if err == nil {
		return nil
	}
	return &fileError{err}
}

// fail notes a file that is not imported.
func (x *importRun) fail(path string, err error) {
	x.failed = append(x.failed, fmt.Errorf("%s: %w", path, err))
	x.findings = append(x.findings, Finding{File: path, Error: true, Text: "not imported: " + err.Error()})
	x.log.Error("not imported", "file", path, "error", err)
}

// note says what became of a file.
func (x *importRun) note(f importFile, format string, args ...any) {
	text := fmt.Sprintf("of %s, by %s: ", stamp(f.time.at), f.time.from) + fmt.Sprintf(format, args...)
	x.findings = append(x.findings, Finding{File: f.path, Text: text})
	x.log.Info(f.path + " " + text)
}

// begun and finished keep the progress up to date.
func (x *importRun) begun(b *backupRun) {
	x.update(func(*Run) { x.current = b })
}

func (x *importRun) finished(f importFile) {
	x.update(func(*Run) {
		if x.current != nil {
			now := x.current.count()
			x.total.New, x.total.Stored = x.total.New+now.New, x.total.Stored+now.Stored
		}
		x.current = nil
		x.total.Bytes += f.size
		x.total.Files++
		x.read.Store(0)
	})
}

// count is called under runner.mu.
func (x *importRun) count() Progress {
	p := x.total
	p.Bytes += x.read.Load()
	if x.current != nil {
		now := x.current.count()
		p.New, p.Stored = p.New+now.New, p.Stored+now.Stored
	}
	return p
}

// sum says in words how far it came.
func (x *importRun) sum() string {
	made := were(x.made, "file") + " imported"
	if x.request.DryRun {
		made = plural(x.made, "file") + " would be imported"
	}
	if x.there > 0 {
		made += fmt.Sprintf(", %d had been before", x.there)
	}
	return made
}

// judge is green only when every file is there now.
func (x *importRun) judge() error {
	x.tellFindings()
	x.update(func(run *Run) {
		run.Summary = x.sum()
		if !x.request.DryRun {
			run.Summary += ": " + humanize.IBytes(uint64(x.total.New)) + " new"
		}
	})
	if len(x.failed) == 0 {
		return nil
	}
	return fmt.Errorf("%s not imported, the first: %w; %s", were(len(x.failed), "file"), x.failed[0], x.sum())
}

func (x *importRun) tellFindings() {
	x.update(func(run *Run) { run.Findings = x.findings[:min(len(x.findings), maxFindings)] })
}

// imported finds the snapshot of this job that holds the same dump of the same time. The file is read for that only when
// there is one of that time.
func (x *importRun) imported(ctx context.Context, r *repo.Repository, f importFile) (*repo.Snapshot, error) {
	all, err := r.Snapshots(ctx)
	if err != nil && !errors.Is(err, repo.ErrDamaged) {
		return nil, err
	}
	sum := ""
	for _, s := range all {
		if jobOf(s) != x.job.Name || s.Hostname != x.setup.Host || !s.Time.Equal(f.time.at) {
			continue
		}
		m, err := loadManifest(ctx, r, s)
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		p := m.part(x.part.Name)
		if err != nil || p == nil {
			continue // it may be another
		}
		if sum == "" {
			if sum, err = x.hash(ctx, f); err != nil {
				return nil, err
			}
		}
		if p.SHA256 == sum {
			return &s, nil
		}
	}
	return nil, nil
}
