package backup

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"
)

// Level is how bad a Diagnosis is.
type Level string

// From good to bad: a note is worth knowing, a warning will be trouble one day or may be today, an error makes the next run
// fail.
const (
	LevelOK      Level = "ok"
	LevelNote    Level = "note"
	LevelWarning Level = "warning"
	LevelError   Level = "error"
)

var levels = []Level{LevelOK, LevelNote, LevelWarning, LevelError}

// Diagnosis is one thing that an examination looked at. Its text names the place, and the way out where something is wrong.
type Diagnosis struct {
	About string `json:"about"` // "repository default", "job shop, source db", "clock"
	Level Level  `json:"level"`
	Text  string `json:"text"`
}

// Examination is what a doctor found.
type Examination struct {
	At        time.Time   `json:"at"`
	Level     Level       `json:"level"` // the worst of all
	Diagnoses []Diagnosis `json:"diagnoses"`
}

// Examiner is what a Source or a Storage can be, too: it looks at what a run will need of it, without doing any of it.
// About is filled in by the caller.
type Examiner interface {
	Examine(ctx context.Context, t *Task) []Diagnosis
}

// examineTime bounds each part of an examination: a disk or a server that does not answer is a finding.
const examineTime = 30 * time.Second

// maxSkew is how far into the future a time may lie before somebody's clock is wrong.
const maxSkew = 5 * time.Minute

// Doctor looks at everything that the next runs will need: each repository, with a small file that is written, read and
// deleted there, and the sources of each job that is on. Nothing else is changed.
func (s *Service) Doctor(ctx context.Context, by string) (Examination, error) {
	c, err := s.current()
	if err != nil {
		return Examination{}, err
	}
	s.audit(by, "examination asked for")
	type part struct {
		about string
		look  func(context.Context) []Diagnosis
	}
	parts := []part{{"clock", func(context.Context) []Diagnosis { return s.examineClock() }}}
	for _, r := range c.Repositories {
		parts = append(parts, part{"repository " + r.Name, func(ctx context.Context) []Diagnosis { return s.examineRepository(ctx, c, r) }})
	}
	for _, j := range c.Jobs {
		if j.Off {
			continue
		}
		for _, source := range j.Sources {
			parts = append(parts, part{"job " + j.Name + ", source " + source.Name, func(ctx context.Context) []Diagnosis { return s.examineSource(ctx, source) }})
		}
	}
	found := make([][]Diagnosis, len(parts))
	var wg sync.WaitGroup
	for i, p := range parts {
		wg.Go(func() { found[i] = s.patiently(ctx, p.about, p.look) })
	}
	wg.Wait()
	x := Examination{At: s.now().UTC(), Diagnoses: slices.Concat(found...)}
	x.Level = worst(x.Diagnoses)
	return x, nil
}

func worst(list []Diagnosis) Level {
	level := 0
	for _, d := range list {
		level = max(level, slices.Index(levels, d.Level))
	}
	return levels[level]
}

// patiently waits for a part of an examination, but not for ever, whatever that does; what it is about is filled in.
func (s *Service) patiently(ctx context.Context, about string, look func(context.Context) []Diagnosis) []Diagnosis {
	ctx, cancel := context.WithTimeoutCause(ctx, examineTime, fmt.Errorf("there was no answer within %s", examineTime))
	defer cancel()
	answer := make(chan []Diagnosis, 1)
	go func() {
		var list []Diagnosis
		err := func() (err error) {
			defer recoverInto(&err, s.log.logger())
			list = look(ctx)
			return nil
		}()
		if err != nil {
			list = []Diagnosis{wrong(err)}
		}
		answer <- list
	}()
	var list []Diagnosis
	select {
	case list = <-answer:
	case <-ctx.Done():
		list = []Diagnosis{wrong(context.Cause(ctx))}
	}
	for i := range list {
		list[i].About = about
	}
	return list
}

// The Diagnoses, by level.

func well(format string, args ...any) Diagnosis {
	return Diagnosis{Level: LevelOK, Text: fmt.Sprintf(format, args...)}
}

func note(format string, args ...any) Diagnosis {
	return Diagnosis{Level: LevelNote, Text: fmt.Sprintf(format, args...)}
}

func warning(format string, args ...any) Diagnosis {
	return Diagnosis{Level: LevelWarning, Text: fmt.Sprintf(format, args...)}
}

func wrong(err error) Diagnosis { return Diagnosis{Level: LevelError, Text: err.Error()} }

// examineClock compares the clock with the times of the runs that it made: one that was set back makes snapshots look
// older than they are.
func (s *Service) examineClock() []Diagnosis {
	now := s.now()
	for _, r := range s.allRuns() {
		if ahead := r.Created.Sub(now); ahead > maxSkew {
			return []Diagnosis{wrong(fmt.Errorf("it shows %s, and run %s was started at %s: set the clock, or wait",
				now.UTC().Format(time.RFC3339), r.ID, r.Created.UTC().Format(time.RFC3339)))}
		}
	}
	return []Diagnosis{well("%s", now.UTC().Format(time.RFC3339))}
}

// examineSource asks a source how it is.
func (s *Service) examineSource(ctx context.Context, source NamedSource) []Diagnosis {
	if _, err := source.Parts(ctx, source.Name); err != nil {
		return []Diagnosis{wrong(err)}
	}
	x, ok := source.Source.(Examiner)
	if !ok {
		return []Diagnosis{note("a source of the kind %s cannot be examined: the next run will show", source.Kind)}
	}
	return x.Examine(ctx, &Task{Log: s.log.logger(), Journal: s.journal})
}
