package backup

import (
	"context"
	"fmt"

	"github.com/caddy-backup/caddy-backup/repo"
)

// OpenOf opens a file in the folder of a job, for those who may have this job's backups and no others. id is "latest",
// for the newest good snapshot that the job made on this host, or as for Snapshot, of any that it made here; path is
// below the job's folder. Reading ends when ctx is done. ErrNotFound also for snapshots of other jobs and hosts.
func (s *Service) OpenOf(ctx context.Context, job, id, path string) (*Opened, error) {
	c, v, _, err := s.jobVault(job)
	if err != nil {
		return nil, err
	}
	var o *Opened
	err = v.read(ctx, c, func(r *repo.Repository) error {
		raw, err := findOf(ctx, r, job, c.Host, id)
		if err != nil {
			return err
		}
		o, err = v.openIn(ctx, r, raw, "/"+job+"/"+path)
		return err
	})
	return o, err
}

// findOf finds a snapshot that a job made on a host.
func findOf(ctx context.Context, r *repo.Repository, job, host, id string) (repo.Snapshot, error) {
	if id == "latest" {
		all, err := r.Snapshots(ctx)
		if s := newestGood(all, job, host); s != nil {
			return *s, nil // when others cannot be read, this one is still good
		}
		if err == nil {
			err = fmt.Errorf("%w: job %s has no good snapshot of host %s yet", ErrNotFound, job, host)
		}
		return repo.Snapshot{}, err
	}
	s, err := r.FindSnapshot(ctx, id, repo.SnapshotFilter{})
	if err == nil && (jobOf(s) != job || s.Hostname != host) {
		err = fmt.Errorf("%w: snapshot %s is not one that job %s made on host %s", ErrNotFound, s.ID.Short(), job, host)
	}
	return s, err
}

// newestGood is the newest of a job's snapshots of a host that is not in doubt, and an imported one, which holds a single part,
// only when there is no other; all are sorted newest first. nil when there is none.
func newestGood(all []repo.Snapshot, job, host string) *repo.Snapshot {
	doubtful := inDoubt(all)
	newest := -1
	for i, s := range all {
		switch {
		case jobOf(s) != job || s.Hostname != host || doubtful(s):
		case !imported(s):
			return &all[i]
		case newest < 0:
			newest = i
		}
	}
	if newest < 0 {
		return nil
	}
	return &all[newest]
}
