package backup

import "errors"

// follow starts what comes by itself behind a run that ended: retention behind a good backup, and when all is quiet a
// prune behind that. Neither a failed nor a suspect backup ever costs a snapshot.
func (s *Service) follow(run Run) {
	defer s.automatic().poke()
	c, err := s.current()
	if err != nil || !c.Automatic {
		return
	}
	if run.Kind == KindBackup && run.State == StateOK {
		s.forgetAfter(c, run)
	}
	s.pruneAfter(c, run.Repository)
	if run.Kind != KindAfter { // while a full disk keeps it from being noted as paid, that would go on for ever
		s.payOwed(c, s.ownJournal()) // of a command that was killed meanwhile
	}
}

// forgetAfter applies the retention of the job that was backed up.
func (s *Service) forgetAfter(c *setup, run Run) {
	j, err := c.job(run.Job)
	if err != nil || j.Retention == nil || j.Retention.Manual {
		return
	}
	if _, err := s.forget(byRetention, ForgetRequest{Job: j.Name}, true); err != nil && !errors.Is(err, ErrClosed) {
		s.log.logger().Warn("retention does not follow this backup", "job", j.Name, "run", run.ID, "error", err)
	}
}

// pruneAfter frees what retention removed, once for all jobs that write into the repository: as long as one of them is at
// work there, or waits for its turn, its end will ask again.
func (s *Service) pruneAfter(c *setup, repository string) {
	r, err := c.repository(repository)
	if err != nil || !r.Prune.AfterForget {
		return
	}
	runs := s.allRuns()
	if !pruneOwed(runs, r.Name) {
		return
	}
	for _, x := range runs {
		if x.Repository == r.Name && !x.State.Done() && (x.Kind == KindBackup || x.Kind == KindForget) {
			return
		}
	}
	q := PruneRequest{Repository: r.Name, MaxUnused: r.Prune.MaxUnused}
	if _, err := s.prune(byRetention, q, Run{Follows: true}); err != nil && !errors.Is(err, ErrClosed) && !errors.Is(err, ErrConflict) {
		s.log.logger().Warn("no prune follows retention", "repository", r.Name, "error", err)
	}
}

// pruneOwed reports whether a retention that followed a backup has removed something since the last prune, in runs from
// new to old. One that the end of the process interrupted does not count: the next goes on with it.
func pruneOwed(runs []Run, repository string) bool {
	for _, r := range runs {
		switch {
		case r.Repository != repository || r.DryRun:
		case r.Kind == KindPrune && r.State != StateInterrupted:
			return false
		case r.Kind == KindForget && r.Follows && r.State == StateOK && len(r.Removed) > 0:
			return true
		}
	}
	return false
}

func (s *Service) ownJournal() *journal {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.journal
}
