package backup

import (
	"context"
	"fmt"
	"log/slog"
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

// DoctorRequest says what an examination does beside looking.
type DoctorRequest struct {
	// SendTest has each notifier bring one notification, which says that it is a test.
	SendTest bool `json:"send_test,omitempty"`
}

// Examiner is what a Source, a Storage or a Notifier can be, too: it looks at what a run will need of it, without doing any
// of it. What it cannot find out it says in a note. About is filled in by the caller.
type Examiner interface {
	Examine(ctx context.Context, t *Task) []Diagnosis
}

const (
	// examineTime bounds each part of an examination: a disk or a server that does not answer is a finding.
	examineTime = 20 * time.Second
	// examineLate is how much later than that a part may still say what it was that did not answer.
	examineLate = time.Second
)

// maxSkew is how far into the future a time may lie before somebody's clock is wrong.
const maxSkew = 5 * time.Minute

// examined is a part of an examination.
type examined struct {
	about string
	look  func(context.Context) []Diagnosis
}

// Doctor looks at everything that the next runs will need: the server itself; each repository, with a small file that is
// written, read and deleted there; each job and the sources of those that are on; each notifier. Nothing else is changed, and
// nobody is told anything, unless the request says so. It takes no longer than the slowest part may.
func (s *Service) Doctor(ctx context.Context, by string, q DoctorRequest) (Examination, error) {
	c, err := s.current()
	if err != nil {
		return Examination{}, err
	}
	s.audit(by, "examination asked for", "send_test", q.SendTest)
	parts := s.toExamine(c, by, q)
	found := make([][]Diagnosis, len(parts))
	var wg sync.WaitGroup
	for i, p := range parts {
		wg.Go(func() { found[i] = s.patiently(ctx, p) })
	}
	wg.Wait()
	x := Examination{At: s.now().UTC(), Diagnoses: slices.Concat(found...)}
	x.Level = Worst(x.Diagnoses)
	return x, nil
}

// toExamine lists the parts in the order in which they are shown. Parts about the same thing follow each other.
func (s *Service) toExamine(c *setup, by string, q DoctorRequest) (parts []examined) {
	add := func(about string, look func(context.Context) []Diagnosis) {
		parts = append(parts, examined{about, look})
	}
	add("server", func(ctx context.Context) []Diagnosis { return s.examineServer(ctx, c) })
	for _, r := range c.Repositories {
		add("repository "+r.Name, func(ctx context.Context) []Diagnosis { return s.examineRepository(ctx, c, r) })
	}
	for _, j := range c.Jobs {
		add("job "+j.Name, func(context.Context) []Diagnosis { return s.examineJob(c, j) })
		if j.Off {
			continue
		}
		for i, h := range slices.Concat(j.Before, j.After) {
			when := "before"
			if i >= len(j.Before) {
				when = "after"
			}
			add("job "+j.Name+", "+when+" "+h.Title(), func(ctx context.Context) []Diagnosis { return s.examineHook(ctx, h) })
		}
		for _, source := range j.Sources {
			add("job "+j.Name+", source "+source.Name, func(ctx context.Context) []Diagnosis { return s.examineSource(ctx, source) })
		}
	}
	for _, n := range c.Notifiers {
		add("notifier "+n.Name, func(ctx context.Context) []Diagnosis { return s.examineNotifier(ctx, c, n, by, q.SendTest) })
	}
	return parts
}

// Worst is the level of the worst of a list; LevelOK for an empty one.
func Worst(list []Diagnosis) Level {
	level := 0
	for _, d := range list {
		level = max(level, slices.Index(levels, d.Level))
	}
	return levels[level]
}

// patiently waits for a part of an examination, but not for ever, whatever that does; what it is about is filled in.
func (s *Service) patiently(ctx context.Context, p examined) []Diagnosis {
	silent := fmt.Errorf("there was no answer within %s: what it reaches for hangs, or is out of reach", examineTime)
	ctx, cancel := context.WithTimeoutCause(ctx, examineTime, silent)
	defer cancel()
	answer := make(chan []Diagnosis, 1)
	go func() {
		var list []Diagnosis
		err := func() (err error) {
			defer recoverInto(&err, s.log.logger())
			list = p.look(ctx)
			return nil
		}()
		if err != nil {
			list = append(list, wrong(err))
		}
		answer <- list
	}()
	list := awaited(ctx, answer)
	for i := range list {
		list[i].About = p.about
	}
	return list
}

// awaited is the answer; one that comes a little late still says more than that there was none.
func awaited(ctx context.Context, answer <-chan []Diagnosis) []Diagnosis {
	select {
	case list := <-answer:
		return list
	case <-ctx.Done():
	}
	late := time.NewTimer(examineLate)
	defer late.Stop()
	select {
	case list := <-answer:
		return list
	case <-late.C:
		return []Diagnosis{wrong(context.Cause(ctx))}
	}
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

// examining is a Task for an Examiner. What programs say is not kept: it may hold anything, and no run needs it.
func (s *Service) examining() *Task {
	return &Task{Log: slog.New(slog.DiscardHandler), Journal: s.journal}
}
