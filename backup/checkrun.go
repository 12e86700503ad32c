package backup

import (
	"context"
	"fmt"
	"sync/atomic"

	"github.com/dustin/go-humanize"

	"github.com/caddy-backup/caddy-backup/repo"
)

// maxFindings bounds what a run tells; the number of all is in its error.
const maxFindings = 1000

// checkRun checks a repository, under a shared lock: backups may go on beside it.
type checkRun struct {
	repositoryRun
}

func (c checkRun) do(ctx context.Context) error {
	return c.locked(ctx, false, func(ctx context.Context, r *repo.Repository, _ *repo.Lock) error {
		report, err := r.Check(ctx, c.options())
		if err != nil {
			return err
		}
		c.vault.checked(ctx, c.setup, r, report.DamagedPacks, c.run.ReadData)
		return c.judge(report)
	})
}

func (c checkRun) options() repo.CheckOptions {
	var now atomic.Pointer[repo.CheckProgress]
	now.Store(&repo.CheckProgress{})
	c.setProgress(func() Progress {
		p := now.Load()
		return Progress{Files: int64(p.PacksDone), Bytes: p.BytesRead, Total: p.BytesTotal}
	})
	c.setStep("checking")
	return repo.CheckOptions{ReadData: c.run.ReadData, Progress: func(p repo.CheckProgress) { now.Store(&p) }}
}

// summary says what a check that is ok has proven.
func (c checkRun) summary(report *repo.CheckReport) string {
	proven := "the structure is whole; the data were not read"
	if c.run.ReadData {
		proven = "every byte was verified"
	}
	return fmt.Sprintf("%s: %s, %s", proven, plural(report.Snapshots, "snapshot"), humanize.IBytes(uint64(report.Bytes)))
}

// judge is green only when no problem is an error.
func (c checkRun) judge(report *repo.CheckReport) error {
	findings := make([]Finding, min(len(report.Problems), maxFindings))
	for i := range findings {
		p := report.Problems[i]
		findings[i] = Finding{File: p.File, Error: p.Error, Text: p.Text}
	}
	c.update(func(run *Run) { run.Findings, run.Summary = findings, c.summary(report) })
	c.log.Info("checked", "snapshots", report.Snapshots, "packs", report.Packs, "blobs", report.Blobs, "bytes", report.Bytes,
		"bytes_read", report.BytesRead, "errors", report.Errors(), "notes", len(report.Problems)-report.Errors())
	for _, p := range report.Problems {
		if p.Error {
			return fmt.Errorf("%s found, the first: %s %s", were(report.Errors(), "error"), p.File, p.Text)
		}
	}
	return nil
}
