package caddybackup

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"unicode/utf8"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/caddy-backup/caddy-backup/backup"
)

func doctorCommand() *cobra.Command {
	var q backup.DoctorRequest
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Looks at everything that the next run will need",
		Long: `Looks at everything that the next run will need: the clock; whether each repository opens, can be written to and has
room, and what is in the way; whether each source can be reached and read, with programs as new as it needs; how the
jobs went; whether each notifier can be reached and logged in to. In each repository a small file is written, read and
deleted. Nobody is told anything, but with --send-test: then each notifier brings one notification that says that it is
a test.

What does not answer is given up after 20 seconds.

Exit codes: 0 nothing would fail, though there may be warnings; 1 something would fail tonight.`,
		Args: cobra.NoArgs,
		RunE: action(func(ctx context.Context, s *session, _ []string) error {
			x, err := s.Doctor(ctx, q)
			if err != nil {
				return err
			}
			if s.json {
				err = s.printJSON(x)
			} else {
				err = s.printExamination(x)
			}
			return errors.Join(err, judged(x))
		}),
	}
	cmd.Flags().BoolVar(&q.SendTest, "send-test", false, "Send a test notification through each notifier")
	return cmd
}

var marks = map[backup.Level]string{
	backup.LevelOK: "ok", backup.LevelNote: "note", backup.LevelWarning: "WARNING", backup.LevelError: "ERROR",
}

// colours are those of a terminal: green, cyan, yellow, red.
var colours = map[backup.Level]string{
	backup.LevelOK: "\x1b[32m", backup.LevelNote: "\x1b[36m", backup.LevelWarning: "\x1b[33m", backup.LevelError: "\x1b[31m",
}

// screen is where an examination is printed.
type screen struct {
	io.Writer
	width  int // of a terminal; 0: lines are not cut
	colour bool
}

// screenOf finds out whether w is a terminal.
func screenOf(w io.Writer) screen {
	f, ok := w.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return screen{Writer: w}
	}
	width, _, err := term.GetSize(int(f.Fd()))
	if err != nil {
		width = 0
	}
	return screen{w, width, os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"}
}

func (s *session) printExamination(x backup.Examination) error {
	return screenOf(s.out).print(x)
}

// print has one line for each thing that was looked at, and below it what is not well.
func (s screen) print(x backup.Examination) error {
	groups := grouped(x.Diagnoses)
	width := 0
	for _, g := range groups {
		width = max(width, utf8.RuneCountInString(g.about))
	}
	var b strings.Builder
	for _, g := range groups {
		fmt.Fprintf(&b, "%s  %s\n", s.mark(g.level, 7), s.cut(9, fmt.Sprintf("%-*s  %s", width, printable(g.about), printable(strings.Join(g.well, "; ")))))
		for _, d := range g.rest {
			fmt.Fprintf(&b, "         %s: %s\n", s.mark(d.Level, 0), printable(d.Text))
		}
	}
	if x.Level != backup.LevelError {
		fmt.Fprintf(&b, "\nnothing would fail tonight%s\n", counted(x))
	}
	_, err := io.WriteString(s, b.String())
	return err
}

// mark is the word for a level, as wide as is wanted.
func (s screen) mark(level backup.Level, width int) string {
	text := fmt.Sprintf("%-*s", width, marks[level])
	if !s.colour {
		return text
	}
	return colours[level] + text + "\x1b[0m"
}

// cut shortens a line that begins in some column to what the terminal shows of it: what is well needs no second line.
func (s screen) cut(column int, line string) string {
	line = strings.TrimRight(line, " ")
	if room := s.width - column; s.width > 0 && utf8.RuneCountInString(line) > max(room, 20) {
		return string([]rune(line)[:max(room, 20)-1]) + "…"
	}
	return line
}

// group is what was found about one thing.
type group struct {
	about string
	level backup.Level // the worst
	well  []string
	rest  []backup.Diagnosis
}

func grouped(list []backup.Diagnosis) (groups []group) {
	for _, d := range list {
		if len(groups) == 0 || groups[len(groups)-1].about != d.About {
			groups = append(groups, group{about: d.About, level: backup.LevelOK})
		}
		g := &groups[len(groups)-1]
		if d.Level == backup.LevelOK {
			g.well = append(g.well, d.Text)
			continue
		}
		g.rest = append(g.rest, d)
		g.level = backup.Worst(g.rest)
	}
	return groups
}

// counted says how many warnings there are.
func counted(x backup.Examination) string {
	warnings := 0
	for _, d := range x.Diagnoses {
		if d.Level == backup.LevelWarning {
			warnings++
		}
	}
	switch warnings {
	case 0:
		return ""
	case 1:
		return "; 1 warning"
	}
	return fmt.Sprintf("; %d warnings", warnings)
}

// judged is the exit code of an examination.
func judged(x backup.Examination) error {
	failing := 0
	for _, d := range x.Diagnoses {
		if d.Level == backup.LevelError {
			failing++
		}
	}
	if failing == 0 {
		return nil
	}
	return fmt.Errorf("something would fail tonight: %d of %d findings are errors%s", failing, len(x.Diagnoses), counted(x))
}
