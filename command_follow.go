package caddybackup

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"

	"github.com/caddy-backup/caddy-backup/backup"
	"github.com/caddy-backup/caddy-backup/handler"
)

// How often a run is asked for: often at first, so that short ones end at once; later rarely, for each question is a
// line in the server's log. The server's admin endpoint must not be held open by a stream: it would delay its exit.
const (
	firstPoll   = 100 * time.Millisecond
	slowestPoll = 2 * time.Second
	// cancelTimeout is how long a cancelled run is waited for.
	cancelTimeout = 10 * time.Second
	// absence is how long the server may be out of reach: a reload closes its admin endpoint for a moment.
	absence = 10 * time.Second
)

// follow waits for a run to end and shows its progress. The error says why it is not ok. When ctx ends, the run is
// cancelled and its end waited for.
func (s *session) follow(ctx context.Context, run backup.Run) (backup.Run, error) {
	show := s.progress()
	defer show.end()
	poll, seen := firstPoll, time.Now()
	for !run.State.Done() {
		show.update(run)
		select {
		case <-ctx.Done():
			show.end()
			return s.cancel(run)
		case <-time.After(poll):
		}
		poll = min(poll*5/4, slowestPoll)
		now, err := s.Run(ctx, run.ID)
		if ctx.Err() != nil || unreachable(err) && time.Since(seen) < absence {
			continue
		}
		if err != nil {
			return run, fmt.Errorf("lost sight of run %s, which may go on: %w", run.ID, err)
		}
		run, seen = now, time.Now()
	}
	show.end()
	s.warnings(run)
	return run, runError(run)
}

// unreachable tells a server that did not answer from one that answered with an error.
func unreachable(err error) bool {
	var answer *handler.Error
	return err != nil && (!errors.As(err, &answer) || errors.Is(err, backup.ErrClosed))
}

// cancel ends a run on behalf of somebody who does not wait for it any more.
func (s *session) cancel(run backup.Run) (backup.Run, error) {
	ctx, stop := context.WithTimeout(context.Background(), cancelTimeout)
	defer stop()
	if err := s.Cancel(ctx, run.ID); err != nil && !errors.Is(err, backup.ErrConflict) { // ErrConflict: it has ended
		return run, &codeError{fmt.Errorf("cancelling run %s: %w", run.ID, err), exitCancelled}
	}
	for !run.State.Done() {
		now, err := s.Run(ctx, run.ID)
		if err != nil {
			return run, &codeError{fmt.Errorf("waiting for the end of run %s: %w", run.ID, err), exitCancelled}
		}
		run = now
		time.Sleep(firstPoll)
	}
	return run, &codeError{fmt.Errorf("cancelled; run %s ended as %s", run.ID, run.State), exitCancelled}
}

// warnings repeats what the run's log says that a person should know, and what a program said that failed.
func (s *session) warnings(run backup.Run) {
	for _, l := range run.Log {
		if l.Level == "WARN" {
			s.note("warning: %s", printable(l.Text))
		}
	}
	if run.Output != "" {
		for line := range strings.Lines(run.Output) {
			s.note("output: %s", printable(strings.TrimSpace(line)))
		}
	}
	if run.Seen != nil {
		for _, alarm := range run.Seen.Alarms {
			s.note("alarm: %s", printable(alarm))
		}
	}
}

// runError is nil for a green run.
func runError(run backup.Run) error {
	if run.State == backup.StateOK {
		return nil
	}
	text := run.Error
	if text == "" {
		text = string(run.State)
	}
	// The code carries over which error it was, and with it the exit code.
	err := error(&handler.Error{Code: run.Code, Message: printable(text)})
	switch run.State {
	case backup.StateCancelled:
		return &codeError{err, exitCancelled}
	case backup.StateSuspect:
		return &codeError{fmt.Errorf("snapshot %s was made and is suspect: %w", short(run.Snapshot), err), exitPartly}
	}
	return err
}

// summary says in a line what a run did.
func summary(run backup.Run) string {
	p := run.Progress
	took := run.Ended.Sub(run.Started).Round(100 * time.Millisecond)
	switch run.Kind {
	case backup.KindBackup:
		if run.Unchanged {
			return fmt.Sprintf("ok, %s read, unchanged, snapshot %s, %s", size(p.Bytes), short(run.Snapshot), took)
		}
		return fmt.Sprintf("ok, %s read, %s new (%s stored), snapshot %s, %s",
			size(p.Bytes), size(p.New), size(p.Stored), short(run.Snapshot), took)
	case backup.KindRestore:
		if run.Over != nil || run.Snapshot == "" { // or from a file
			return fmt.Sprintf("ok, %s, %s", run.Summary, took)
		}
		return fmt.Sprintf("ok, restored %s of snapshot %s, %s", size(p.Bytes), short(run.Snapshot), took)
	case backup.KindImport:
		return fmt.Sprintf("ok, %s, %s", run.Summary, took)
	}
	hint := ""
	if run.Kind == backup.KindCheck && !run.ReadData {
		hint = " (--read-data reads them)"
	}
	return fmt.Sprintf("ok, %s%s, %s", run.Summary, hint, took)
}

// progress shows how a run goes, until end, which may be called several times.
type progress interface {
	update(backup.Run)
	end()
}

// progress chooses a bar for a terminal, lines for everything else, and nothing where JSON is wanted.
func (s *session) progress() progress {
	if s.json {
		return silent{}
	}
	if f, ok := s.err.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		return &bar{s: s}
	}
	return &lines{s: s}
}

type silent struct{}

func (silent) update(backup.Run) {}
func (silent) end()              {}

// lines prints each step once.
type lines struct {
	s    *session
	last string
}

func (l *lines) update(run backup.Run) {
	if run.Step == "" || run.Step == l.last {
		return
	}
	l.last = run.Step
	l.s.note("%s: %s", label(run), printable(run.Step))
}

func (l *lines) end() {}

// bar draws a progress bar, as a spinner while the total is unknown.
type bar struct {
	s     *session
	bar   *progressbar.ProgressBar
	total int64
}

func (b *bar) update(run backup.Run) {
	total := run.Progress.Total
	if total <= 0 || total < run.Progress.Bytes {
		total = -1 // unknown, or an estimate that was too low
	}
	if b.bar == nil {
		b.total = total
		b.bar = progressbar.NewOptions64(total,
			progressbar.OptionSetWriter(b.s.err),
			progressbar.OptionShowBytes(true),
			progressbar.OptionUseIECUnits(true),
			progressbar.OptionClearOnFinish(),
			progressbar.OptionSpinnerType(14),
			progressbar.OptionFullWidth(),
			progressbar.OptionSetElapsedTime(true),
		)
	}
	if total != b.total {
		b.total = total
		b.bar.ChangeMax64(total)
	}
	text := label(run) + ": " + printable(run.Step)
	if total < 0 && run.Progress.Bytes > 0 {
		text += ", " + size(run.Progress.Bytes) // the spinner shows the speed only
	}
	b.bar.Describe(text)
	_ = b.bar.Set64(run.Progress.Bytes) // a terminal that went away is no reason to stop
}

func (b *bar) end() {
	if b.bar != nil {
		_ = b.bar.Finish() // which clears it, and ends the goroutine that turns a spinner: it would draw over what follows
		b.bar = nil
	}
}

// label is what a run is about.
func label(run backup.Run) string {
	if run.Job != "" {
		return run.Job
	}
	return string(run.Kind)
}
