package backup

import (
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/dustin/go-humanize"

	"github.com/caddy-backup/caddy-backup/repo"
)

// maxFindings bounds what a run tells; the number of all is in its error.
const maxFindings = 1000

// checkRun checks a repository, under a shared lock: backups may go on beside it.
type checkRun struct {
	repositoryRun
	subset      subset // of the data, when they are read
	acceptFewer bool
}

// do checks. Another repository than before is opened only when it is accepted as well; what is remembered of the old one goes.
func (c checkRun) do(ctx context.Context) error {
	err := c.examine(ctx)
	if c.acceptFewer && errors.Is(err, errAnother) {
		c.log.Warn("the repository is another one than before, and accepted as it is")
		c.vault.forgetAll(ctx, c.setup)
		err = c.examine(ctx)
	}
	return err
}

func (c checkRun) examine(ctx context.Context) error {
	return c.locked(ctx, false, func(ctx context.Context, r *repo.Repository, _ *repo.Lock) error {
		if _, err := c.vault.look(ctx, c.runner, r, c.acceptFewer); err != nil {
			c.log.Warn("cannot tell whether anything was removed from the repository", "error", err)
		}
		c.vault.distrust(ctx, c.setup, r)
		reads, again := c.vault.loadReads(ctx, c.setup, r), append(r.Distrusted(), c.standing()...)
		report, err := r.Check(ctx, c.options(func(packs []repo.PackInfo) []repo.ID {
			return append(c.subset.choose(packs, reads), again...)
		}))
		if err != nil {
			return err
		}
		c.leavesPacks(report.PackBytes)
		c.vault.checked(ctx, c.setup, r, report)
		if c.run.ReadData {
			reads.update(report, c.service.now())
			c.vault.saveReads(ctx, c.setup, reads)
		}
		return c.judge(report, reads)
	})
}

// standing are the packs that the failed check found damaged which says how the repository is. To disprove it, a check of
// a part of the data must read them again. One with more findings than a run tells takes a check of everything.
func (c checkRun) standing() []repo.ID {
	failed := verdict(c.service.allRuns(), c.vault.name)
	if failed == nil || failed.State != StateFailed {
		c.update(func(run *Run) { run.ReadAgain = true })
		return nil
	}
	var packs []repo.ID
	for _, f := range failed.Findings {
		if id, err := repo.ParseID(path.Base(f.File)); err == nil && f.Error {
			packs = append(packs, id)
		}
	}
	c.update(func(run *Run) { run.ReadAgain = len(failed.Findings) < maxFindings })
	return packs
}

func (c checkRun) options(choose func([]repo.PackInfo) []repo.ID) repo.CheckOptions {
	var now atomic.Pointer[repo.CheckProgress]
	now.Store(&repo.CheckProgress{})
	c.setProgress(func() Progress {
		p := now.Load()
		return Progress{Files: int64(p.PacksDone), Bytes: p.BytesRead, Total: p.BytesTotal}
	})
	c.setStep("checking")
	return repo.CheckOptions{ReadData: c.run.ReadData, Choose: choose, Progress: func(p repo.CheckProgress) { now.Store(&p) }}
}

// summary says what a check that is ok has proven.
func (c checkRun) summary(report *repo.CheckReport, reads *reads) string {
	proven := "the structure is whole; the data were not read"
	switch {
	case c.run.ReadData && len(report.Whole) == len(report.Listed):
		proven = "every byte was verified"
	case c.run.ReadData:
		proven = fmt.Sprintf("%s of the data was verified (%s)", share(float64(report.BytesRead)/float64(report.Bytes)),
			humanize.IBytes(uint64(report.BytesRead)))
		switch all, since := reads.proven(report.Listed); {
		case all == 1:
			proven += ", all data at least once since " + since.In(c.setup.Zone).Format("2006-01-02")
		default:
			proven += ", " + share(all) + " so far"
		}
	}
	return fmt.Sprintf("%s: %s, %s", proven, plural(report.Snapshots, "snapshot"), humanize.IBytes(uint64(report.Bytes)))
}

// judge is green only when no problem is an error.
func (c checkRun) judge(report *repo.CheckReport, reads *reads) error {
	findings := make([]Finding, min(len(report.Problems), maxFindings))
	for i := range findings {
		p := report.Problems[i]
		findings[i] = Finding{File: p.File, Error: p.Error, Text: p.Text}
	}
	c.update(func(run *Run) { run.Findings, run.Summary = findings, c.summary(report, reads) })
	c.log.Info("checked", "snapshots", report.Snapshots, "packs", report.Packs, "blobs", report.Blobs, "bytes", report.Bytes,
		"bytes_read", report.BytesRead, "errors", report.Errors(), "notes", len(report.Problems)-report.Errors())
	for _, p := range report.Problems {
		if p.Error {
			return fmt.Errorf("%s found, the first: %s; repair the index, and then the snapshots: %s, then %s",
				were(report.Errors(), "error"), strings.TrimSpace(p.File+" "+strings.ReplaceAll(p.Text, "\n", "; ")),
				c.vault.command("repair index"), c.vault.command("repair snapshots"))
		}
	}
	return nil
}

// CheckRequest asks for a check of a repository.
type CheckRequest struct {
	Repository string `json:"repository"` // default "default", or the only one
	ReadData   bool   `json:"read_data"`
	Subset     string `json:"read_data_subset,omitempty"` // read this much of the data: "5%", "2/10", "500MiB"
	// AcceptFewer takes what is there now for right, whatever others removed, or added to the keys, since the last run, and though it
	// is another repository than before.
	AcceptFewer bool `json:"accept_fewer"`
}

// Check starts a check and returns at once. ErrInvalid; ErrConflict (with the running run) when this repository is being
// checked.
func (s *Service) Check(ctx context.Context, by string, q CheckRequest) (Run, error) {
	return s.check(by, q, time.Time{})
}

func (s *Service) check(by string, q CheckRequest, slot time.Time) (Run, error) {
	part, err := parseSubset(q.Subset)
	if err != nil {
		return Run{}, err
	}
	c, v, err := s.vault(q.Repository)
	if err != nil {
		return Run{}, err
	}
	clash := func(r Run) bool { return r.Kind == KindCheck && r.Repository == v.name }
	run := Run{Kind: KindCheck, Repository: v.name, ReadData: q.ReadData || q.Subset != "", Scheduled: slot}
	if !q.ReadData { // who wants all wants all
		run.Subset = q.Subset
	}
	run, err = s.start(c, by, run, clash, func(ctx context.Context, r *runner) error {
		return checkRun{repositoryRun{r, v}, part, q.AcceptFewer}.do(ctx)
	})
	if err == nil {
		s.audit(by, "check asked for", "repository", v.name, "read_data", run.ReadData, "read_data_subset", run.Subset, "accept_fewer", q.AcceptFewer, "run", run.ID)
	}
	return run, err
}

// checked remembers the packs that a check found damaged, together with those of earlier checks that are still there and
// were not found whole now.
func (v *vault) checked(ctx context.Context, c *setup, r *repo.Repository, report *repo.CheckReport) {
	m, err := v.remembered(ctx, c)
	before := m.Damaged
	if err != nil || m.ID != r.Config().ID || v.unsaved.Load() {
		before = r.Distrusted()
	}
	there := map[repo.ID]bool{}
	for _, p := range report.Listed {
		there[p.ID] = true
	}
	for _, id := range report.Orphan {
		there[id] = true
	}
	for _, id := range slices.Concat(report.Whole, report.DamagedPacks) {
		delete(there, id)
	}
	damaged := slices.Clone(report.DamagedPacks)
	for _, id := range before {
		if there[id] {
			damaged = append(damaged, id)
		}
	}
	r.Distrust(damaged)
	if err != nil {
		v.base.Logger.Warn("cannot tell which packs earlier checks found damaged", "error", err)
		v.unsaved.Store(true)
		return
	}
	v.unsaved.Store(v.remember(ctx, c, r.Config().ID, func(m *memory) { m.Damaged = damaged }) != nil)
}
