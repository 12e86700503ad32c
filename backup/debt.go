package backup

// debt is that a run of a job has begun its dumps, and that the programs which come after them were not run yet.
type debt struct {
	Run string `json:"run"`
	Job string `json:"job"`
}

// owe notes, durably, that the programs which come after the dumps of a run are to be run.
func (j *journal) owe(run, job string) { j.noteDebt(event{Owed: &debt{run, job}}) }

// paid notes that they were run.
func (j *journal) paid(run string) { j.noteDebt(event{Paid: run}) }

func (j *journal) noteDebt(e event) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if err := j.note(e, true); err != nil {
		j.log.Warn("cannot note that after programs are to be run; should this process die before it has, they would have to be run by hand",
			"error", err)
	}
}

// inherit takes over what dead processes of this machine owe, unless wait says of it that it is not time yet: that stays where it
// is. Should this process die in the middle, it is owed twice at worst.
func (j *journal) inherit(wait func(debt) bool) (all []debt) {
	err := j.eachDead(func(d *deadJournal) error {
		for run, owed := range d.left.owed {
			if wait(owed) {
				continue
			}
			j.owe(owed.Run, owed.Job)
			all = append(all, owed)
			if err := appendEvent(d.file, event{Paid: run}); err != nil {
				return err
			}
			delete(d.left.owed, run)
		}
		return d.settle()
	})
	if err != nil {
		j.log.Warn("cannot take over what dead processes have left to do", "error", err)
	}
	return all
}
