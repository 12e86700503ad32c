package backup

import (
	"log/slog"
	"slices"
	"sync"
	"time"
	"unicode/utf8"
)

// The bounds of a run's log.
const (
	logLines  = 500
	logLength = 4 << 10 // bytes of a line
)

// runLog keeps the last lines of a run.
type runLog struct {
	mu    sync.Mutex
	lines []LogLine
}

func (l *runLog) add(line LogLine) {
	if len(line.Text) > logLength {
		cut := logLength
		for !utf8.RuneStart(line.Text[cut]) {
			cut--
		}
		line.Text = line.Text[:cut] + " …"
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.lines) == logLines {
		l.lines = append(l.lines[:0], l.lines[1:]...)
	}
	l.lines = append(l.lines, line)
}

func (l *runLog) all() []LogLine {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.lines)
}

// serverLog is the server's log, with what names the run.
func (r *runner) serverLog(run Run) *slog.Logger {
	log := r.service.log.logger().With("run", run.ID, "kind", string(run.Kind), "repository", run.Repository)
	if run.Job != "" {
		log = log.With("job", run.Job)
	}
	return log
}

// bothLogs writes into the run's log, and passes on to the server's. What that has from With stands there only: it is for
// machines.
func (r *runner) bothLogs(server *slog.Logger) *slog.Logger {
	return slog.New(&runHandler{lines: &r.lines, next: server.Handler()})
}

// tell logs how a run ended.
func (r *runner) tell(run Run) {
	serverLog, p := r.serverLog(run).With("state", string(run.State)), run.Progress
	if run.Kind == KindBackup || run.Kind == KindImport {
		serverLog = serverLog.With("bytes_read", p.Bytes, "bytes_new", p.New, "bytes_stored", p.Stored)
	} else {
		serverLog = serverLog.With("bytes", p.Bytes)
	}
	if run.Snapshot != "" {
		serverLog = serverLog.With("snapshot", run.Snapshot[:min(8, len(run.Snapshot))])
	}
	log, took := r.bothLogs(serverLog), run.Ended.Sub(run.Created).Round(time.Millisecond)
	switch run.State {
	case StateOK:
		log.Info(string(run.Kind)+" ended well", "took", took, "summary", run.Summary)
	case StateSuspect:
		log.Error(string(run.Kind)+" is suspect", "took", took, "error", run.Error)
	case StateFailed:
		log.Error(string(run.Kind)+" failed", "took", took, "error", run.Error)
	default:
		log.Warn(string(run.Kind)+" was "+string(run.State), "took", took, "error", run.Error)
	}
}
