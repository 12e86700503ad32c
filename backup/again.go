package backup

import (
	"errors"
	"time"
)

// backupsAgain are the newest backups of jobs that people asked a server for, and that ended with it: whoever asked wants a backup,
// and may not look again. As those of schedules they are made again, once. Runs are newest first.
func (c *setup) backupsAgain(runs []Run) (all []Run) {
	for _, j := range c.Jobs {
		for _, r := range runs {
			if r.Kind != KindBackup || r.Job != j.Name {
				continue
			}
			if r.State == StateInterrupted && r.Again && !j.Off {
				all = append(all, r)
			}
			break
		}
	}
	return all
}

// backUpAgain starts them, and returns when to look again, if that is before wake.
func (x *scheduler) backUpAgain(c *setup, now, wake time.Time) time.Time {
	s := x.service
	for _, was := range c.backupsAgain(s.allRuns()) {
		at := x.beganBy(now).Add(settling)
		if !at.After(now) {
			run, err := s.backup(byStart, Run{Job: was.Job})
			log := s.log.logger().With("job", was.Job, "interrupted", was.ID)
			switch {
			case err == nil:
				log.Info("a backup that was interrupted is made again", "run", run.ID)
				continue
			case errors.Is(err, ErrClosed):
				continue
			case !errors.Is(err, ErrConflict):
				log.Error("a backup that was interrupted cannot be made again; trying again", "error", err)
			}
			at = now.Add(look)
		}
		wake = sooner(wake, at)
	}
	return wake
}
