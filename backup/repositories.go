package backup

import (
	"context"
)

// RepositoryStatus is a repository as a list shows it. It asks no storage.
type RepositoryStatus struct {
	Name              string `json:"name"`
	Location          string `json:"location"`
	ID                string `json:"id,omitempty"`                 // once it was opened
	GeneratedPassword string `json:"generated_password,omitempty"` // path of the file, when we made the password
	KitMissing        bool   `json:"kit_missing,omitempty"`        // we made the password, and nobody has said that the recovery kit was saved
	// LastCheck is the last check that could be done. One that found errors stays until a later one that looked as deep
	// is ok: what was found by reading the data, a check of the structure cannot disprove.
	LastCheck *Run `json:"last_check,omitempty"`
	// Alarms are what the last run that looked found removed by others, or added to the keys; see Sight.
	Alarms []string `json:"alarms,omitempty"`
	// Planned are the check and the prune that happen by themselves.
	Planned []Planned `json:"planned,omitempty"`
	Zone    string    `json:"timezone,omitempty"` // of their schedules, and of all that is about no job
	// Snapshots is how many there are, of all jobs and hosts, as the last run that looked left it; nil when none has looked.
	Snapshots *int `json:"snapshots,omitempty"`
	// PackBytes is what all packs take, as the last run left it that listed them; nil when none has.
	PackBytes *int64 `json:"pack_bytes,omitempty"`
	LastPrune *Run   `json:"last_prune,omitempty"`
}

// Repositories lists the repositories.
func (s *Service) Repositories(ctx context.Context) ([]RepositoryStatus, error) {
	c, err := s.current()
	if err != nil {
		return nil, err
	}
	runs := s.allRuns()
	all := make([]RepositoryStatus, len(c.Repositories))
	for i, r := range c.Repositories {
		if all[i], err = s.repositoryStatus(ctx, c, r, runs); err != nil {
			return nil, err
		}
	}
	return all, nil
}

func (s *Service) repositoryStatus(ctx context.Context, c *setup, r RepositoryConfig, runs []Run) (RepositoryStatus, error) {
	v, err := s.vaultIn(c, r.Name)
	if err != nil {
		return RepositoryStatus{}, err
	}
	status := RepositoryStatus{Name: r.Name, Location: v.location}
	if id := v.id.Load(); id != nil {
		status.ID = *id
	}
	if len(r.Password) == 0 {
		status.GeneratedPassword = generatedPassword(c.DataDir, v.location)
		status.KitMissing = v.kitMissing(ctx, c)
	}
	if status.LastCheck = verdict(runs, r.Name); status.LastCheck == nil {
		status.LastCheck = lastEnded(runs, KindCheck, func(x Run) bool { return x.Repository == r.Name })
	}
	status.Planned, status.Zone = s.planRepository(c, r, runs), c.Zone.String()
	status.LastPrune = lastEnded(runs, KindPrune, func(x Run) bool { return x.Repository == r.Name && !x.DryRun })
	if seen := lastSight(runs, r.Name); seen != nil {
		status.Alarms, status.Snapshots, status.PackBytes = seen.Alarms, &seen.Snapshots, seen.PackBytes
	}
	return status, nil
}

// InitRepository creates a repository. repo.ErrExists when it is there. One that was there and is gone is forgotten.
func (s *Service) InitRepository(ctx context.Context, by, name string) (RepositoryStatus, error) {
	c, err := s.current()
	if err != nil {
		return RepositoryStatus{}, err
	}
	r, err := c.repository(name)
	if err != nil {
		return RepositoryStatus{}, err
	}
	v, err := s.vaultIn(c, r.Name)
	if err != nil {
		return RepositoryStatus{}, err
	}
	s.audit(by, "creation of a repository asked for", "repository", r.Name, "location", v.location)
	if _, err := v.open(ctx, c, createAnew); err != nil {
		return RepositoryStatus{}, err
	}
	return s.repositoryStatus(ctx, c, r, s.allRuns())
}
