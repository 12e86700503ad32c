package backup

import (
	"bytes"
	"context"
	"encoding/hex"
	"fmt"
	"time"

	"github.com/dustin/go-humanize"
)

// examineServer looks at what all runs need of this machine: the clock, Caddy's storage, and room in the data directory.
func (s *Service) examineServer(ctx context.Context, c *setup) []Diagnosis {
	found := []Diagnosis{s.examineClock(), s.examineStore(ctx, c)}
	if c.DataDir != "" {
		found = append(found, examineDataDir(c.DataDir))
	}
	return found
}

// examineClock compares the clock with the times of the runs that it made: one that was set back makes snapshots look
// older than they are.
func (s *Service) examineClock() Diagnosis {
	now := s.now()
	for _, r := range s.allRuns() {
		if ahead := r.Created.Sub(now); ahead > maxSkew {
			return wrong(fmt.Errorf("the clock shows %s, and run %s was started at %s: set the clock (timedatectl set-ntp true), or wait",
				now.UTC().Format(time.RFC3339), r.ID, r.Created.UTC().Format(time.RFC3339)))
		}
	}
	return well("clock %s", now.UTC().Format(time.RFC3339))
}

// examineStore keeps a small value where the history of runs is kept, reads it back and deletes it.
func (s *Service) examineStore(ctx context.Context, c *setup) Diagnosis {
	if _, none := c.Store.(noStore); none {
		return note("there is no place for the history of runs: it is forgotten at the end")
	}
	key := "backup/doctor-" + hex.EncodeToString(randomBytes(8))
	value := randomBytes(64)
	err := c.Store.Store(ctx, key, value)
	if err == nil {
		var back []byte
		if back, err = c.Store.Load(ctx, key); err == nil && !bytes.Equal(back, value) {
			err = errNotAsWritten
		}
	}
	late, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanTime)
	defer cancel()
	if gone := c.Store.Delete(late, key); err == nil {
		err = gone
	}
	if err != nil {
		return wrong(fmt.Errorf("the storage of Caddy, where the history of runs is kept, cannot be used: %w; "+
			"let the user that Caddy runs as write there, or mend the global option storage", err))
	}
	return well("Caddy's storage works")
}

// scarceData is how much room there should be for locks, marks and small files, in bytes.
const scarceData = 100 << 20

func examineDataDir(dir string) Diagnosis {
	free, known := FreeSpace(dir)
	switch text := humanize.IBytes(uint64(max(free, 0))); {
	case !known:
		return note("how much space is left at %s is not known", dir)
	case free < scarceData/10:
		return wrong(fmt.Errorf("%s are free at %s, where runs keep what they remember: make room (df -h %s)", text, dir, dir))
	case free < scarceData:
		return warning("%s are free at %s, where runs keep what they remember: make room (df -h %s)", text, dir, dir)
	}
	return well("room for its own files")
}

// ClockApart is what an examination says of another clock, that of a storage or a server; nil when it goes as ours does.
func ClockApart(whose string, theirs, ours time.Time) *Diagnosis {
	apart := theirs.Sub(ours)
	if apart.Abs() <= maxSkew {
		return nil
	}
	way := "ahead of"
	if apart < 0 {
		way = "behind"
	}
	d := warning("the clock of %s is %s %s ours (%s there, %s here): set the one that is wrong (timedatectl set-ntp true)",
		whose, apart.Abs().Round(time.Second), way, theirs.UTC().Format(time.RFC3339), ours.UTC().Format(time.RFC3339))
	return &d
}
