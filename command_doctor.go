package caddybackup

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/caddy-backup/caddy-backup/backup"
)

func doctorCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "doctor",
		Short: "Looks at everything that the next run will need",
		Long: `Looks at everything that the next run will need: whether each repository opens, can be written to and has room, what is
in the way, whether each source can be reached and read, with programs as new as it needs. In each repository a small
file is written, read and deleted.

Exit codes: 0 all is well; 1 a run would fail; 3 there are warnings.`,
		Args: cobra.NoArgs,
		RunE: action(func(ctx context.Context, s *session, _ []string) error {
			x, err := s.Doctor(ctx)
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
}

var marks = map[backup.Level]string{
	backup.LevelOK: "ok", backup.LevelNote: "note", backup.LevelWarning: "WARNING", backup.LevelError: "ERROR",
}

func (s *session) printExamination(x backup.Examination) error {
	about := ""
	for _, d := range x.Diagnoses {
		if d.About != about {
			about = d.About
			if _, err := fmt.Fprintln(s.out, printable(about)); err != nil {
				return err
			}
		}
		if _, err := fmt.Fprintf(s.out, "  %-7s  %s\n", marks[d.Level], printable(d.Text)); err != nil {
			return err
		}
	}
	return nil
}

// judged is the exit code of an examination.
func judged(x backup.Examination) error {
	count := map[backup.Level]int{}
	for _, d := range x.Diagnoses {
		count[d.Level]++
	}
	switch x.Level {
	case backup.LevelError:
		return fmt.Errorf("a run would fail: %d of %d findings are errors", count[backup.LevelError], len(x.Diagnoses))
	case backup.LevelWarning:
		return &codeError{fmt.Errorf("nothing would fail now, but there are warnings: %d", count[backup.LevelWarning]), exitPartly}
	}
	return nil
}
