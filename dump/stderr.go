package dump

import (
	"bytes"
	"log/slog"
	"strings"
)

const (
	tailSize    = 4 << 10 // of a program's standard error, kept beside the error
	maxLogLines = 200     // of it, that go into the log
	maxLogLine  = 1 << 10 // bytes
)

// stderrTail takes a program's standard error, however long: its lines go to the log, up to a number, and its last
// bytes are kept.
type stderrTail struct {
	log     *slog.Logger
	program string
	tail    []byte // at most twice tailSize
	line    []byte // the beginning of a line whose end has not come
	lines   int
}

func (s *stderrTail) Write(p []byte) (int, error) {
	s.tail = append(s.tail, p[max(0, len(p)-tailSize):]...)
	s.tail = s.tail[max(0, len(s.tail)-tailSize):]
	for rest := p; len(rest) > 0; {
		line, after, whole := bytes.Cut(rest, []byte("\n"))
		s.line = append(s.line, line[:min(len(line), maxLogLine-len(s.line))]...)
		if whole {
			s.flush()
		}
		rest = after
	}
	return len(p), nil
}

// flush logs the line that is complete.
func (s *stderrTail) flush() {
	text := clean(s.line)
	s.line = s.line[:0]
	if text == "" {
		return
	}
	s.lines++
	switch {
	case s.lines < maxLogLines:
		s.log.Info(text, "program", s.program)
	case s.lines == maxLogLines:
		s.log.Warn("the program says more than is logged here", "program", s.program)
	}
}

// last gives the lines of the kept end of it. To be called when nothing more comes.
func (s *stderrTail) last() string {
	if len(s.line) > 0 {
		s.flush()
	}
	var lines []string
	for line := range strings.Lines(string(s.tail)) {
		if line = clean([]byte(line)); line != "" {
			lines = append(lines, line)
		}
	}
	return strings.Join(lines, "\n")
}

func clean(line []byte) string {
	printable := func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}
	return strings.TrimSpace(strings.Map(printable, strings.ToValidUTF8(string(line), "?")))
}
